//! Tests that long and deeply nested SQL is answered or refused with a reason, and never ends the process.

use crate::engine::WORKER_STACK_BYTES;
use crate::govern::testing::{self, governed, principal};

const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.csv\"\nshared = true\n";

/// The lines of the response, or the errors of the query.
async fn ask(sql: &str) -> Result<Vec<String>, String> {
    let lake = tempfile::tempdir().unwrap();
    std::fs::write(lake.path().join("t.csv"), "n,s\n1,a\n2,b\n").unwrap();
    let project = testing::try_project(lake.path(), CONFIG, &[("e", sql)]).await;
    let project = project.map_err(|findings| findings.join("\n"))?;
    let cold = testing::rows(governed(&project, &principal(""), "e", "{}").unwrap()).await.unwrap();
    project.keep_hot(1 << 26).await.unwrap();
    let warm = testing::rows(governed(&project, &principal(""), "e", "{}").unwrap()).await.unwrap();
    assert_eq!(cold, warm);
    Ok(cold)
}

fn chain(times: usize, part: &str, by: &str) -> String {
    vec![part; times].join(by)
}

fn nested(times: usize, before: &str, inner: &str, after: &str) -> String {
    format!("{}{inner}{}", before.repeat(times), after.repeat(times))
}

/// Texts that nest as deeply as they are long.
fn deep(times: usize) -> Vec<String> {
    let mut ctes = vec!["c0 AS (SELECT n FROM t)".to_owned()];
    ctes.extend((1..times).map(|at| format!("c{at} AS (SELECT n FROM c{})", at - 1)));
    let mut doubled = vec!["c0 AS (SELECT n FROM t)".to_owned()];
    doubled.extend(
        (1..times.min(64))
            .map(|at| format!("c{at} AS (SELECT a.n FROM c{0} AS a JOIN c{0} AS b ON a.n = b.n)", at - 1)),
    );
    vec![
        format!("SELECT n FROM t WHERE {}", chain(times, "n = 1", " OR ")),
        format!("SELECT n FROM t WHERE {}", chain(times, "n <> 7", " AND ")),
        format!(
            "SELECT n FROM t WHERE {}",
            (0..times).map(|at| format!("n <> {at} + 10")).collect::<Vec<_>>().join(" AND ")
        ),
        format!("SELECT {} AS s FROM t", chain(times, "s", " || ")),
        format!("SELECT {} AS s FROM t", chain(times, "n", " + ")),
        format!("SELECT {} AS s FROM t", chain(times, "n", " - ")),
        format!("SELECT n{} AS s FROM t", "::bigint".repeat(times)),
        format!("SELECT n FROM t WHERE n{}", " IS NULL".repeat(times)),
        format!("SELECT n FROM t WHERE {} n = 1", "NOT ".repeat(times)),
        format!("SELECT {} AS s FROM t", nested(times, "(", "n", ")")),
        format!("SELECT {} AS s FROM t", nested(times, "abs(", "n", ")")),
        format!("SELECT {} AS s FROM t", nested(times, "CASE WHEN n > 0 THEN ", "n", " END")),
        format!("SELECT n FROM {}", nested(times, "(SELECT n FROM ", "t", ") AS q")),
        format!("SELECT n FROM t WHERE {}", nested(times, "n IN (SELECT n FROM t WHERE ", "true", ")")),
        format!("SELECT {} AS s FROM t", nested(times, "- ", "n", "")),
        chain(times, "SELECT n FROM t", " UNION ALL "),
        chain(times, "SELECT n FROM t", " INTERSECT "),
        format!(
            "SELECT a0.n FROM t AS a0 {}",
            (1..times).map(|at| format!("JOIN t AS a{at} ON a{at}.n = a0.n")).collect::<Vec<_>>().join(" ")
        ),
        format!("SELECT a0.n FROM {}", (0..times).map(|at| format!("t AS a{at}")).collect::<Vec<_>>().join(", ")),
        format!("WITH {} SELECT n FROM c{}", ctes.join(", "), times - 1),
        format!("WITH {} SELECT n FROM c{}", doubled.join(", "), times.min(64) - 1),
    ]
}

#[tokio::test]
async fn sql_that_nests_too_deeply_is_refused_with_a_reason() {
    for times in [1_000, 30_000] {
        for sql in deep(times) {
            let head = &sql[..60];
            let refused = ask(&sql).await.unwrap_err();
            assert!(refused.contains("nests too deeply") || refused.contains("reads more than"), "{head}: {refused}");
        }
    }
}

/// Every accepted text runs on half of a worker's stack, in a build that needs several times as much as a release
/// build.
#[test]
fn the_deepest_sql_that_is_taken_runs() {
    let stack = WORKER_STACK_BYTES / 2;
    let ran = std::thread::Builder::new().stack_size(stack).spawn(move || {
        let workers =
            tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).thread_stack_size(stack).build();
        workers.unwrap().block_on(runs_what_is_taken());
    });
    ran.unwrap().join().unwrap();
}

async fn runs_what_is_taken() {
    let mut taken = 0;
    for times in [30, 60, 90, 190] {
        for sql in deep(times) {
            // A cross join of more than 12 tables takes too long.
            if times > 12 && sql.contains("t AS a2,") {
                continue;
            }
            taken += usize::from(ask(&sql).await.is_ok());
        }
    }
    assert!(taken > 30, "{taken}");
}

#[tokio::test]
async fn what_is_long_and_flat_is_taken() {
    let case = (0..400).map(|at| format!("WHEN n = {at} + 1 THEN {at} * 2")).collect::<Vec<_>>().join(" ");
    let list = (0..2_000).map(|at| format!("-{at}")).collect::<Vec<_>>().join(", ");
    let columns = (0..300).map(|at| format!("n + {at} AS c{at}")).collect::<Vec<_>>().join(", ");
    for sql in [
        format!("SELECT CASE {case} END AS v FROM t"),
        format!("SELECT n FROM t WHERE n IN ({list}) OR n NOT IN ({list})"),
        format!("SELECT {columns} FROM t"),
        format!("SELECT n FROM t WHERE {}", chain(150, "n > 0", " AND ")),
        chain(60, "SELECT n FROM t", " UNION ALL "),
    ] {
        let head = &sql[..40];
        ask(&sql).await.unwrap_or_else(|refused| panic!("{head}: {refused}"));
    }
}
