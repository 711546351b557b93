//! Regression tests for DataFusion bugs that would show hidden rows or lose visible ones. Expected results are worked
//! out by hand, because a copy of the lake would be answered wrongly, too.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use lakegate_core::error::Code;
use tempfile::TempDir;

use super::testing;

/// Writes a table of integers in row groups of two.
fn put(folder: &Path, table: &str, columns: &[(&str, Vec<i64>)]) {
    let fields = columns.iter().map(|(name, _)| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.iter().map(|(_, values)| Arc::new(Int64Array::from(values.clone())) as ArrayRef).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    testing::write_parquet(&folder.join(format!("{table}.parquet")), &schema, &testing::one_by_one(&[rows]));
}

/// Tables that all have an `id`, with different values in each.
fn lake_of_same_names() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let twenty = |from: i64| (from..from + 20).collect::<Vec<_>>();
    for (table, from) in [("a", 0), ("b", 100), ("d", 200)] {
        put(folder.path(), table, &[("id", twenty(from)), ("x", twenty(0))]);
    }
    put(folder.path(), "e", &[("id", twenty(100)), ("x", twenty(0))]);
    put(folder.path(), "link", &[("id", twenty(5000)), ("parent", twenty(100))]);
    put(folder.path(), "c", &[("k", vec![103, 117]), ("z", vec![-1, -2])]);
    folder
}

async fn answers(lake: &Path, row_filter: &str, sql: &str) -> Vec<Vec<String>> {
    let shared =
        ["a", "b", "c", "d", "link"].map(|name| format!("[tables.{name}]\nlocation = \"{name}\"\nshared = true\n"));
    let config = format!(
        "[lake]\nlocation = \".\"\n[tables.e]\nlocation = \"e\"\nrow_filter = \"{row_filter}\"\n{}",
        shared.concat()
    );
    let project = testing::project(lake, &config, &[("q", sql)]).await;
    let mut answers = Vec::new();
    for in_memory in [false, true] {
        if in_memory {
            project.keep_hot(1 << 28).await.unwrap();
        }
        let plan = testing::governed(&project, &testing::principal(""), "q", "{}").unwrap();
        answers.push(testing::rows(plan).await.unwrap());
    }
    answers
}

/// DataFusion 55.2 applies a dynamic filter of a join to another column of the same name (apache/datafusion#25244). The
/// subquery of a row filter is then empty, and `NOT IN` shows rows that it should hide.
#[tokio::test]
async fn a_filter_learnt_from_a_join_does_not_prune_by_a_column_of_the_same_name() {
    let lake = lake_of_same_names();
    let listed = "SELECT b.id FROM a JOIN b ON a.x = b.x JOIN d ON d.x = b.x JOIN c ON c.k = b.id \
                  WHERE a.id <> c.z AND d.id <> c.z";
    for (row_filter, visible) in [
        (format!("id NOT IN ({listed})"), "18"),
        (format!("NOT EXISTS (SELECT 1 FROM ({listed}) AS q WHERE q.id = e.id)"), "18"),
        (format!("id IN ({listed})"), "2"),
    ] {
        for rows in answers(lake.path(), &row_filter, "SELECT count(*) AS n FROM e").await {
            assert_eq!(rows, [visible], "{row_filter}");
        }
    }
    let chained = "SELECT b.id FROM a JOIN b ON a.x = b.x JOIN d ON d.x = b.x JOIN c ON c.k = b.id ORDER BY b.id";
    for rows in answers(lake.path(), "x >= 0", chained).await {
        assert_eq!(rows, ["103", "117"]);
    }
}

#[tokio::test]
async fn a_join_of_the_query_does_not_prune_the_tables_of_a_row_filter() {
    let lake = lake_of_same_names();
    for row_filter in [
        "EXISTS (SELECT 1 FROM link AS l WHERE l.parent = e.id AND l.id <> e.x)",
        "id IN (SELECT parent FROM link WHERE link.id <> e.x)",
        "id IN (SELECT parent FROM link)",
    ] {
        for (sql, wanted) in [
            ("SELECT e.id FROM e JOIN c ON c.k = e.id ORDER BY e.id", ["103", "117"]),
            ("SELECT id FROM e WHERE id IN (SELECT k FROM c) ORDER BY id", ["103", "117"]),
            ("SELECT id FROM e ORDER BY id LIMIT 2", ["100", "101"]),
        ] {
            for rows in answers(lake.path(), row_filter, sql).await {
                assert_eq!(rows, wanted, "{row_filter} | {sql}");
            }
        }
    }
}

