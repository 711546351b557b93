//! Numbers are exact or refused on every path. The expected values are worked out by hand.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, UInt64Array,
};
use lakegate_core::error::{Code, Error};
use tempfile::TempDir;

use crate::govern::testing::{self, governed, principal};

const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\nshared = true\n";
const BIG: i64 = 1 << 53;

fn lake() -> TempDir {
    let nines = "9".repeat(38).parse::<i128>().unwrap();
    let decimals = |values: Vec<i128>| Decimal128Array::from(values).with_precision_and_scale(38, 0).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("g", Arc::new(Int64Array::from(vec![1, 1, 2, 2, 3]))),
        ("i", Arc::new(Int64Array::from(vec![i64::MAX, 1, i64::MAX, -1, i64::MIN]))),
        ("n", Arc::new(Int32Array::from(vec![i32::MAX, 1, i32::MAX, -1, i32::MIN]))),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 1, 5, 6, 7]))),
        ("big", Arc::new(Int64Array::from(vec![Some(BIG), Some(BIG + 1), Some(BIG + 2), Some(-BIG - 1), None]))),
        ("d", Arc::new(decimals(vec![nines, nines, nines, -nines, 1]))),
        ("f", Arc::new(Float64Array::from(vec![Some(0.0), Some(-0.0), Some(BIG as f64), None, Some(f64::NAN)]))),
        ("day", Arc::new(Date32Array::from(vec![i32::MAX, 0, 1, 2, i32::MIN]))),
    ];
    let folder = tempfile::tempdir().unwrap();
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    testing::write_parquet(
        &folder.path().join("t.parquet"),
        &rows.schema(),
        &testing::one_by_one(std::slice::from_ref(&rows)),
    );
    folder
}

async fn answers(lake: &TempDir, sql: &str) -> [Result<Vec<String>, Error>; 2] {
    testing::both_ways(lake.path(), CONFIG, sql).await
}

async fn holds(sql: &str, wanted: &[&str]) {
    let lake = lake();
    for answer in answers(&lake, sql).await {
        assert_eq!(answer.unwrap_or_else(|error| panic!("{sql}: {error:?}")), wanted, "{sql}");
    }
}

async fn refuses(sql: &str, column: &str) {
    let lake = lake();
    for answer in answers(&lake, sql).await {
        let refused = answer.expect_err(sql);
        assert_eq!(refused.code, Code::NumberOutOfRange, "{sql}: {refused:?}");
        assert!(refused.detail.contains(&format!("`{column}`")), "{sql}: {}", refused.detail);
    }
}

#[tokio::test]
async fn sums_are_exact_or_refused() {
    // 2^63 - 1 + 1, and a sum that leaves the range on the way and comes back.
    refuses("SELECT sum(i) AS s FROM t WHERE g = 1", "i").await;
    holds("SELECT sum(i) AS s FROM t WHERE g = 2", &["9223372036854775806"]).await;
    holds("SELECT sum(i) AS s FROM t WHERE g < 3 AND i <> -1 OR g = 3", &["9223372036854775807"]).await;
    refuses("SELECT g, sum(i) AS s FROM t GROUP BY g ORDER BY g", "i").await;
    holds(
        "SELECT g, sum(i) AS s FROM t WHERE g > 1 GROUP BY g ORDER BY g",
        &["2|9223372036854775806", "3|-9223372036854775808"],
    )
    .await;
    refuses("SELECT sum(u) AS s FROM t", "u").await;
    holds("SELECT sum(n) AS s FROM t", &["2147483646"]).await;
    let lake = lake();
    for answer in answers(&lake, "SELECT sum(DISTINCT i) AS s FROM t WHERE g = 1").await {
        assert_eq!(answer.unwrap_err().code, Code::NumberOutOfRange);
    }
    holds("SELECT sum(DISTINCT i) AS s, count(DISTINCT u) AS c FROM t WHERE g = 2", &["9223372036854775806|2"]).await;
    let sliding = "SELECT sum(i) OVER (ORDER BY g, i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t WHERE g >= 2 ORDER BY g, i";
    holds(sliding, &["-1", "9223372036854775806", "-1"]).await;
    refuses("SELECT sum(i) OVER (PARTITION BY g) AS s FROM t", "i").await;
}

