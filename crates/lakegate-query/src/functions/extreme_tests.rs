//! Calls every allowed function with extreme arguments, over files and resident tables; both must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::Int64Type;
use lakegate_core::error::{Code, Error, Kind};
use tempfile::TempDir;

use super::allowed::{aggregate_functions, scalar_functions, window_functions};
use super::extreme_calls::{AGGREGATES, ARGUMENTS, LARGE, UNNESTED};
use crate::govern::testing::{self, governed, principal};
use crate::plan::PlannedProject;

const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\nshared = true\n";

/// One row for each kind of extreme value; every column contains NULL.
fn lake() -> TempDir {
    let nines = "9".repeat(38).parse::<i128>().unwrap();
    let texts =
        ["", "a", "\u{1F600}\u{0301}", "ﬃ İ ß", "-9999-01-01", "99999999-12-31T00:00:00", "(", "9223372036854775808"];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("row", Arc::new(Int64Array::from_iter_values(0..8))),
        (
            "i",
            Arc::new(Int64Array::from(vec![
                None,
                Some(0),
                Some(1),
                Some(-1),
                Some(i64::MIN),
                Some(i64::MAX),
                Some(7),
                Some(1 << 53),
            ])),
        ),
        (
            "n",
            Arc::new(Int32Array::from(vec![
                None,
                Some(0),
                Some(1),
                Some(-1),
                Some(i32::MIN),
                Some(i32::MAX),
                Some(7),
                Some(100),
            ])),
        ),
        (
            "u",
            Arc::new(UInt64Array::from(vec![
                None,
                Some(0),
                Some(1),
                Some(2),
                Some(u64::MAX),
                Some(u64::MAX),
                Some(7),
                Some(1 << 53),
            ])),
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![
                None,
                Some(0.0),
                Some(-0.0),
                Some(f64::NAN),
                Some(f64::INFINITY),
                Some(f64::NEG_INFINITY),
                Some(1e308),
                Some(5e-324),
            ])),
        ),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![
                    None,
                    Some(0),
                    Some(nines),
                    Some(-nines),
                    Some(1),
                    Some(-1),
                    Some(nines),
                    Some(nines),
                ])
                .with_precision_and_scale(38, 2)
                .unwrap(),
            ),
        ),
        ("s", Arc::new(texts.iter().map(|text| (*text != "a").then(|| (*text).to_owned())).collect::<StringArray>())),
        (
            "b",
            Arc::new(BooleanArray::from(vec![
                None,
                Some(true),
                Some(false),
                Some(true),
                Some(false),
                Some(true),
                Some(false),
                Some(true),
            ])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![
                None,
                Some(0),
                Some(-719_529),
                Some(2_932_896),
                Some(i32::MIN),
                Some(i32::MAX),
                Some(19_000),
                Some(-1),
            ])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![
                None,
                Some(0),
                Some(i64::MIN),
                Some(i64::MAX),
                Some(253_402_300_799_999_999),
                Some(-62_135_596_800_000_000),
                Some(1),
                Some(-1),
            ])),
        ),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
                None,
                Some(vec![]),
                Some(vec![None]),
                Some(vec![Some(i64::MAX), Some(1)]),
                Some(vec![Some(1); 100]),
                Some(vec![Some(i64::MIN)]),
                Some(vec![Some(1), None]),
                Some(vec![Some(3), Some(2), Some(1)]),
            ])),
        ),
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

