//! Tests the rows of Iceberg snapshots as callers see them: governed, and whatever names the files use for columns.

use std::path::Path;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::Field;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, Struct};
use serde_json::json;

use super::super::testing::iceberg::{IcebergTable, field};
use super::super::testing::{self, column, open, roaring, rows_at};
use super::super::version::{At, NoVersion};

const TABLE: &str = "location = \"t\"\nformat = \"iceberg\"";

async fn own(lake: &Path, sql: &str) -> Vec<String> {
    testing::own(lake, TABLE, sql).await
}

async fn shared(lake: &Path, sql: &str) -> Vec<String> {
    testing::shared(lake, TABLE, sql).await
}

/// Columns `id` and `tenant` with the field ids 1 and 2.
fn rows(ids: &[i64], tenants: &[i64]) -> Vec<(Field, ArrayRef)> {
    vec![column("id", 1, Int64Array::from(ids.to_vec())), column("tenant", 2, Int64Array::from(tenants.to_vec()))]
}

fn table() -> IcebergTable {
    IcebergTable::new(2, &[field(1, "id", "long"), field(2, "tenant", "long")], json!([]))
}

fn positions(table: &IcebergTable, name: &str, of: &[(&str, i64)]) -> DataFile {
    let paths = StringArray::from(of.iter().map(|(path, _)| table.uri(path)).collect::<Vec<_>>());
    let places = Int64Array::from(of.iter().map(|(_, place)| *place).collect::<Vec<_>>());
    let columns = vec![column("file_path", 2_147_483_546, paths), column("pos", 2_147_483_545, places)];
    table.file(name, DataContentType::PositionDeletes, columns).build().unwrap()
}

fn values(table: &IcebergTable, name: &str, id: i32, column: (Field, ArrayRef)) -> DataFile {
    let mut file = table.file(name, DataContentType::EqualityDeletes, vec![column]);
    file.equality_ids(Some(vec![id])).build().unwrap()
}

#[tokio::test]
async fn rows_that_are_deleted_by_position_are_never_served() {
    let mut table = table();
    let a = table.data("a.parquet", rows(&[1, 2, 3, 4, 5], &[1, 1, 1, 2, 1]));
    let b = table.data("b.parquet", rows(&[6, 7], &[1, 2]));
    table.commit(vec![a, b]).await;
    let deletes =
        positions(&table, "d.parquet", &[("a.parquet", 4), ("a.parquet", 0), ("b.parquet", 1), ("gone.parquet", 0)]);
    table.commit(vec![deletes]).await;
    let lake = table.lake.path();
    assert_eq!(own(lake, "SELECT id FROM t ORDER BY id").await, ["2", "3", "6"]);
    assert_eq!(own(lake, "SELECT count(*) FROM t WHERE id > 2").await, ["2"]);
    assert_eq!(shared(lake, "SELECT count(*), min(id), max(id) FROM t").await, ["4|2|6"]);
    assert_eq!(shared(lake, "SELECT id FROM t LIMIT 3").await.len(), 3);
}

/// An equality delete applies to files that existed before it, not to its own commit or later ones.
#[tokio::test]
async fn rows_that_are_deleted_by_values_are_never_served() {
    let mut table = table();
    let with_null = |ids: Vec<Option<i64>>, tenants: &[i64]| {
        vec![column("id", 1, Int64Array::from(ids)), column("tenant", 2, Int64Array::from(tenants.to_vec()))]
    };
    let a = table.data("a.parquet", with_null(vec![Some(1), None, Some(3), Some(4)], &[1, 1, 1, 1]));
    table.commit(vec![a]).await;
    let deletes = values(&table, "d.parquet", 1, column("id", 1, Int64Array::from(vec![None, Some(3), Some(9)])));
    let b = table.data("b.parquet", rows(&[3, 9], &[1, 1]));
    table.commit(vec![deletes, b]).await;
    let c = table.data("c.parquet", rows(&[3], &[1]));
    table.commit(vec![c]).await;
    assert_eq!(own(table.lake.path(), "SELECT id FROM t ORDER BY id").await, ["1", "3", "3", "4", "9"]);
    assert_eq!(shared(table.lake.path(), "SELECT count(*) FROM t WHERE id IS NULL").await, ["0"]);
}