#[tokio::test]
async fn sums_of_decimals_beyond_38_digits_do_not_wrap() {
    let nines = "9".repeat(38);
    refuses("SELECT sum(d) AS s FROM t WHERE g = 1", "d").await;
    refuses("SELECT g, sum(d) AS s FROM t GROUP BY g", "d").await;
    holds("SELECT sum(d) AS s FROM t WHERE g = 2", &["0"]).await;
    // Two of these three values cancel out.
    holds("SELECT sum(d) AS s FROM t WHERE g = 2 OR d = 1", &["1"]).await;
    holds("SELECT sum(DISTINCT d) AS s FROM t WHERE g = 1", &[&nines]).await;
}

#[tokio::test]
async fn arithmetic_is_exact_or_refused() {
    for sql in ["i + 1", "i * 2", "1 + i", "i + g"] {
        refuses(&format!("SELECT {sql} AS v FROM t WHERE i = 9223372036854775807"), "i").await;
    }
    refuses("SELECT -i AS v FROM t", "i").await;
    refuses("SELECT i - 1 AS v FROM t WHERE g = 3", "i").await;
    refuses("SELECT g FROM t WHERE i + 1 > 0", "i").await;
    refuses("SELECT n + n AS v FROM t", "n").await;
    refuses("SELECT u + CAST(1 AS BIGINT UNSIGNED) AS v FROM t", "u").await;
    refuses("SELECT d + d AS v FROM t WHERE g = 1", "d").await;
    refuses("SELECT d * d AS v FROM t WHERE g = 1", "d").await;
    refuses("SELECT i / -1 AS v FROM t WHERE g = 3", "i").await;
    refuses("SELECT day + INTERVAL '1 year' AS v FROM t WHERE g = 1", "day").await;
    holds(
        "SELECT i - 1 AS v, -i AS w, i / -1 AS x, i % -1 AS y FROM t WHERE g = 1 AND i > 1",
        &["9223372036854775806|-9223372036854775807|-9223372036854775807|0"],
    )
    .await;
    holds("SELECT d - d AS v FROM t WHERE g = 1", &["0", "0"]).await;
    holds("SELECT 2 * g + 1 AS v FROM t ORDER BY v LIMIT 2", &["3", "3"]).await;
}

/// Constant folding at load time does not wrap either.
#[tokio::test]
async fn constants_do_not_wrap_either() {
    let lake = lake();
    for answer in answers(&lake, "SELECT g, 9223372036854775807 + 1 AS v FROM t").await {
        assert_eq!(answer.unwrap_err().code, Code::NumberOutOfRange);
    }
}

#[tokio::test]
async fn casts_out_of_range_are_refused_on_every_path() {
    let lake = lake();
    for sql in [
        "SELECT CAST(i AS INT) AS v FROM t",
        "SELECT CAST(u AS BIGINT) AS v FROM t",
        "SELECT CAST(d AS BIGINT) AS v FROM t",
        "SELECT CAST(d AS DECIMAL(10, 2)) AS v FROM t",
        "SELECT CAST(i AS DECIMAL(5, 2)) AS v FROM t",
        "SELECT CAST(CAST(i AS DOUBLE) * 100 AS BIGINT) AS v FROM t",
    ] {
        for answer in answers(&lake, sql).await {
            let refused = answer.expect_err(sql);
            assert_eq!(refused.code, Code::NumberOutOfRange, "{sql}: {refused:?}");
        }
    }
    for (sql, code) in [
        ("SELECT 1 / (g - 1) AS v FROM t", Code::EngineValueRefused),
        ("SELECT CAST('x' || g AS BIGINT) AS v FROM t", Code::EngineValueRefused),
    ] {
        for answer in answers(&lake, sql).await {
            assert_eq!(answer.expect_err(sql).code, code, "{sql}");
        }
    }
}

