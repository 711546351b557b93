//! SQL has one zero and one NaN. This holds whatever their bits: in columns, lists and structs, from files of every
//! format and from memory, and in computed values.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use tempfile::TempDir;

use crate::govern::testing;

const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\nshared = true\n";

/// Both zeros, three bit patterns of NaN, and 1; as columns, in lists and in structs.
fn lake() -> TempDir {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let floats = [0.0, -0.0, f64::NAN, -f64::NAN, other_nan, 1.0];
    let d: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
    let r: ArrayRef = Arc::new(Float32Array::from(floats.map(|float| float as f32).to_vec()));
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1; floats.len()]));
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([1; 6]), Arc::clone(&d), None);
    let fields = vec![Field::new("a", DataType::Float64, true), Field::new("b", DataType::Int64, true)];
    let of_both = StructArray::new(fields.into(), vec![Arc::clone(&d), Arc::clone(&ones)], None);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..6))),
        ("g", ones),
        ("d", d),
        ("r", r),
        ("l", Arc::new(list)),
        ("s", Arc::new(of_both)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let batches = testing::one_by_one(std::slice::from_ref(&rows));
    testing::write_parquet(&folder.path().join("t.parquet"), &rows.schema(), &batches);
    folder
}

async fn holds(lake: &TempDir, sql: &str, wanted: &[&str]) {
    for answer in testing::both_ways(lake.path(), CONFIG, sql).await {
        assert_eq!(answer.unwrap_or_else(|error| panic!("{sql}: {error:?}")), wanted, "{sql}");
    }
}

#[tokio::test]
async fn each_zero_and_each_nan_is_one_value_in_every_clause() {
    let lake = lake();
    for of in ["d", "r", "l", "s", "d * -1.0", "CAST(r AS DOUBLE)", "0.0 - d"] {
        let ones = ["d", "r", "l", "s"].contains(&of);
        // 2 zeros, 3 NaNs, a one.
        for (query, wanted) in [
            (format!("SELECT count(*) AS n FROM (SELECT DISTINCT {of} AS v FROM t) AS q"), "3"),
            (
                format!("SELECT count(*) AS n FROM (SELECT {of} AS v, g, count(*) AS n FROM t GROUP BY {of}, g) AS q"),
                "3",
            ),
            (format!("SELECT count(DISTINCT {of}) AS n FROM t"), "3"),
            (format!("SELECT count(*) AS n FROM (SELECT {of} AS v FROM t UNION SELECT {of} AS v FROM t) AS q"), "3"),
            (format!("SELECT max(n) AS n FROM (SELECT count(*) OVER (PARTITION BY {of}) AS n FROM t) AS q"), "3"),
            (
                format!(
                    "WITH q AS (SELECT {of} AS v FROM t) SELECT count(*) AS n FROM q AS a JOIN q AS b ON a.v = b.v"
                ),
                "14",
            ),
            (
                format!(
                    "WITH q AS (SELECT {of} AS v FROM t) SELECT count(*) AS n FROM q AS a, q AS b WHERE a.v IS NOT DISTINCT FROM b.v"
                ),
                "14",
            ),
            (
                format!(
                    "WITH q AS (SELECT id, {of} AS v FROM t) SELECT count(*) AS n FROM q WHERE v IN (SELECT v FROM q WHERE id IN (1, 3))"
                ),
                "5",
            ),
            (
                format!(
                    "WITH q AS (SELECT id, {of} AS v FROM t) SELECT count(*) AS n FROM q WHERE v NOT IN (SELECT v FROM q WHERE id IN (1, 3))"
                ),
                "1",
            ),
            (
                format!(
                    "WITH q AS (SELECT id, {of} AS v FROM t) SELECT count(*) AS n FROM q WHERE v = (SELECT v FROM q WHERE id = 3)"
                ),
                "3",
            ),
            (
                format!(
                    "WITH q AS (SELECT id, {of} AS v FROM t) SELECT count(*) AS n FROM (SELECT v FROM q EXCEPT SELECT v FROM q WHERE id IN (0, 4)) AS e"
                ),
                "1",
            ),
            (
                format!(
                    "SELECT count(*) AS n FROM (SELECT DISTINCT ON ({of}) {of} AS v, id FROM t ORDER BY {of}, id) AS q"
                ),
                "3",
            ),
        ] {
            if query.contains("DISTINCT ON") && !ones {
                continue;
            }
            holds(&lake, &query, &[wanted]).await;
        }
    }
}