#[tokio::test]
async fn values_are_compared_by_field_id_and_in_the_widened_type() {
    let mut table = IcebergTable::new(2, &[field(1, "id", "int"), field(2, "tenant", "int")], json!([]));
    let old = vec![column("id", 1, Int32Array::from(vec![1, 2])), column("tenant", 2, Int32Array::from(vec![1, 1]))];
    let a = table.data("a.parquet", old);
    table.commit(vec![a]).await;
    // Another column is named `tenant` now.
    table.change_columns(&[field(1, "key", "long"), field(2, "client", "long"), field(3, "tenant", "long")]);
    let deletes = values(&table, "d.parquet", 1, column("key", 1, Int64Array::from(vec![2])));
    let new = vec![
        column("key", 1, Int64Array::from(vec![5])),
        column("tenant", 3, Int64Array::from(vec![1])),
        column("client", 2, Int64Array::from(vec![7])),
    ];
    let b = table.data("b.parquet", new);
    table.commit(vec![deletes, b]).await;
    assert_eq!(shared(table.lake.path(), "SELECT * FROM t ORDER BY key").await, ["1|1|NULL", "5|7|1"]);
    // The old file's `tenant` is now `client`, so no caller may see its rows.
    assert_eq!(own(table.lake.path(), "SELECT key FROM t").await, ["5"]);
}

#[tokio::test]
async fn vectors_of_the_third_version_are_applied() {
    let mut table = IcebergTable::new(3, &[field(1, "id", "long"), field(2, "tenant", "long")], json!([]));
    let a = table.data("a.parquet", rows(&[1, 2, 3], &[1, 1, 1]));
    table.commit(vec![a]).await;
    let mut content = vec![0xd1, 0xd3, 0x39, 0x64];
    content.extend(roaring(&[0, 2]));
    let mut sum = flate2::Crc::new();
    sum.update(&content);
    let mut blob = (content.len() as u32).to_be_bytes().to_vec();
    blob.extend(&content);
    blob.extend(sum.sum().to_be_bytes());
    let write = |blob: &[u8]| {
        let puffin = [b"PFA1".as_slice(), blob].concat();
        std::fs::write(table.lake.path().join("t/dv.puffin"), &puffin).unwrap();
        DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(table.uri("dv.puffin"))
            .file_format(DataFileFormat::Puffin)
            .partition(Struct::empty())
            .record_count(2)
            .file_size_in_bytes(puffin.len() as u64)
            .referenced_data_file(Some(table.uri("a.parquet")))
            .content_offset(Some(4))
            .content_size_in_bytes(Some(blob.len() as i64))
            .build()
            .unwrap()
    };
    let vector = write(&blob);
    table.commit(vec![vector]).await;
    assert_eq!(own(table.lake.path(), "SELECT id FROM t").await, ["2"]);
    *blob.last_mut().unwrap() ^= 1;
    std::fs::write(table.lake.path().join("t/dv.puffin"), [b"PFA1".as_slice(), &blob].concat()).unwrap();
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("deleted rows in `dv.puffin` cannot be read"), "{}", fault.message);
}

#[tokio::test]
async fn partition_values_are_of_the_table_and_prune() {
    let spec = json!([
        {"source-id": 2, "field-id": 1000, "name": "tenant", "transform": "identity"},
        {"source-id": 1, "field-id": 1001, "name": "id_bucket", "transform": "bucket[4]"},
    ]);
    let mut table = IcebergTable::new(2, &[field(1, "id", "long"), field(2, "tenant", "long")], spec);
    let of = |tenant: Option<i64>| Struct::from_iter([tenant.map(Literal::long), Some(Literal::int(3))]);
    let file = |name: &str, tenant: Option<i64>, ids: &[i64]| {
        // The files do not have the column.
        let columns = vec![column("id", 1, Int64Array::from(ids.to_vec()))];
        table.file(name, DataContentType::Data, columns).partition(of(tenant)).build().unwrap()
    };
    let files =
        vec![file("a.parquet", Some(1), &[1, 2]), file("b.parquet", Some(2), &[3]), file("c.parquet", None, &[4])];
    // An equality delete in the partition of tenant 2 does not apply to the others.
    table.commit(files).await;
    let keys = vec![column("id", 1, Int64Array::from(vec![1, 3]))];
    let mut deletes = table.file("d.parquet", DataContentType::EqualityDeletes, keys);
    let deletes = deletes.equality_ids(Some(vec![1])).partition(of(Some(2))).build().unwrap();
    table.commit(vec![deletes]).await;
    assert_eq!(own(table.lake.path(), "SELECT * FROM t ORDER BY id").await, ["1|1", "2|1"]);
    assert_eq!(shared(table.lake.path(), "SELECT * FROM t ORDER BY id").await, ["1|1", "2|1", "4|NULL"]);
}