/// Calls of a function with up to four pseudo-random arguments, seeded by the function's name.
fn calls(function: &str, count: usize) -> Vec<String> {
    let mut seed = function.bytes().fold(17_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut calls = Vec::new();
    for arity in 0..=4 {
        for _ in 0..if arity == 0 { 1 } else { count } {
            let args = (0..arity).map(|_| ARGUMENTS[next(ARGUMENTS.len())]).collect::<Vec<_>>().join(", ");
            calls.push(format!("{function}({args})"));
        }
    }
    calls
}

/// The queries of all calls.
fn queries(count: usize) -> Vec<String> {
    let mut queries = Vec::new();
    let scalar = |call: &str| format!("SELECT row, {call} AS v FROM t ORDER BY row");
    queries.extend(LARGE.iter().map(|call| scalar(call)));
    queries.extend(UNNESTED.iter().map(|sql| (*sql).to_owned()));
    queries.extend(scalar_functions().flat_map(|name| calls(name, count)).map(|call| scalar(&call)));
    let is_window = |call: &str| call.contains(" OVER ");
    queries.extend(AGGREGATES.iter().map(|call| match is_window(call) {
        true => scalar(call),
        false => format!("SELECT {call} AS v FROM t"),
    }));
    queries.extend(
        AGGREGATES
            .iter()
            .filter(|call| !is_window(call))
            .map(|call| format!("SELECT b, {call} AS v FROM t GROUP BY b ORDER BY b")),
    );
    queries.extend(
        aggregate_functions()
            .iter()
            .flat_map(|name| calls(name, count))
            .map(|call| format!("SELECT {call} AS v FROM t")),
    );
    queries.extend(
        window_functions()
            .iter()
            .flat_map(|name| calls(name, count))
            .map(|call| scalar(&format!("{call} OVER (ORDER BY row)"))),
    );
    queries
}

/// The outcomes of queries: the numbers of results and refusals, and the faults.
#[derive(Default, Debug)]
struct Outcome {
    answered: usize,
    refused: BTreeMap<&'static str, usize>,
    not_taken: usize,
    faults: Vec<String>,
}

/// Loads a project of those queries that are accepted, and returns it with them.
async fn project_of(folder: &TempDir, queries: &[String]) -> (PlannedProject, Vec<(String, String)>) {
    let mut taken = queries.iter().enumerate().map(|(at, sql)| (format!("q{at}"), sql.clone())).collect::<Vec<_>>();
    loop {
        let endpoints = taken.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect::<Vec<_>>();
        let loaded = testing::try_project(folder.path(), CONFIG, &endpoints).await;
        match loaded {
            Ok(project) => return (project, taken),
            Err(findings) => {
                let of = |finding: &String| finding.strip_prefix("endpoints/")?.split('.').next().map(str::to_owned);
                let refused = findings.iter().filter_map(of).collect::<BTreeSet<_>>();
                assert!(!refused.is_empty(), "{findings:?}");
                taken.retain(|(name, _)| !refused.contains(name));
            }
        }
    }
}

async fn ask(folder: &TempDir, queries: &[String]) -> Outcome {
    let mut outcome = Outcome::default();
    for some in queries.chunks(200) {
        let (project, taken) = project_of(folder, some).await;
        outcome.not_taken += some.len() - taken.len();
        let mut answers = Vec::new();
        for in_memory in [false, true] {
            if in_memory {
                project.keep_hot(1 << 26).await.unwrap();
            }
            for (name, _) in &taken {
                let answer = match governed(&project, &principal(""), name, "{}") {
                    Ok(plan) => testing::rows(plan).await,
                    Err(error) => Err(error),
                };
                answers.push(answer);
            }
        }
        let warm = answers.split_off(taken.len());
        for (((_, sql), cold), warm) in taken.iter().zip(answers).zip(warm) {
            outcome.judge(sql, &cold, &warm);
        }
    }
    outcome
}

/// Whether a refusal is no bug of lakegate.
fn is_sound(error: &Error) -> bool {
    error.code.kind() != Kind::Internal && !format!("{:?}", error.source).contains("it panicked")
}

/// Whether a query ran out of memory. This says nothing about its values, because an operator's need depends on the
/// batches of its input, and the available memory on the tests that run at the same time.
fn is_of_memory(error: &Error) -> bool {
    matches!(error.code, Code::EngineOverloaded | Code::EngineMemoryExceeded) && is_sound(error)
}

/// Whether two refusals agree and neither is a bug of lakegate.
fn is_like(cold: &Error, warm: &Error) -> bool {
    is_sound(cold) && is_sound(warm) && (cold.code == warm.code || is_of_memory(cold) || is_of_memory(warm))
}

impl Outcome {
    fn judge(&mut self, sql: &str, cold: &Result<Vec<String>, Error>, warm: &Result<Vec<String>, Error>) {
        match (cold, warm) {
            (Ok(cold), Ok(warm)) if cold == warm => self.answered += 1,
            (Err(cold), Err(warm)) if is_like(cold, warm) => {
                *self.refused.entry(cold.code.name()).or_default() += 1;
            }
            (Ok(_), Err(error)) | (Err(error), Ok(_)) if is_of_memory(error) => {
                *self.refused.entry(error.code.name()).or_default() += 1;
            }
            _ => {
                let mut line = sql.chars().take(200).collect::<String>();
                for answer in [cold, warm] {
                    let answer = match answer {
                        Ok(rows) => format!("{rows:?}"),
                        Err(error) => format!("{} {:?}", error.code.name(), error.source),
                    };
                    write!(line, "\n    {}", answer.chars().take(300).collect::<String>()).unwrap();
                }
                self.faults.push(line);
            }
        }
    }
}

/// `LAKEGATE_TEST_CALLS=12` makes more than 5,000 calls, which takes minutes.
#[tokio::test]
async fn every_allowed_function_answers_or_refuses_extreme_arguments() {
    let count = std::env::var("LAKEGATE_TEST_CALLS").ok().and_then(|count| count.parse().ok()).unwrap_or(1);
    let lake = lake();
    let queries = queries(count);
    let outcome = ask(&lake, &queries).await;
    let Outcome { answered, refused, not_taken, faults } = outcome;
    let summary = format!("{} calls: {answered} answered, {not_taken} not taken, refused {refused:?}", queries.len());
    println!("{summary}");
    assert!(faults.is_empty(), "{summary}; {} wrong:\n{}", faults.len(), faults.join("\n"));
    assert!(answered > 100 && refused.get(Code::NumberOutOfRange.name()).is_some_and(|count| *count > 10), "{summary}");
}
