//! Tests lists of any length: same rows as item by item, one plan for all long lists, no stack overflow.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Schema;
use lakegate_core::error::Code;
use tempfile::TempDir;

use super::testing::{self, governed, principal};
use crate::plan::PlannedProject;

const PARAMS: &str = "/*---\nsummary = \"s\"\n[params.a]\ntype = \"integer[]\"\n[params.b]\ntype = \"integer[]\"\nmax_items = 5000\n---*/\n";

fn lake_of(columns: Vec<(&str, ArrayRef)>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let rows = rows.unwrap();
    let schema: Arc<Schema> = rows.schema();
    let parts = (0..rows.num_rows()).step_by(100).map(|at| rows.slice(at, 100.min(rows.num_rows() - at)));
    testing::write_parquet(&folder.path().join("t.parquet"), &schema, &parts.collect::<Vec<_>>());
    folder
}

/// 4,000 ids, of which every seventh is NULL.
fn ids() -> Vec<Option<i64>> {
    (0..4_000).map(|id| (id % 7 != 3).then_some(id)).collect()
}

async fn project(lake: &TempDir, row_filter: &str, sql: &str) -> PlannedProject {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\n{row_filter}\n");
    testing::project(lake.path(), &config, &[("e", sql)]).await
}

/// The rows from files and from memory.
async fn answers(project: &PlannedProject, who: &str, arguments: &str) -> [Vec<String>; 2] {
    let ask = async || testing::rows(governed(project, &principal(who), "e", arguments).unwrap()).await.unwrap();
    let cold = ask().await;
    project.keep_hot(1 << 28).await.unwrap();
    [cold, ask().await]
}

fn json(a: &[i64], b: &[i64]) -> String {
    serde_json::json!({"a": a, "b": b}).to_string()
}