#[tokio::test]
async fn an_older_snapshot_has_its_rows_and_the_columns_of_now() {
    let mut table = table();
    assert_eq!(rows_at(table.lake.path(), TABLE, At::Now).await.unwrap(), Vec::<String>::new());
    let a = table.data("a.parquet", rows(&[1, 2], &[1, 2]));
    let first = table.commit(vec![a]).await;
    table.change_columns(&[field(1, "id", "long"), field(2, "client", "long"), field(3, "note", "string")]);
    let deletes = positions(&table, "d.parquet", &[("a.parquet", 0)]);
    let second = table.commit(vec![deletes]).await;
    let lake = table.lake.path();
    assert_eq!(rows_at(lake, TABLE, At::Now).await.unwrap(), ["2|2|NULL"]);
    assert_eq!(rows_at(lake, TABLE, At::Snapshot(first)).await.unwrap(), ["1|1|NULL", "2|2|NULL"]);
    assert_eq!(rows_at(lake, TABLE, At::Time(first * 1000)).await.unwrap().len(), 2);
    assert_eq!(rows_at(lake, TABLE, At::Time(second * 1000 + 999)).await.unwrap().len(), 1);
    let why = async |at| open(lake, TABLE, at, None).await.unwrap_err().no_version;
    assert_eq!(why(At::Snapshot(7)).await, Some(NoVersion::Unknown));
    assert_eq!(why(At::Time(first * 1000 - 1)).await, Some(NoVersion::BeforeFirst));
    std::fs::remove_file(lake.join("t/a.parquet")).unwrap();
    assert_eq!(why(At::Snapshot(first)).await, Some(NoVersion::Expired));
}

/// The metadata also contains snapshots that were written for audit and never published.
#[tokio::test]
async fn a_snapshot_of_another_branch_is_not_served() {
    let mut table = table();
    let mut snapshots = Vec::new();
    for name in ["a.parquet", "b.parquet", "c.parquet", "d.parquet"] {
        let file = table.data(name, rows(&[1], &[1]));
        snapshots.push(table.commit(vec![file]).await);
    }
    let [first, audited, rolled_back, current] = snapshots[..] else { panic!() };
    let mut metadata = table.metadata();
    metadata["snapshots"][3]["parent-snapshot-id"] = json!(first);
    metadata["snapshot-log"] = json!([
        {"snapshot-id": rolled_back, "timestamp-ms": rolled_back}, {"snapshot-id": current, "timestamp-ms": current},
    ]);
    metadata["refs"]["audit"] = json!({"snapshot-id": audited, "type": "branch"});
    let lake = table.lake.path();
    std::fs::write(lake.join("t/metadata/00099-x.metadata.json"), metadata.to_string()).unwrap();
    for id in [first, rolled_back, current] {
        assert!(open(lake, TABLE, At::Snapshot(id), None).await.is_ok(), "{id}");
    }
    let fault = open(lake, TABLE, At::Snapshot(audited), None).await.unwrap_err();
    assert_eq!(fault.no_version, Some(NoVersion::Unknown), "{}", fault.message);
}

#[tokio::test]
async fn a_data_file_that_is_listed_twice_is_refused() {
    let mut table = table();
    let a = table.data("a.parquet", rows(&[1, 2], &[1, 1]));
    table.commit(vec![a.clone()]).await;
    table.commit(vec![a]).await;
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("`t/a.parquet` is part of the table twice"), "{}", fault.message);
}