/// 2^53 and 2^53 + 1 are the same float.
#[tokio::test]
async fn whole_numbers_are_compared_digit_by_digit() {
    for (condition, wanted) in [
        ("big = 9007199254740992.0", vec!["9007199254740992"]),
        ("big <> 9007199254740992.0", vec!["-9007199254740993", "9007199254740993", "9007199254740994"]),
        ("big > 9007199254740992.0", vec!["9007199254740993", "9007199254740994"]),
        ("big IN (9007199254740992.0, 1.5)", vec!["9007199254740992"]),
        ("big NOT IN (9007199254740992.0, 1.5)", vec!["-9007199254740993", "9007199254740993", "9007199254740994"]),
        ("big BETWEEN 9007199254740992.0 AND 9007199254740992.0", vec!["9007199254740992"]),
        ("big = 1.5", vec![]),
        ("big < 1.5", vec!["-9007199254740993"]),
        ("big > 1e300 OR big < -9007199254740992.0", vec!["-9007199254740993"]),
        ("CASE f WHEN big THEN true ELSE false END", vec![]),
        ("big = f + 0.0", vec![]),
        ("big > f", vec!["9007199254740992", "9007199254740993", "9007199254740994"]),
        ("CAST(big AS DECIMAL(20, 1)) = CAST('9007199254740993.0' AS DECIMAL(20, 1))", vec!["9007199254740993"]),
        ("big = 9007199254740993", vec!["9007199254740993"]),
    ] {
        let sql = format!("SELECT big FROM t WHERE {condition} ORDER BY big");
        let wanted = match condition {
            "big > f" => &["9007199254740992", "9007199254740993", "9007199254740994"][..],
            _ => &wanted[..],
        };
        holds(&sql, wanted).await;
    }
    holds("SELECT a.g FROM t AS a JOIN t AS b ON a.big = b.f", &["1"]).await;
    let lake = lake();
    for sql in ["SELECT g FROM t WHERE big = 9007199254740993.0", "SELECT g FROM t WHERE big IN (SELECT f FROM t)"] {
        let refused = testing::try_project(lake.path(), CONFIG, &[("e", sql)]).await.expect_err(sql).join("\n");
        assert!(refused.contains("fraction"), "{sql}: {refused}");
    }
}

/// A century in microseconds, thousands of times, exceeds 64 bits.
#[tokio::test]
async fn sums_and_means_of_durations_do_not_wrap() {
    let day = |text: &str| format!("arrow_cast('{text}', 'Timestamp(Microsecond, None)')");
    let tables = ["a", "b", "c", "d", "e", "f"].map(|name| format!("t AS {name}")).join(" CROSS JOIN ");
    let of = |aggregate: &str| {
        let (from, to) = (day("9900-01-01"), day("9999-01-01"));
        format!("SELECT arrow_cast({aggregate}({to} - {from}), 'Int64') AS v FROM {tables}")
    };
    // 99 years with 24 leap days.
    let micros = (99_i64 * 365 + 24) * 86_400_000_000;
    holds(&of("avg"), &[&micros.to_string()]).await;
    let lake = lake();
    for answer in answers(&lake, &of("sum")).await {
        assert_eq!(answer.unwrap_err().code, Code::NumberOutOfRange);
    }
}

/// DataFusion ignores the hours, so a date plus 36 hours would be the next day.
#[tokio::test]
async fn dates_are_not_moved_by_hours() {
    let folder = lake();
    for value in [
        "day + INTERVAL '9 hours'",
        "day - INTERVAL '1 day 1 second'",
        "INTERVAL '36 hours' + day",
        "range(DATE '2024-01-01', day, INTERVAL '1 day 12 hours')",
    ] {
        let sql = format!("SELECT {value} AS v FROM t WHERE g = 2");
        let refused = testing::try_project(folder.path(), CONFIG, &[("e", &sql)]).await.expect_err(&sql).join("\n");
        assert!(refused.contains("CAST(day AS TIMESTAMP)"), "{sql}: {refused}");
    }
    // The hours are known only when rows are read.
    for value in ["day + CAST(g || ' hours' AS INTERVAL)", "generate_series(day, day, CAST(g || ' hours' AS INTERVAL))"]
    {
        let sql = format!("SELECT {value} AS v FROM t WHERE g = 2");
        for answer in answers(&folder, &sql).await {
            let refused = answer.expect_err(&sql);
            assert_eq!(refused.code, Code::EngineValueRefused, "{sql}: {refused:?}");
        }
    }
    holds(
        "SELECT day + g AS u, day - 1 AS v, day + INTERVAL '48 hours' AS w, day + CAST(g * 24 || ' hours' AS INTERVAL) AS x \
         FROM t WHERE day = DATE '1970-01-02'",
        &["1970-01-04|1970-01-01|1970-01-04|1970-01-04"],
    )
    .await;
    holds("SELECT day + INTERVAL '1 month 1 day' AS v FROM t WHERE day = DATE '1970-01-02'", &["1970-02-03"]).await;
    holds(
        "SELECT day + CAST(g || ' days' AS INTERVAL) AS v, CAST(day AS TIMESTAMP) + INTERVAL '9 hours' AS w \
         FROM t WHERE day = DATE '1970-01-02'",
        &["1970-01-04|1970-01-02T09:00:00"],
    )
    .await;
}