fn lines(ids: impl Iterator<Item = i64>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// The items of a list used to be a chain of comparisons, and two lists of a thousand overflowed the stack of a worker.
#[tokio::test]
async fn long_lists_of_what_is_left_out_end_no_process() {
    let lake = lake_of(vec![("id", Arc::new(Int64Array::from(ids())))]);
    let sql = format!("{PARAMS}SELECT id FROM t WHERE id NOT IN ($a) AND id NOT IN ($b) ORDER BY id");
    let project = project(&lake, "row_filter = \"id NOT IN (principal('hidden'))\"", &sql).await;
    let (a, b) = ((0..1_000).collect::<Vec<_>>(), (500..5_500).step_by(2).collect::<Vec<_>>());
    let hidden = (2_000..3_500).collect::<Vec<i64>>();
    let who = hidden.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let wanted = ids().into_iter().flatten().filter(|id| !a.contains(id) && !b.contains(id) && !hidden.contains(id));
    let wanted = lines(wanted);
    assert!(wanted.len() > 500);
    for rows in answers(&project, &format!("hidden:integer[]={who}"), &json(&a, &b)).await {
        assert_eq!(rows, wanted);
    }
}

#[tokio::test]
async fn long_lists_of_literals_end_no_process() {
    let lake = lake_of(vec![("id", Arc::new(Int64Array::from(ids())))]);
    let text = (0..1_500).map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
    for (row_filter, sql, wanted) in [
        (format!("id NOT IN ({text})"), "SELECT id FROM t ORDER BY id".to_owned(), (1_500, 4_000)),
        (format!("id IN ({text})"), "SELECT id FROM t ORDER BY id".to_owned(), (0, 1_500)),
        ("id >= 1000".to_owned(), format!("SELECT id FROM t WHERE id NOT IN ({text}) ORDER BY id"), (1_500, 4_000)),
        ("id >= 1000".to_owned(), format!("SELECT id FROM t WHERE id IN ({text}) ORDER BY id"), (1_000, 1_500)),
    ] {
        let project = project(&lake, &format!("row_filter = \"{row_filter}\""), &sql).await;
        let wanted = lines(ids().into_iter().flatten().filter(|id| (wanted.0..wanted.1).contains(id)));
        for rows in answers(&project, "", "{}").await {
            assert_eq!(rows, wanted, "{}", row_filter.split('(').next().unwrap());
        }
    }
}

/// `IN` in several conditions, over NULLs, for lists of every form that a plan distinguishes.
#[tokio::test]
async fn lists_of_every_length_mean_the_same() {
    let values = (0..60).map(|id| (id % 7 != 3).then_some(id)).collect::<Vec<Option<i64>>>();
    let lake = lake_of(vec![
        ("row", Arc::new(Int64Array::from_iter_values(0..60))),
        ("n", Arc::new(Int64Array::from(values.clone()))),
        ("text", Arc::new(values.iter().map(|n| n.map(|n| format!("t{n}"))).collect::<StringArray>())),
        ("day", Arc::new(values.iter().map(|n| n.map(|n| n as i32)).collect::<Date32Array>())),
    ]);
    // Each predicate with its meaning, given the row's membership and number.
    type Meaning = fn(Option<bool>, i64) -> Option<bool>;
    let negated: Meaning = |of, _| of.map(|of| !of);
    let predicates: [(&str, Meaning); 7] = [
        ("@ IN (#)", |of, _| of),
        ("@ NOT IN (#)", negated),
        ("NOT (@ IN (#))", negated),
        ("(@ IN (#)) IS NULL", |of, _| Some(of.is_none())),
        ("(@ NOT IN (#)) IS NOT TRUE", |of, _| Some(of != Some(false))),
        ("@ IN (#) OR row < 5", |of, row| if row < 5 { Some(true) } else { of }),
        ("CASE WHEN @ NOT IN (#) THEN row > 30 ELSE true END", |of, row| Some(of != Some(false) || row > 30)),
    ];
    let types = [("n", "integer[]"), ("text", "string[]"), ("day", "date[]")];
    for (column, data_type) in types {
        for (predicate, meaning) in predicates {
            let condition = predicate.replace('@', column).replace('#', "$list");
            let sql = format!(
                "/*---\nsummary = \"s\"\n[params.list]\ntype = \"{data_type}\"\n---*/\nSELECT row FROM t WHERE {condition} ORDER BY row"
            );
            let project = project(&lake, "row_filter = \"row >= 0\"", &sql).await;
            for length in [0, 1, 2, 4, 5, 8, 9, 33] {
                let list = (0..length).map(|at| at * 2 % 61).collect::<Vec<i64>>();
                let items = list.iter().map(|item| match column {
                    "n" => serde_json::json!(item),
                    "text" => serde_json::json!(format!("t{item}")),
                    _ => serde_json::json!(chrono::NaiveDate::default() + chrono::Days::new(*item as u64)),
                });
                let arguments = serde_json::json!({"list": items.collect::<Vec<_>>()}).to_string();
                let member = |value: &Option<i64>| match (list.is_empty(), value) {
                    (true, _) => Some(false),
                    (false, value) => value.map(|value| list.contains(&value)),
                };
                let wanted = (0..).zip(&values).filter(|(row, value)| meaning(member(value), *row) == Some(true));
                let wanted = lines(wanted.map(|(row, _)| row));
                for rows in answers(&project, "", &arguments).await {
                    assert_eq!(rows, wanted, "{condition} with {length} items");
                }
            }
        }
    }
}

/// `0.0 = -0.0`, in a list of one as in a list of many.
#[tokio::test]
async fn a_list_with_a_zero_has_both_zeros() {
    let floats = Float64Array::from(vec![Some(0.0), Some(-0.0), Some(1.0), None, Some(f64::NAN)]);
    let lake = lake_of(vec![("row", Arc::new(Int64Array::from_iter_values(0..5))), ("f", Arc::new(floats))]);
    let params = "/*---\nsummary = \"s\"\n[params.list]\ntype = \"number[]\"\n---*/\n";
    for (condition, wanted) in [("f IN ($list)", ["0", "1"].as_slice()), ("f NOT IN ($list)", &["2", "4"])] {
        let sql = format!("{params}SELECT row FROM t WHERE {condition} ORDER BY row");
        let project = project(&lake, "row_filter = \"row >= 0\"", &sql).await;
        for list in ["[0]", "[-0.0]", "[0, 7, 8, 9, 10, 11]", "[-0.0, 7, 8, 9, 10, 11]"] {
            for rows in answers(&project, "", &format!("{{\"list\": {list}}}")).await {
                assert_eq!(rows, wanted, "{condition} {list}");
            }
        }
    }
}

#[tokio::test]
async fn all_long_lists_are_one_plan() {
    let lake = lake_of(vec![("id", Arc::new(Int64Array::from(ids())))]);
    let sql = format!("{PARAMS}SELECT id FROM t WHERE id NOT IN ($a) AND id IN ($b)");
    let project = project(&lake, "row_filter = \"id IN (principal('own'))\"", &sql).await;
    let text = |count: i64| (0..count).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let plan = |own: i64, a: i64, b: i64| {
        let list = |count: i64| (0..count).collect::<Vec<_>>();
        let who = principal(&format!("own:integer[]={}", text(own)));
        governed(&project, &who, "e", &json(&list(a), &list(b))).unwrap()
    };
    let (few, many) = (plan(5, 6, 7), plan(900, 1_000, 3_000));
    assert_eq!(few.display_without_values(), many.display_without_values());
    assert!(few.display_without_values().len() < 2_000, "{}", few.display_without_values());
    // Plans with different results still have different fingerprints.
    assert_ne!(few.fingerprint(), many.fingerprint());
    assert_ne!(plan(5, 6, 7).fingerprint(), plan(5, 6, 8).fingerprint());
    assert_eq!(plan(5, 6, 7).fingerprint(), few.fingerprint());
}

#[tokio::test]
async fn an_item_that_the_column_cannot_hold_is_refused_in_long_lists_too() {
    let lake = lake_of(vec![("f", Arc::new(Float64Array::from(vec![1.0])))]);
    let params = "/*---\nsummary = \"s\"\n[params.list]\ntype = \"integer[]\"\n---*/\n";
    let project = project(&lake, "shared = true", &format!("{params}SELECT f FROM t WHERE f IN ($list)")).await;
    for list in ["[9007199254740993]", "[1, 2, 3, 4, 5, 9007199254740993]"] {
        let refused = governed(&project, &principal(""), "e", &format!("{{\"list\": {list}}}")).unwrap_err();
        assert_eq!(refused.code, Code::ArgumentsInvalid, "{list}");
    }
}

/// A `LIMIT` of 0 panicked over sorted rows, and one of the paths took a negative limit for none.
#[tokio::test]
async fn a_limit_of_nothing_gives_nothing_and_a_negative_one_is_refused_on_every_path() {
    let lake = lake_of(vec![("id", Arc::new(Int64Array::from(vec![3, 1, 2])))]);
    let params = "/*---\nsummary = \"s\"\n[params.n]\ntype = \"integer\"\n[params.skip]\ntype = \"integer\"\n---*/\n";
    for sql in [
        "SELECT id FROM t ORDER BY id LIMIT $n OFFSET $skip",
        "SELECT id FROM t LIMIT $n OFFSET $skip",
        "SELECT id FROM (SELECT id FROM t ORDER BY id DESC LIMIT $n OFFSET $skip) AS q ORDER BY id",
        "SELECT count(*) AS id FROM (SELECT id FROM t ORDER BY id LIMIT $n OFFSET $skip) AS q HAVING count(*) > 0",
    ] {
        let project = project(&lake, "row_filter = \"id >= 0\"", &format!("{params}{sql}")).await;
        for in_memory in [false, true] {
            if in_memory {
                project.keep_hot(1 << 28).await.unwrap();
            }
            for (n, skip, count) in
                [(0, 0, 0), (0, 2, 0), (2, 1, 2), (i64::MAX, 0, 3), (2, i64::MAX, 0), (i64::MAX, i64::MAX, 0)]
            {
                let arguments = format!("{{\"n\": {n}, \"skip\": {skip}}}");
                let rows = testing::rows(governed(&project, &principal(""), "e", &arguments).unwrap()).await.unwrap();
                let count = if sql.contains("count(*)") { count.min(1) } else { count };
                assert_eq!(rows.len(), count, "{sql} {arguments} in memory: {in_memory}");
            }
            for (n, skip) in [(-1, 0), (1, -1), (i64::MIN, 0)] {
                let arguments = format!("{{\"n\": {n}, \"skip\": {skip}}}");
                let refused = governed(&project, &principal(""), "e", &arguments).unwrap_err();
                assert_eq!(refused.code, Code::ArgumentsInvalid, "{sql} {arguments} in memory: {in_memory}");
            }
        }
    }
}