#[tokio::test]
async fn a_zero_is_found_by_the_other_in_lists_structs_and_rows() {
    let lake = lake();
    for condition in [
        "d = -0.0",
        "(d, g) IN ((0.0, 1))",
        "s = named_struct('a', 0.0, 'b', 1)",
        "array_has(l, 0.0)",
        "array_has_any(l, [-0.0])",
        "array_position(l, 0.0) = 1",
        "empty(array_remove_all(l, 0.0))",
        "map([d], [g])[0.0] = 1",
        "l = [0.0 * -1]",
        "[d * -1.0] = [0.0]",
        "d = ceil(-0.5)",
        "d = CAST('-0' AS DOUBLE)",
        "[d] = [CAST('-0.0' AS DOUBLE)]",
        "1 / d = 1 / 0.0",
    ] {
        holds(&lake, &format!("SELECT count(*) AS n FROM t WHERE {condition}"), &["2"]).await;
    }
}

/// The NaN that a processor computes for 0/0 sorts below every number by its bits.
#[tokio::test]
async fn nan_is_greater_than_every_number_whatever_its_sign() {
    let lake = lake();
    for condition in [
        "d > 1",
        "r > 1",
        "d >= CAST('inf' AS DOUBLE) * 0",
        "NOT d <= 1",
        "greatest(d, 1.0) > 1",
        "isnan(d)",
        "s['a'] > 1",
        "l[1] > 1",
    ] {
        holds(&lake, &format!("SELECT count(*) AS n FROM t WHERE {condition}"), &["3"]).await;
    }
    holds(&lake, "SELECT count(*) AS n FROM t WHERE d / d > 1", &["5"]).await;
    holds(&lake, "SELECT min(d) AS v, max(d) AS w FROM t WHERE id > 2", &["1.0|NaN"]).await;
    holds(&lake, "SELECT id FROM t ORDER BY d, id", &["0", "1", "5", "2", "3", "4"]).await;
}

/// Text files contain both zeros too.
#[tokio::test]
async fn floats_of_text_files_and_folders_have_one_form() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("c")).unwrap();
    std::fs::write(folder.path().join("c/a.csv"), "id,v\n1,0.5\n2,-0.0\n3,-0e0\n").unwrap();
    std::fs::write(folder.path().join("n.ndjson"), "{\"v\":0.5,\"l\":[0.5]}\n{\"v\":-0.0,\"l\":[-0.0]}\n").unwrap();
    let config = "[lake]\nlocation = \".\"\n[tables.c]\nlocation = \"c\"\nshared = true\n[tables.c.types]\nv = \"number\"\n\
                  [tables.n]\nlocation = \"n.ndjson\"\nshared = true\n";
    for (sql, wanted) in [
        ("SELECT count(DISTINCT v) AS n FROM c", "2"),
        ("SELECT count(*) AS n FROM c WHERE v = 0", "2"),
        ("SELECT count(*) AS n FROM n WHERE [v] = [0.0]", "1"),
        ("SELECT count(*) AS n FROM n WHERE l = [0.0]", "1"),
    ] {
        for answer in testing::both_ways(folder.path(), config, sql).await {
            assert_eq!(answer.unwrap(), [wanted], "{sql}");
        }
    }
}

/// In grouped aggregates, DataFusion compares floats as numbers, so its result depended on the order of rows.
#[tokio::test]
async fn the_greatest_of_a_group_is_nan_in_any_order() {
    let lake = lake();
    for order in ["id", "id DESC", "d"] {
        let of = format!("(SELECT * FROM t ORDER BY {order} LIMIT 100) AS q");
        for float in ["d", "r"] {
            let both = format!("SELECT g, max({float}) AS a, min({float}) AS b FROM {of} GROUP BY g");
            holds(&lake, &both, &["1|NaN|0.0"]).await;
            let some = format!(
                "SELECT max({float}) FILTER (WHERE id IN (0, 5)) AS a, min({float}) AS b FROM {of} WHERE id > 1 GROUP BY g"
            );
            holds(&lake, &some, &["1.0|1.0"]).await;
        }
    }
    holds(&lake, "SELECT g FROM t GROUP BY g HAVING max(d) > 5", &["1"]).await;
    holds(
        &lake,
        "SELECT max(d) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS v FROM t ORDER BY id",
        &["0.0", "0.0", "NaN", "NaN", "NaN", "NaN"],
    )
    .await;
}