/// DataFusion reads an integer as seconds and a decimal as nanoseconds, and casts a timestamp to a number in the unit
/// of its column.
#[tokio::test]
async fn a_number_is_no_date_and_no_timestamp() {
    let folder = lake();
    for value in [
        "CAST(g AS TIMESTAMP)",
        "CAST(1.5 AS TIMESTAMP)",
        "TRY_CAST(CAST(g AS DOUBLE) AS TIMESTAMP)",
        "CAST(CAST(g AS DECIMAL(10, 2)) AS TIMESTAMP)",
        "CAST(g AS DATE)",
        "CAST(day AS INT)",
        "CAST(CAST(day AS TIMESTAMP) AS BIGINT)",
        "CAST(TIMESTAMP '1970-01-02' AS DOUBLE)",
        "day = 20240131",
        "g > day",
        "day IN (1, 2)",
        "day BETWEEN 1 AND 2",
        "CASE WHEN g = 1 THEN day ELSE 5 END",
        "coalesce(day, g)",
    ] {
        let sql = format!("SELECT {value} AS v FROM t");
        let refused = testing::try_project(folder.path(), CONFIG, &[("e", &sql)]).await.expect_err(&sql).join("\n");
        let is_said = ["is no date and no timestamp", "is no number", "coerce", "arguments of the types"]
            .iter()
            .any(|said| refused.contains(said));
        assert!(is_said, "{sql}: {refused}");
    }
    holds(
        "SELECT to_timestamp_seconds(86400) AS v, to_unixtime(TIMESTAMP '1970-01-02') AS w, day + 1 AS x, day - DATE '1970-01-01' AS y \
         FROM t WHERE day = DATE '1970-01-02'",
        &["1970-01-02T00:00:00Z|86400|1970-01-03|1"],
    )
    .await;
}

/// DataFusion multiplies the fraction between two numbers by a million and truncates the rest.
#[tokio::test]
async fn a_percentile_has_all_digits() {
    let of = "(VALUES (0.0), (1000000000000.0)) AS v(x)";
    let share = "percentile_cont(0.123456789012) WITHIN GROUP (ORDER BY x)";
    holds(&format!("SELECT {share} AS p FROM {of}"), &["123456789012.0"]).await;
    let down = share.replace("ORDER BY x", "ORDER BY x DESC");
    holds(&format!("SELECT round({down}) AS p FROM {of}"), &["876543210988.0"]).await;
    holds("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY g) AS p FROM t", &["2.0"]).await;
    holds(
        "SELECT g, percentile_cont(0.25) WITHIN GROUP (ORDER BY CAST(g AS DOUBLE) * 3) AS p FROM t GROUP BY g ORDER BY g",
        &["1|3.0", "2|6.0", "3|9.0"],
    )
    .await;
    holds("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY f) AS p FROM t WHERE f > 1e300 AND g < 3", &["NULL"])
        .await;
    holds(
        "SELECT g, percentile_cont(g, 0.5) OVER (ORDER BY g ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS p \
         FROM t ORDER BY g, p",
        &["1|1.0", "1|1.0", "2|1.5", "2|2.0", "3|2.5"],
    )
    .await;
}

/// DataFusion casts such a number to infinity.
#[tokio::test]
async fn a_number_that_is_no_float_of_its_type_is_refused() {
    for sql in [
        "SELECT CAST(1e300 * g AS REAL) AS v FROM t",
        "SELECT CAST(concat('1e4', '00') AS DOUBLE) AS v FROM t",
        "SELECT CAST(concat('1e', CAST(g + 40 AS VARCHAR)) AS REAL) AS v FROM t",
    ] {
        for answer in answers(&lake(), sql).await {
            assert_eq!(answer.expect_err(sql).code, Code::NumberOutOfRange, "{sql}");
        }
    }
    holds("SELECT TRY_CAST(1e300 * g AS REAL) AS v FROM t WHERE g = 3", &["NULL"]).await;
    holds("SELECT TRY_CAST(concat('1e4', '00') AS DOUBLE) AS v FROM t WHERE g = 3", &["NULL"]).await;
    holds("SELECT CAST('-Infinity' AS DOUBLE) AS v, CAST('inf' AS REAL) AS w FROM t WHERE g = 3", &["-inf|inf"]).await;
    holds("SELECT CAST(1.5 * g AS REAL) AS v FROM t WHERE g = 3", &["4.5"]).await;
}

