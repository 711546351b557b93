//! Partition columns that are also in the files: served when every row agrees with its folder, refused otherwise.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Date32Array, Int32Array, Int64Array, StringArray};
use tempfile::TempDir;

use super::testing::{column, own, shared, write_parquet};
use crate::govern::testing;

const TABLE: &str = "location = \"t/\"";

fn put(lake: &Path, path: &str, columns: Vec<(&str, ArrayRef)>) {
    let columns = columns.into_iter().map(|(name, array)| column(name, 0, array.slice(0, array.len())));
    write_parquet(&lake.join(path), columns.collect(), 2);
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

async fn fault(lake: &Path, table: &str) -> String {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\n{table}\n");
    testing::try_project(lake, &config, &[("e", "SELECT count(*) AS n FROM t")]).await.unwrap_err()[0].clone()
}

/// Files as Polars and DuckDB write them: `tenant` and `day` are in folders and in files.
fn lake() -> TempDir {
    let lake = tempfile::tempdir().unwrap();
    for (tenant, day, days, ids) in [(1, "1970-01-02", 1, [1, 2, 3]), (2, "1970-01-03", 2, [4, 5, 6])] {
        put(
            lake.path(),
            &format!("t/tenant={tenant}/day={day}/a.parquet"),
            vec![
                ("tenant", ints(&[tenant; 3])),
                ("id", ints(&ids)),
                ("day", Arc::new(Date32Array::from(vec![days; 3]))),
            ],
        );
    }
    lake
}

#[tokio::test]
async fn files_with_their_partition_columns_are_read_where_they_agree() {
    let lake = lake();
    assert_eq!(
        own(lake.path(), TABLE, "SELECT id, day FROM t ORDER BY id").await,
        ["1|1970-01-02", "2|1970-01-02", "3|1970-01-02"]
    );
    assert_eq!(
        shared(lake.path(), TABLE, "SELECT tenant, day, count(*) FROM t GROUP BY 1, 2 ORDER BY 1").await,
        ["1|1970-01-02|3", "2|1970-01-03|3"]
    );
    assert_eq!(
        shared(lake.path(), TABLE, "SELECT id FROM t WHERE day > DATE '1970-01-02' AND tenant > 1 ORDER BY id").await,
        ["4", "5", "6"]
    );
    // A file without the column still takes its folder's value.
    put(lake.path(), "t/tenant=3/day=1970-01-04/a.parquet", vec![("id", ints(&[7]))]);
    assert_eq!(shared(lake.path(), TABLE, "SELECT tenant, day FROM t WHERE id = 7").await, ["3|1970-01-04"]);
}

/// One row names another tenant than its folder does, and the statistics do not show it.
#[tokio::test]
async fn a_row_that_contradicts_its_folder_is_a_fault() {
    let lake = lake();
    put(
        lake.path(),
        "t/tenant=2/day=1970-01-03/b.parquet",
        vec![("tenant", ints(&[2, 2, 2, 1, 2])), ("id", ints(&[1; 5]))],
    );
    let said = fault(lake.path(), TABLE).await;
    assert!(
        said.contains("`t/tenant=2/day=1970-01-03/b.parquet`: its rows have another `tenant` than its folder"),
        "{said}"
    );
    for other in [vec![Some(2), None], vec![None, None]] {
        let column: ArrayRef = Arc::new(Int64Array::from(other));
        put(lake.path(), "t/tenant=2/day=1970-01-03/b.parquet", vec![("tenant", column), ("id", ints(&[1; 2]))]);
        assert!(fault(lake.path(), TABLE).await.contains("another `tenant`"));
    }
}

#[tokio::test]
async fn null_agrees_with_the_folder_of_null_and_text_with_text() {
    let lake = tempfile::tempdir().unwrap();
    let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
    put(
        lake.path(),
        "t/k=__HIVE_DEFAULT_PARTITION__/a.parquet",
        vec![("k", text(vec![None, None])), ("id", ints(&[1, 2]))],
    );
    put(lake.path(), "t/k=a%20b/a.parquet", vec![("k", text(vec![Some("a b")])), ("id", ints(&[3]))]);
    assert_eq!(shared(lake.path(), TABLE, "SELECT k, id FROM t ORDER BY id").await, ["NULL|1", "NULL|2", "a b|3"]);
    put(
        lake.path(),
        "t/k=__HIVE_DEFAULT_PARTITION__/b.parquet",
        vec![("k", text(vec![None, Some("")])), ("id", ints(&[1, 2]))],
    );
    assert!(fault(lake.path(), TABLE).await.contains("another `k`"));
}

/// The declared type of a partition column wins over the files' type, and every row is compared in it.
#[tokio::test]
async fn the_declared_type_is_that_of_the_column() {
    let lake = tempfile::tempdir().unwrap();
    let narrow = |values: Vec<i32>| Arc::new(Int32Array::from(values)) as ArrayRef;
    put(lake.path(), "t/k=007/a.parquet", vec![("k", narrow(vec![7, 7])), ("id", ints(&[1, 2]))]);
    assert_eq!(shared(lake.path(), TABLE, "SELECT DISTINCT k + 1 FROM t").await, ["8"]);
    let declared = format!("{TABLE}\npartitions = {{ k = \"integer\" }}");
    assert_eq!(shared(lake.path(), &declared, "SELECT DISTINCT k FROM t").await, ["7"]);
    // As text, the folder's value is `007` and the rows' value is `7`.
    let text = format!("{TABLE}\npartitions = {{ k = \"string\" }}");
    assert!(fault(lake.path(), &text).await.contains("another `k`"));
    put(lake.path(), "t/k=x/a.parquet", vec![("k", narrow(vec![7, 7])), ("id", ints(&[1, 2]))]);
    assert!(fault(lake.path(), TABLE).await.contains("the partition folder `k=x` is not of the type integer"));
}

#[tokio::test]
async fn lines_of_json_are_compared_too_and_csv_is_refused() {
    let lake = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = lake.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("t/k=1/a.ndjson", "{\"k\":1,\"id\":5}\n{\"id\":6,\"k\":1}\n");
    write("t/k=2/a.ndjson", "{\"k\":2,\"id\":7}\n");
    assert_eq!(shared(lake.path(), TABLE, "SELECT k, id FROM t ORDER BY id").await, ["1|5", "1|6", "2|7"]);
    write("t/k=2/a.ndjson", "{\"k\":2,\"id\":7}\n{\"k\":1,\"id\":8}\n");
    assert!(fault(lake.path(), TABLE).await.contains("another `k`"));
    std::fs::remove_dir_all(lake.path().join("t")).unwrap();
    write("t/k=1/a.csv", "k,id\n1,5\n");
    assert!(fault(lake.path(), TABLE).await.contains("`k` is a column of the files and a partition folder"));
}