#[tokio::test]
async fn a_snapshot_whose_columns_can_not_be_read_as_todays_is_gone_for_good() {
    let mut table = table();
    let text = vec![column("id", 1, StringArray::from(vec!["x"])), column("tenant", 2, Int64Array::from(vec![1]))];
    let a = table.data("a.parquet", text);
    let first = table.commit(vec![a]).await;
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert_eq!(fault.no_version, None, "{}", fault.message);
    let fault = open(table.lake.path(), TABLE, At::Snapshot(first), None).await.unwrap_err();
    assert_eq!(fault.no_version, Some(NoVersion::Expired), "{}", fault.message);
}

#[tokio::test]
async fn the_newest_metadata_is_found_and_two_of_one_version_are_refused() {
    let mut table = table();
    let a = table.data("a.parquet", rows(&[1], &[1]));
    table.commit(vec![a]).await;
    let before = open(table.lake.path(), TABLE, At::Now, None).await.unwrap();
    let b = table.data("b.parquet", rows(&[2], &[1]));
    table.commit(vec![b]).await;
    let lake = table.lake.path();
    let after = open(lake, TABLE, At::Now, Some(&before)).await.unwrap();
    assert_eq!((before.rows(), after.rows()), (Some(1), Some(2)));
    let folder = lake.join("t/metadata");
    let at = |name: &str| format!("location = \"t/metadata/{name}\"\nformat = \"iceberg\"");
    assert_eq!(rows_at(lake, &at("00001-x.metadata.json"), At::Now).await.unwrap(), ["1|1"]);
    std::fs::write(folder.join("version-hint.text"), "00001-x").unwrap();
    assert_eq!(rows_at(lake, TABLE, At::Now).await.unwrap(), ["1|1"]);
    std::fs::write(folder.join("version-hint.text"), "1").unwrap();
    assert_eq!(rows_at(lake, TABLE, At::Now).await.unwrap(), ["1|1", "2|1"]);
    std::fs::copy(folder.join("00002-x.metadata.json"), folder.join("00002-y.metadata.json")).unwrap();
    let fault = open(lake, TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("two metadata files of `t` are of version 2"), "{}", fault.message);
}

#[tokio::test]
async fn files_without_ids_are_read_by_the_tables_name_mapping_or_not_at_all() {
    let mut table = table();
    let plain = vec![column("old", 0, Int64Array::from(vec![1])), column("tenant", 0, Int64Array::from(vec![1]))];
    let a = table.data("a.parquet", plain);
    table.commit(vec![a]).await;
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("it has no field ids"), "{}", fault.message);
    let mapping = json!([{"field-id": 1, "names": ["id", "old"]}, {"field-id": 2, "names": ["tenant"]}]);
    table.properties = json!({"schema.name-mapping.default": mapping.to_string()});
    table.write_metadata();
    assert_eq!(own(table.lake.path(), "SELECT * FROM t").await, ["1|1"]);
}

#[tokio::test]
async fn what_is_outside_the_lake_or_of_another_format_is_refused() {
    let mut table = table();
    for (path, said) in [
        ("file:///etc/hostname", "outside the lake"),
        ("s3://bucket/a.parquet", "outside the lake"),
        ("/etc/hostname", "outside the lake"),
    ] {
        let mut file = table.file("a.parquet", DataContentType::Data, rows(&[1], &[1]));
        let file = file.file_path(path.to_owned()).build().unwrap();
        let mut other = IcebergTable::new(2, &[field(1, "id", "long"), field(2, "tenant", "long")], json!([]));
        other.commit(vec![file]).await;
        let fault = open(other.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        assert!(fault.message.contains(said) && !fault.message.contains("/etc"), "{}", fault.message);
    }
    let escape = format!("{}/../../x.parquet", table.uri("a"));
    let mut file = table.file("a.parquet", DataContentType::Data, rows(&[1], &[1]));
    let file = file.file_path(escape).build().unwrap();
    table.commit(vec![file]).await;
    assert!(open(table.lake.path(), TABLE, At::Now, None).await.is_err());
    let mut avro = IcebergTable::new(2, &[field(1, "id", "long"), field(2, "tenant", "long")], json!([]));
    let mut file = avro.file("a.avro", DataContentType::Data, rows(&[1], &[1]));
    let file = file.file_format(DataFileFormat::Avro).build().unwrap();
    avro.commit(vec![file]).await;
    let fault = open(avro.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("format avro"), "{}", fault.message);
}