/// DataFusion may choose join sides, and so the order of rows, by table size. Foreign rows must not influence this
/// choice, except through the order of magnitude of the row count.
#[tokio::test]
async fn hidden_rows_do_not_choose_how_a_join_is_made() {
    let config = "[lake]\nlocation = \".\"\n[tables.one]\nlocation = \"one\"\nrow_filter = \"tenant = principal('t')\"\n\
                  [tables.two]\nlocation = \"two\"\nrow_filter = \"tenant = principal('t')\"\n\
                  [tables.child]\nlocation = \"child\"\nrow_filter = \"one IN (SELECT id FROM one) AND k >= 0\"\n";
    let queries = [
        ("joined", "SELECT a.id, b.id AS other FROM one AS a JOIN two AS b ON a.k = b.k"),
        ("limited", "SELECT a.id, b.id AS other FROM one AS a JOIN two AS b ON a.k = b.k LIMIT 3"),
        ("through_a_parent", "SELECT id, k FROM child"),
        ("a_parent_and_its_child", "SELECT c.id, a.id AS one FROM one AS a JOIN child AS c ON c.one = a.id"),
        ("gathered", "SELECT array_agg(b.id) AS ids FROM one AS a JOIN two AS b ON a.k = b.k"),
    ];
    // Files and memory are compared separately, because unsorted rows come in the order in which they are read.
    let mut seen = [Vec::<Vec<Vec<String>>>::new(), Vec::new()];
    for (in_one, in_two) in [(400, 400), (4_000, 400), (400, 4_000)] {
        let folder = tempfile::tempdir().unwrap();
        for (table, own, foreign) in [("one", 6, in_one), ("two", 300, in_two)] {
            let rows = own + foreign;
            let tenant = (0..rows).map(|row| i64::from(row >= own)).collect();
            let k = (0..rows).map(|row| i64::from(row % 3)).collect();
            put(folder.path(), table, &[("id", (0..i64::from(rows)).collect()), ("tenant", tenant), ("k", k)]);
        }
        // Fifty children of own rows among a growing number of foreign ones.
        let (rows, step) = (i64::from(in_two), i64::from(in_two / 50));
        let own = |row: i64| (row % step == 0 && row / step < 50).then_some(row / step);
        let column = |of: &dyn Fn(Option<i64>, i64) -> i64| (0..rows).map(|row| of(own(row), row)).collect::<Vec<_>>();
        let ids = column(&|own, row| own.unwrap_or(1_000_000 + row));
        let parents = column(&|own, row| own.map_or(6 + row % 300, |own| own % 6));
        let k = column(&|own, row| own.unwrap_or(row) % 5);
        put(folder.path(), "child", &[("id", ids), ("one", parents), ("k", k)]);
        let project = testing::project(folder.path(), config, &queries).await;
        for in_memory in [false, true] {
            if in_memory {
                project.keep_hot(1 << 28).await.unwrap();
            }
            let mut answers = Vec::new();
            for (name, _) in queries {
                let plan = testing::governed(&project, &testing::principal("t:integer=0"), name, "{}").unwrap();
                answers.push(testing::rows(plan).await.unwrap());
            }
            seen[usize::from(in_memory)].push(answers);
        }
    }
    for seen in seen {
        assert!(seen.iter().all(|answers| *answers == seen[0]), "{seen:?}");
    }
}

/// DataFusion takes a column whose minimum and maximum are equal for a constant. With the statistics of the earlier
/// file, all of another tenant's rows would be visible to the caller.
#[tokio::test]
async fn a_file_that_was_replaced_is_not_read_with_the_numbers_of_the_one_before() {
    let config =
        "[lake]\nlocation = \".\"\n[tables.one]\nlocation = \"one\"\nrow_filter = \"tenant = principal('t')\"\n";
    let folder = tempfile::tempdir().unwrap();
    let rows = |tenant: i64| [("id", (0..100).collect()), ("tenant", vec![tenant; 100])];
    put(folder.path(), "one", &rows(1));
    let project = testing::project(folder.path(), config, &[("all", "SELECT id, tenant FROM one")]).await;
    let ask = async || {
        let plan = testing::governed(&project, &testing::principal("t:integer=1"), "all", "{}").unwrap();
        testing::rows(plan).await.map(|rows| rows.len()).map_err(|error| error.code)
    };
    assert_eq!(ask().await, Ok(100));
    // Replaces the file in one step, as lakes do, with one of the same size that holds another owner's rows.
    put(folder.path(), "new", &rows(2));
    std::fs::rename(folder.path().join("new.parquet"), folder.path().join("one.parquet")).unwrap();
    assert_eq!(ask().await, Err(Code::LakeUnavailable));
    // The new file is not cached in memory either.
    let _ = project.keep_hot(1 << 28).await;
    assert_eq!(ask().await, Err(Code::LakeUnavailable));
    std::fs::remove_file(folder.path().join("one.parquet")).unwrap();
    assert_eq!(ask().await, Err(Code::LakeUnavailable));
}

/// NaN is not part of a file's minimum and maximum, so a column of one number and NaN looks like a constant.
#[tokio::test]
async fn a_number_that_is_none_is_not_taken_for_the_others() {
    let config =
        "[lake]\nlocation = \".\"\n[tables.one]\nlocation = \"one\"\nrow_filter = \"own = principal('own')\"\n";
    let folder = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("own", DataType::Float64, true),
    ]));
    let own = Arc::new(Float64Array::from(vec![5.0, f64::NAN, 5.0, f64::NAN])) as ArrayRef;
    let rows = vec![Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef, own];
    let rows = RecordBatch::try_new(Arc::clone(&schema), rows).unwrap();
    testing::write_parquet(&folder.path().join("one.parquet"), &schema, &[rows]);
    let queries = [("own", "SELECT id, own FROM one ORDER BY id"), ("number", "SELECT count(*) AS n FROM one")];
    let project = testing::project(folder.path(), config, &queries).await;
    for in_memory in [false, true] {
        if in_memory {
            project.keep_hot(1 << 28).await.unwrap();
        }
        for (name, rows) in [("own", &["1|5.0", "3|5.0"][..]), ("number", &["2"])] {
            let plan = testing::governed(&project, &testing::principal("own:number=5"), name, "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), rows, "in memory: {in_memory}");
        }
    }
}