/// DataFusion reads such a text as months, and a literal as seconds.
#[tokio::test]
async fn a_text_without_a_unit_is_no_interval() {
    let folder = lake();
    for text in ["CAST(g AS VARCHAR)", "g || ' days ' || g", "' 1.5 '", "'1 day 5 '"] {
        let sql = format!("SELECT day + CAST({text} AS INTERVAL) AS v FROM t WHERE g = 3");
        match testing::try_project(folder.path(), CONFIG, &[("e", &sql)]).await {
            Ok(_) => {
                for answer in answers(&folder, &sql).await {
                    assert_eq!(answer.expect_err(&sql).code, Code::EngineValueRefused, "{sql}");
                }
            }
            Err(refused) => assert!(refused.join("\n").contains("interval"), "{sql}: {refused:?}"),
        }
    }
    holds(
        "SELECT TRY_CAST('5' AS INTERVAL) AS v, DATE '1970-01-02' + CAST(g || ' months' AS INTERVAL) AS w FROM t WHERE g = 3",
        &["NULL|1970-04-02"],
    )
    .await;
}

/// DataFusion reads a number as nanoseconds after midnight.
#[tokio::test]
async fn a_number_is_no_time_of_day() {
    let folder = lake();
    let sql = "SELECT CAST(g AS TIME) AS v FROM t";
    let refused = testing::try_project(folder.path(), CONFIG, &[("e", sql)]).await.expect_err(sql).join("\n");
    assert!(refused.contains("no time of day"), "{refused}");
    let sql = "SELECT CAST(CAST(g AS VARCHAR) AS TIME) AS v FROM t";
    for answer in answers(&folder, sql).await {
        assert_eq!(answer.expect_err(sql).code, Code::EngineValueRefused);
    }
    holds(
        "SELECT TRY_CAST(CAST(g AS VARCHAR) AS TIME) AS v, CAST(g || ':30:00' AS TIME) AS w, TIME '09:30' AS x, \
         CAST(CAST(NULL AS VARCHAR) AS TIME) AS y FROM t WHERE g = 3",
        &["NULL|03:30:00|09:30:00|NULL"],
    )
    .await;
}

#[tokio::test]
async fn both_zeros_are_zero() {
    holds("SELECT g FROM t WHERE CASE f WHEN 0.0 THEN true ELSE false END", &["1", "1"]).await;
    holds("SELECT g FROM t WHERE CASE f WHEN -0.0 THEN true ELSE false END", &["1", "1"]).await;
    holds("SELECT g FROM t WHERE f IN (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)", &["1", "1"]).await;
    holds("SELECT g FROM t WHERE f IN (-0.0, 1.0, 2.0, 3.0, 4.0, 5.0)", &["1", "1"]).await;
    holds("SELECT g FROM t WHERE f NOT IN (-0.0, 1.0, 2.0, 3.0, 4.0, 5.0)", &["2", "3"]).await;
}

/// A rule uses the same arithmetic as a query.
#[tokio::test]
async fn rules_do_not_wrap() {
    let lake = lake();
    let sql = "/*---\nsummary = \"s\"\n[params.n]\ntype = \"integer\"\n[[rules]]\ncheck = \"$n + 1 > 0\"\nmessage = \"n is positive\"\n---*/\nSELECT g FROM t WHERE g = $n";
    let project = testing::project(lake.path(), CONFIG, &[("e", sql)]).await;
    for (n, is_taken) in [("3", true), ("-5", false), ("9223372036854775807", false)] {
        let outcome = governed(&project, &principal(""), "e", &format!("{{\"n\": {n}}}"));
        assert_eq!(outcome.is_ok(), is_taken, "{n}: {:?}", outcome.err());
    }
}
