//! Tests physical plans: in every case, each scan of a governed table is under its barrier and its policy, and only
//! predicates that cannot fail reach a scan.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use tempfile::TempDir;

use super::testing::{self, TABLES};
use super::{GovernedPlan, cases};

/// Nodes that may be between a barrier and its scan.
const BELOW: &[&str] = &[
    "FilterExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "ProjectionExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
];

fn line(node: &dyn ExecutionPlan) -> String {
    displayable(node).one_line().to_string().trim_end().to_owned()
}

/// The table that a leaf reads, by its file name.
fn table_of(leaf: &dyn ExecutionPlan) -> Option<&'static str> {
    let text = line(leaf);
    TABLES.into_iter().find(|table| text.contains(&format!("{table}.parquet]")))
}

/// Calls `found` for each leaf that reads a table, with the lines of the nodes above it, nearest first.
fn scans(node: &Arc<dyn ExecutionPlan>, above: &mut Vec<String>, found: &mut dyn FnMut(&'static str, &[String], &str)) {
    if node.children().is_empty() {
        match table_of(node.as_ref()) {
            Some(table) => {
                let nearest = above.iter().rev().cloned().collect::<Vec<_>>();
                found(table, &nearest, &line(node.as_ref()));
            }
            None => assert!(["EmptyExec", "PlaceholderRowExec"].contains(&node.name()), "{}", line(node.as_ref())),
        }
        return;
    }
    above.push(line(node.as_ref()));
    for child in node.children() {
        scans(child, above, found);
    }
    above.pop();
}

fn assert_guarded(title: &str, plan: &GovernedPlan, physical: &Arc<dyn ExecutionPlan>) -> usize {
    let unfiltered = plan.unfiltered();
    let mut guarded = 0;
    scans(physical, &mut Vec::new(), &mut |table, above, scan| {
        if table == "city" || unfiltered.iter().any(|name| name == table) {
            return;
        }
        let text = above.join("\n");
        let barrier = above.iter().position(|node| node.starts_with("BarrierExec"));
        let barrier = barrier.unwrap_or_else(|| panic!("{title}: no barrier above {scan}\n{text}"));
        assert_eq!(above[barrier], format!("BarrierExec: {table}"), "{title}: {scan}");
        let between = &above[..barrier];
        for node in between {
            let name = node.split(':').next().unwrap();
            assert!(BELOW.contains(&name), "{title}: {node} below the barrier of {table}");
        }
        let policy = match table {
            "client" => "id@",
            "trackcode" => "client_id@",
            "account" => "owner@",
            "order" => "trackcode_id@",
            _ => "order_id@",
        };
        let is_policy = |node: &String| {
            let joins = node.starts_with("HashJoinExec") && node.contains("Semi");
            node.contains(policy) && (joins || node.starts_with("FilterExec"))
        };
        assert!(between.iter().any(is_policy), "{title}: the policy of {table} is not below its barrier\n{text}");
        guarded += 1;
    });
    guarded
}

async fn parquet() -> TempDir {
    testing::parquet_lake(&testing::cases_folder().join("lake")).await
}

#[tokio::test]
async fn every_scan_of_every_case_stands_under_its_barrier_and_policy() {
    let files = cases::all();
    let lake = parquet().await;
    let project = cases::project_of(&files, lake.path(), &testing::config()).await;
    let mut guarded = 0;
    for case in files.iter().flat_map(|(_, cases)| cases) {
        let who = testing::principal(&case.caller);
        let Ok(plan) = testing::governed(&project, &who, &case.name(), &case.arguments) else { continue };
        guarded += assert_guarded(&case.title, &plan, &testing::physical(&plan).await);
    }
    assert!(guarded > 100, "only {guarded} scans were looked at");
}

/// The text of the leaf of `trackcode`, and of everything below its barrier.
async fn scan_of(sql: &str, arguments: &str) -> (String, String) {
    let lake = parquet().await;
    let project = testing::project(lake.path(), &testing::config(), &[("e", sql)]).await;
    let plan = testing::governed(&project, &testing::principal("client_id=1"), "e", arguments).unwrap();
    let physical = testing::physical(&plan).await;
    let mut texts = Vec::new();
    scans(&physical, &mut Vec::new(), &mut |table, above, scan| {
        if table == "trackcode" {
            let below = above.iter().take_while(|node| !node.starts_with("BarrierExec")).cloned().collect::<Vec<_>>();
            texts.push((scan.to_owned(), format!("{}\n{scan}", below.join("\n"))));
        }
    });
    assert_eq!(texts.len(), 1, "{sql}");
    texts.remove(0)
}

const PARAMS: &str = "/*---
summary = \"s\"
[params.n]
type = \"integer\"
[params.day]
type = \"timestamp\"
---*/
";

#[tokio::test]
async fn predicates_that_can_not_fail_prune_at_the_scan() {
    let sql = format!(
        "{PARAMS}SELECT id FROM trackcode WHERE creation >= $day AND city_id = $n AND price BETWEEN 1.0 AND 50.0 \
         AND id IN (101, $n) AND note IS NOT NULL"
    );
    let (scan, _) = scan_of(&sql, r#"{"n": 7, "day": "2022-10-02"}"#).await;
    let (_, predicate) = scan.split_once("predicate=").expect(&scan);
    for part in ["client_id@", "creation@", "city_id@", "price@", "id@", "note@"] {
        assert!(predicate.contains(part), "{part} in {predicate}");
    }
    assert!(scan.contains("pruning_predicate="), "{scan}");
}

#[tokio::test]
async fn predicates_that_can_fail_stay_above_the_barrier() {
    let conditions = [
        "CAST(note AS BIGINT) = $n",
        "TRY_CAST(note AS BIGINT) = $n",
        "CAST(note AS BIGINT) IN (1, $n)",
        "CAST(note AS BIGINT) BETWEEN 1 AND $n",
        "10 / id > $n",
        "id / $n > 1",
        "id % $n = 1",
        "id + $n > 1",
        "-id < $n",
        "upper(note) = 'X'",
        "length(note) > $n",
        "note LIKE 'SECRET%'",
        "note ~ 'SECRET.*'",
        "id = city_id",
        "note || 'x' = 'SECRETx'",
        "CASE WHEN id > 1 THEN CAST(note AS BIGINT) ELSE 1 END = $n",
        "(note = 'x' OR CAST(note AS BIGINT) = $n)",
        "NOT (CAST(note AS BIGINT) = $n)",
        "CAST(note AS BIGINT) IS NULL",
        "coalesce(CAST(note AS BIGINT), 1) = $n",
        "to_timestamp(note) > $day",
        "id IN (SELECT CAST(note AS BIGINT) FROM client, city WHERE city.id = $n)",
    ];
    for condition in conditions {
        let sql = format!("{PARAMS}SELECT id FROM trackcode WHERE {condition} AND creation > $day AND id <> $n");
        let sql = sql.replace("FROM client, city", "FROM (SELECT name AS note FROM client) c, city");
        let arguments = r#"{"n": 7, "day": "2022-10-02"}"#;
        let (_, below) = scan_of(&sql, arguments).await;
        let allowed = below.replace("creation@", "").replace("client_id@", "");
        for mark in [
            "CAST",
            "note@",
            "price@",
            "city_id@",
            "upper",
            "length",
            "LIKE",
            "CASE",
            "7 /",
            " / ",
            " % ",
            " + ",
            "||",
            "to_timestamp",
        ] {
            assert!(!predicates(&allowed).contains(mark), "{condition}: {mark} below the barrier\n{below}");
        }
    }
}

/// The predicates of filters and scans, without the lists of columns that are read.
fn predicates(text: &str) -> String {
    let asked = |line: &'_ str| {
        line.split_once("predicate=").or_else(|| line.split_once("pruned by=")).map(|(_, asked)| asked.to_owned())
    };
    let of_line = |line: &str| match (line.strip_prefix("FilterExec: "), asked(line)) {
        (Some(filter), _) => filter.split(", projection=").next().unwrap_or_default().to_owned(),
        (None, Some(predicate)) => predicate,
        (None, None) => String::new(),
    };
    text.lines().map(of_line).collect::<Vec<_>>().join("\n")
}

/// A sort of the query is not pushed below a barrier, even one that DataFusion adds for a window or a group. Its
/// expressions can fail, and below the join of a child with its parent there are foreign rows.
#[tokio::test]
async fn what_a_query_sorts_by_stays_above_the_barrier() {
    let queries = [
        "SELECT id FROM \"order\" ORDER BY CAST(route AS BIGINT)",
        "SELECT id FROM \"order\" ORDER BY CAST(route AS BIGINT) LIMIT 2",
        "SELECT id FROM \"order\" ORDER BY 1 / (id - 208), id",
        "SELECT id, rank() OVER (ORDER BY CAST(route AS BIGINT)) AS place FROM \"order\"",
        "SELECT id, rank() OVER (PARTITION BY CAST(route AS BIGINT) ORDER BY id) AS place FROM \"order\"",
        "SELECT CAST(route AS BIGINT) AS n, count(*) AS c FROM \"order\" GROUP BY CAST(route AS BIGINT) ORDER BY 1",
        "SELECT DISTINCT CAST(route AS BIGINT) AS n FROM \"order\" ORDER BY n",
        "SELECT t.id FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id ORDER BY CAST(o.route AS BIGINT)",
        "SELECT id, route FROM \"order\" ORDER BY route, id",
    ];
    let lake = parquet().await;
    for sql in queries {
        let project = testing::project(lake.path(), &testing::config(), &[("e", sql)]).await;
        let plan = testing::governed(&project, &testing::principal("client_id=1"), "e", "{}").unwrap();
        assert_guarded(sql, &plan, &testing::physical(&plan).await);
    }
}

#[tokio::test]
async fn no_number_of_a_governed_table_is_answered_from_file_statistics() {
    let lake = parquet().await;
    let count = "SELECT count(*) AS n FROM trackcode";
    let all = "SELECT count(*) AS n, min(id) AS least, max(id) AS most FROM trackcode";
    for (config, sql, from_files, expected) in [
        (testing::config(), count, false, "2"),
        (testing::config(), all, false, "2|105|106"),
        // Without a policy, the row count comes from the files, so it is the policy that prevents this.
        (testing::ungoverned_config(), count, true, "9"),
        // Values come from rows only, because the bounds of a file may be wrong.
        (testing::ungoverned_config(), all, false, "9|101|109"),
    ] {
        let project = testing::project(lake.path(), &config, &[("e", sql)]).await;
        let plan = testing::governed(&project, &testing::principal("client_id=2"), "e", "{}").unwrap();
        let physical = testing::physical(&plan).await;
        let text = displayable(physical.as_ref()).indent(false).to_string();
        assert_eq!(!text.contains("trackcode.parquet"), from_files, "{text}");
        assert_eq!(testing::rows(plan).await.unwrap(), [expected]);
    }
}
