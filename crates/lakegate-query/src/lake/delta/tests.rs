//! Tests the rows of Delta table versions as callers see them: governed, and whatever names the files use for columns.

use std::path::Path;

use datafusion::arrow::array::{Int32Array, Int64Array, StringArray};
use serde_json::json;

use super::super::testing::{self, DeltaField, DeltaTable, column, open, rows_at};
use super::super::version::{At, NoVersion};
use crate::govern::testing as governed;

const TABLE: &str = "location = \"t\"\nformat = \"delta\"";
async fn own(lake: &Path, sql: &str) -> Vec<String> {
    testing::own(lake, TABLE, sql).await
}

async fn shared(lake: &Path, sql: &str) -> Vec<String> {
    testing::shared(lake, TABLE, sql).await
}

fn ids(values: &[i64]) -> (datafusion::arrow::datatypes::Field, datafusion::arrow::array::ArrayRef) {
    column("id", 0, Int64Array::from(values.to_vec()))
}

fn tenants(values: &[i64]) -> (datafusion::arrow::datatypes::Field, datafusion::arrow::array::ArrayRef) {
    column("tenant", 0, Int64Array::from(values.to_vec()))
}

const PLAIN: [DeltaField<'static>; 2] = [("id", "long", None), ("tenant", "long", None)];

#[tokio::test]
async fn deleted_rows_are_never_served() {
    let mut table = DeltaTable::new(&PLAIN, &[], &["deletionVectors"]);
    let add = table.add(
        "a.parquet",
        json!({}),
        vec![ids(&[1, 2, 3, 4, 5, 6, 7]), tenants(&[1, 1, 1, 2, 1, 1, 1])],
        &[0, 2, 4, 5],
    );
    table.commit(&[add]);
    let lake = table.lake.path();
    assert_eq!(own(lake, "SELECT id FROM t ORDER BY id").await, ["2", "7"]);
    assert_eq!(own(lake, "SELECT count(*) FROM t").await, ["2"]);
    assert_eq!(own(lake, "SELECT count(*) FROM t WHERE id > 4").await, ["1"]);
    assert_eq!(own(lake, "SELECT min(id), max(id) FROM t").await, ["2|7"]);
    assert_eq!(own(lake, "SELECT id FROM t ORDER BY id LIMIT 1").await, ["2"]);
    assert_eq!(own(lake, "SELECT id FROM t WHERE id BETWEEN 5 AND 6").await, Vec::<String>::new());
    assert_eq!(shared(lake, "SELECT count(*) FROM t").await, ["3"]);
    assert_eq!(shared(lake, "SELECT min(id), max(id), count(id) FROM t").await, ["2|7|3"]);
    assert_eq!(shared(lake, "SELECT id FROM t LIMIT 2").await.len(), 2);
}

#[tokio::test]
async fn partitions_are_columns_in_the_tables_order() {
    let fields = [("tenant", "integer", None), ("id", "long", None), ("day", "date", None), ("name", "string", None)];
    let mut table = DeltaTable::new(&fields, &["tenant", "day"], &[]);
    let day = |tenant: &str, day: Option<&str>| json!({"tenant": tenant, "day": day});
    let first = table.add("a%20b/1.parquet", day("1", Some("2024-01-02")), vec![ids(&[1, 2])], &[]);
    std::fs::create_dir_all(table.lake.path().join("t/a b")).unwrap();
    std::fs::rename(table.lake.path().join("t/a%20b/1.parquet"), table.lake.path().join("t/a b/1.parquet")).unwrap();
    let second = table.add("2.parquet", day("2", None), vec![ids(&[3])], &[]);
    let third = table.add("3.parquet", day("1", None), vec![ids(&[4])], &[]);
    table.commit(&[first, second, third]);
    assert_eq!(
        own(table.lake.path(), "SELECT * FROM t ORDER BY id").await,
        ["1|1|2024-01-02|NULL", "1|2|2024-01-02|NULL", "1|4|NULL|NULL"]
    );
    assert_eq!(own(table.lake.path(), "SELECT id FROM t WHERE day = DATE '2024-01-02' AND id > 1").await, ["2"]);
    assert_eq!(shared(table.lake.path(), "SELECT tenant, count(*) FROM t GROUP BY 1 ORDER BY 1").await, ["1|3", "2|1"]);
}

/// Delta's column names are case-insensitive.
#[tokio::test]
async fn a_column_that_a_writer_calls_in_another_case_is_the_tables() {
    let fields = [("Id", "long", None), ("tenant", "long", None), ("small", "short", None)];
    let mut table = DeltaTable::new(&fields, &[], &[]);
    let numbers = |name: &str| column(name, 0, Int32Array::from(vec![7]));
    let tenant = |name: &str| column(name, 0, Int64Array::from(vec![1]));
    let a = table.add("a.parquet", json!({}), vec![ids(&[1]), tenant("TENANT"), numbers("small")], &[]);
    let b = table.add("b.parquet", json!({}), vec![column("Id", 0, Int64Array::from(vec![2])), tenants(&[1])], &[]);
    table.commit(&[a, b]);
    assert_eq!(own(table.lake.path(), "SELECT * FROM t ORDER BY \"Id\"").await, ["1|1|7", "2|1|NULL"]);
    assert_eq!(shared(table.lake.path(), "SELECT tenant FROM t WHERE \"Id\" = 1").await, ["1"]);
}

/// With column mapping, names must match exactly: a column in another case could be a dropped one.
#[tokio::test]
async fn a_mapped_column_is_found_to_the_letter() {
    let fields = [("id", "long", Some(("id", 1))), ("tenant", "long", Some(("tenant", 2)))];
    let mut table = DeltaTable::new(&fields, &[], &["columnMapping"]);
    let file = vec![ids(&[1]), column("Tenant", 0, Int64Array::from(vec![1]))];
    let add = table.add("a.parquet", json!({}), file, &[]);
    table.commit(&[add]);
    assert_eq!(shared(table.lake.path(), "SELECT * FROM t").await, ["1|NULL"]);
    assert_eq!(own(table.lake.path(), "SELECT id FROM t").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_number_that_is_too_large_for_its_small_type_is_a_fault_of_the_file() {
    let mut table = DeltaTable::new(&[("id", "long", None), ("small", "short", None)], &[], &[]);
    let add =
        table.add("a.parquet", json!({}), vec![ids(&[1]), column("small", 0, Int32Array::from(vec![40_000]))], &[]);
    table.commit(&[add]);
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\n{TABLE}\nshared = true\n");
    for answer in governed::both_ways(table.lake.path(), &config, "SELECT small FROM t").await {
        let error = answer.unwrap_err();
        assert_eq!(error.code, lakegate_core::error::Code::LakeUnavailable, "{error:?}");
    }
}

/// The file has a different column named `tenant`, in which every value is the caller's number.
#[tokio::test]
async fn a_renamed_column_is_not_taken_for_the_one_that_has_its_name_now() {
    let fields = [
        ("id", "long", Some(("id", 1))),
        ("tenant", "long", Some(("client", 2))),
        ("old", "long", Some(("tenant", 3))),
    ];
    let mut table = DeltaTable::new(&fields, &[], &["columnMapping"]);
    let one = |tenant: i64, ids_: &[i64]| {
        vec![
            ids(ids_),
            column("tenant", 0, Int64Array::from(vec![1; ids_.len()])),
            column("client", 0, Int64Array::from(vec![tenant; ids_.len()])),
        ]
    };
    let (a, b) =
        (table.add("a.parquet", json!({}), one(1, &[1, 2]), &[]), table.add("b.parquet", json!({}), one(2, &[3]), &[]));
    table.commit(&[a, b]);
    assert_eq!(own(table.lake.path(), "SELECT * FROM t ORDER BY id").await, ["1|1|1", "2|1|1"]);
    assert_eq!(shared(table.lake.path(), "SELECT id FROM t WHERE tenant = 2").await, ["3"]);
    assert_eq!(shared(table.lake.path(), "SELECT min(tenant), max(tenant), max(old) FROM t").await, ["1|2|1"]);
}

#[tokio::test]
async fn a_dropped_column_does_not_come_back_under_its_name() {
    let fields = [("id", "long", Some(("id", 1))), ("tenant", "long", Some(("col-new", 7)))];
    let mut table = DeltaTable::new(&fields, &[], &["columnMapping"]);
    let old = table.add("a.parquet", json!({}), vec![ids(&[1]), tenants(&[1])], &[]);
    let new = table.add("b.parquet", json!({}), vec![ids(&[2]), column("col-new", 0, Int64Array::from(vec![1]))], &[]);
    table.commit(&[old, new]);
    assert_eq!(own(table.lake.path(), "SELECT id FROM t").await, ["2"]);
    assert_eq!(shared(table.lake.path(), "SELECT id, tenant FROM t ORDER BY id").await, ["1|NULL", "2|1"]);
}

/// Resident data of a file, and the index over it, belong to a column and not to its name.
#[tokio::test]
async fn what_is_kept_of_a_dropped_column_is_not_given_for_one_of_its_name() {
    let fields = |tenant| [("id", "long", Some(("id", 1))), ("tenant", "long", Some(tenant))];
    let mut table = DeltaTable::new(&fields(("tenant", 2)), &[], &["columnMapping"]);
    let add = table.add("a.parquet", json!({}), vec![ids(&[1, 2]), tenants(&[1, 2])], &[]);
    table.commit(&[add]);
    let lake = table.lake.path();
    governed::put(lake, "key", &[("k", &[1, 2])]);
    let config = format!(
        "[lake]\nlocation = \".\"\n[tables.key]\nlocation = \"key\"\nshared = true\n\
         [tables.t]\n{TABLE}\nrow_filter = \"tenant = principal('tenant')\"\n"
    );
    let queries = [("alone", "SELECT id FROM t"), ("joined", "SELECT t.id FROM key JOIN t ON t.tenant = key.k")];
    let mut project = governed::project(lake, &config, &queries).await;
    project.keep_hot(governed::HOT_BYTES).await.unwrap();
    for wanted in [&["1"][..], &[]] {
        for (name, _) in queries {
            let plan = governed::governed(&project, &governed::principal("tenant=1"), name, "{}").unwrap();
            assert!(plan.display_shortcut().await.is_some(), "{name}");
            assert_eq!(governed::rows(plan).await.unwrap(), wanted, "{name}");
        }
        table.commit(&[DeltaTable::metadata(&fields(("col-new", 7)), &[])]);
        project = governed::after(&project, std::sync::Arc::clone(project.project())).await;
    }
}

#[tokio::test]
async fn columns_that_were_added_or_widened_are_read_from_old_files() {
    let fields = [("id", "long", None), ("tenant", "long", None), ("note", "string", None)];
    let mut table = DeltaTable::new(&fields, &[], &["typeWidening"]);
    let old = vec![column("id", 0, Int32Array::from(vec![1, 2])), column("tenant", 0, Int32Array::from(vec![1, 2]))];
    let old = table.add("a.parquet", json!({}), old, &[]);
    let new = vec![tenants(&[1]), column("note", 0, StringArray::from(vec!["n"])), ids(&[1 << 40])];
    let new = table.add("b.parquet", json!({}), new, &[]);
    table.commit(&[old, new]);
    assert_eq!(own(table.lake.path(), "SELECT * FROM t ORDER BY id").await, ["1|1|NULL", "1099511627776|1|n"]);
    assert_eq!(own(table.lake.path(), "SELECT id FROM t WHERE id > 1").await, ["1099511627776"]);
}

#[tokio::test]
async fn a_column_of_another_type_is_a_fault_that_names_it() {
    let mut table = DeltaTable::new(&PLAIN, &[], &[]);
    let add =
        table.add("a.parquet", json!({}), vec![ids(&[1]), column("tenant", 0, StringArray::from(vec!["1"]))], &[]);
    table.commit(&[add]);
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("t/a.parquet") && fault.message.contains("column `tenant`"), "{}", fault.message);
}

#[tokio::test]
async fn a_feature_that_is_not_applied_is_refused_by_its_name() {
    for (feature, said) in [("catalogManaged", "catalog-managed"), ("variantType", "variantType"), ("madeUp", "madeUp")]
    {
        let table = DeltaTable::new(&PLAIN, &[], &[feature]);
        let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        assert!(fault.message.contains(said), "{feature}: {}", fault.message);
    }
}

#[tokio::test]
async fn an_older_version_has_its_rows_and_the_columns_of_now() {
    let mapped = |name| [("id", "long", Some(("id", 1))), (name, "long", Some(("tenant", 2)))];
    let mut table = DeltaTable::new(&mapped("tenant"), &[], &["columnMapping", "deletionVectors"]);
    let a = table.add("a.parquet", json!({}), vec![ids(&[1, 2, 3]), tenants(&[1, 2, 1])], &[]);
    table.commit(&[a]);
    let a = table.add("a.parquet", json!({}), vec![ids(&[1, 2, 3]), tenants(&[1, 2, 1])], &[2]);
    let remove = json!({"remove": {"path": "a.parquet", "dataChange": true, "deletionTimestamp": 0}});
    table.commit(&[remove, a, DeltaTable::metadata(&mapped("client"), &[])]);
    let lake = table.lake.path();
    assert_eq!(rows_at(lake, TABLE, At::Now).await.unwrap(), ["1|1", "2|2"]);
    assert_eq!(rows_at(lake, TABLE, At::Snapshot(1)).await.unwrap(), ["1|1", "2|2", "3|1"]);
    assert_eq!(rows_at(lake, TABLE, At::Snapshot(0)).await.unwrap(), Vec::<String>::new());
    assert_eq!(rows_at(lake, TABLE, At::Time(i64::MAX)).await.unwrap(), ["1|1", "2|2"]);
    let old = open(lake, TABLE, At::Snapshot(1), None).await.unwrap();
    assert_eq!(old.snapshot().unwrap().id, 1);
    use datafusion::catalog::TableProvider;
    assert_eq!(old.schema().field(1).name(), "client");
    let why = async |at| open(lake, TABLE, at, None).await.unwrap_err().no_version;
    assert_eq!(why(At::Snapshot(9)).await, Some(NoVersion::Unknown));
    assert_eq!(why(At::Snapshot(-1)).await, Some(NoVersion::Unknown));
    assert_eq!(why(At::Time(0)).await, Some(NoVersion::BeforeFirst));
    std::fs::remove_file(lake.join("t/a.parquet")).unwrap();
    assert_eq!(why(At::Snapshot(1)).await, Some(NoVersion::Expired));
}

#[tokio::test]
async fn a_new_version_is_seen_and_files_that_stay_are_not_read_again() {
    let mut table = DeltaTable::new(&PLAIN, &[], &[]);
    let a = table.add("a.parquet", json!({}), vec![ids(&[1]), tenants(&[1])], &[]);
    table.commit(&[a]);
    let first = open(table.lake.path(), TABLE, At::Now, None).await.unwrap();
    let again = open(table.lake.path(), TABLE, At::Now, Some(&first)).await.unwrap();
    assert_eq!(first.version(), again.version());
    let b = table.add("b.parquet", json!({}), vec![ids(&[2]), tenants(&[1])], &[]);
    table.commit(&[b]);
    let second = open(table.lake.path(), TABLE, At::Now, Some(&first)).await.unwrap();
    assert_ne!(first.version(), second.version());
    assert_eq!((first.file_count(), second.file_count(), second.rows()), (1, 2, Some(2)));
}

#[tokio::test]
async fn files_and_logs_outside_the_lake_are_not_read() {
    let outside = tempfile::tempdir().unwrap();
    for path in ["../../x.parquet", "../x/../../x.parquet", "/etc/hostname", "file:///etc/hostname", "s3://b/x.parquet"]
    {
        let mut table = DeltaTable::new(&PLAIN, &[], &[]);
        let mut add = table.add("a.parquet", json!({}), vec![ids(&[1]), tenants(&[1])], &[]);
        add["add"]["path"] = json!(path);
        table.commit(&[add]);
        let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        assert!(!fault.message.contains("/etc"), "{}", fault.message);
    }
    #[cfg(unix)]
    {
        let mut table = DeltaTable::new(&PLAIN, &[], &[]);
        let add = table.add("a.parquet", json!({}), vec![ids(&[1]), tenants(&[1])], &[]);
        table.commit(&[add]);
        let link = table.lake.path().join("t/a.parquet");
        std::fs::rename(&link, outside.path().join("a.parquet")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.parquet"), &link).unwrap();
        let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        assert!(fault.message.contains("leads out of the lake"), "{}", fault.message);
        let log = table.lake.path().join("t/_delta_log");
        std::fs::rename(&log, outside.path().join("log")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("log"), &log).unwrap();
        assert!(open(table.lake.path(), TABLE, At::Now, None).await.is_err());
    }
}

/// An absolute path could point anywhere, even to another server.
#[tokio::test]
async fn a_vector_at_an_absolute_place_is_not_read() {
    for place in ["https://127.0.0.1:1/v.bin", "https://127.0.0.1:1/storage_type: Inline/v.bin"] {
        let mut table = DeltaTable::new(&PLAIN, &[], &["deletionVectors"]);
        let mut add = table.add("a.parquet", json!({}), vec![ids(&[1]), tenants(&[1])], &[0]);
        add["add"]["deletionVector"]["storageType"] = json!("p");
        add["add"]["deletionVector"]["pathOrInlineDv"] = json!(place);
        add["add"]["deletionVector"]["offset"] = json!(1);
        table.commit(&[add]);
        let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        let said = "the deleted rows of `t/a.parquet` stand outside the table";
        assert!(fault.message.contains(said), "{}", fault.message);
    }
}

#[tokio::test]
async fn a_vector_with_other_rows_than_the_log_says_is_refused() {
    for count in [0, 1, 3] {
        let mut table = DeltaTable::new(&PLAIN, &[], &["deletionVectors"]);
        let mut add = table.add("a.parquet", json!({}), vec![ids(&[1, 2, 3]), tenants(&[1, 1, 1])], &[0, 1]);
        add["add"]["deletionVector"]["cardinality"] = json!(count);
        table.commit(&[add]);
        let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
        assert!(fault.message.contains("not as many deleted rows"), "{count}: {}", fault.message);
    }
}

/// The second entry has no vector, so the deleted rows would come back.
#[tokio::test]
async fn a_file_that_is_added_twice_is_refused() {
    let mut table = DeltaTable::new(&PLAIN, &[], &["deletionVectors"]);
    let add = table.add("a.parquet", json!({}), vec![ids(&[1, 2, 3]), tenants(&[1, 1, 1])], &[0, 1]);
    let mut again = add.clone();
    again["add"].as_object_mut().unwrap().remove("deletionVector");
    table.commit(&[add, again]);
    let fault = open(table.lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("`t/a.parquet` is part of the table twice"), "{}", fault.message);
}

#[tokio::test]
async fn a_version_whose_columns_can_not_be_read_as_todays_is_gone_for_good() {
    let mut table = DeltaTable::new(&[("id", "long", None), ("tenant", "string", None)], &[], &[]);
    let text = vec![ids(&[1]), column("tenant", 0, StringArray::from(vec!["x"]))];
    let old = table.add("a.parquet", json!({}), text, &[]);
    table.commit(&[old]);
    let remove = json!({"remove": {"path": "a.parquet", "dataChange": true, "deletionTimestamp": 0}});
    let new = table.add("b.parquet", json!({}), vec![ids(&[2]), tenants(&[1])], &[]);
    table.commit(&[remove, new, DeltaTable::metadata(&PLAIN, &[])]);
    let lake = table.lake.path();
    assert_eq!(rows_at(lake, TABLE, At::Now).await.unwrap(), ["2|1"]);
    let fault = open(lake, TABLE, At::Snapshot(1), None).await.unwrap_err();
    assert_eq!(fault.no_version, Some(NoVersion::Expired), "{}", fault.message);
}

#[tokio::test]
async fn a_folder_that_is_no_table_or_a_broken_log_is_a_fault() {
    let lake = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(lake.path().join("t/_delta_log")).unwrap();
    let fault = open(lake.path(), TABLE, At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("there is no Delta table at `t`"), "{}", fault.message);
    std::fs::write(lake.path().join("t/_delta_log/00000000000000000000.json"), "{\"add\":").unwrap();
    assert!(open(lake.path(), TABLE, At::Now, None).await.is_err());
}
