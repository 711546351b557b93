//! Tests subqueries under `OR`, `NOT`, `CASE` and `IS`, over values with NULLs, against the rows that SQL defines, in
//! queries and in row filters.

use tempfile::TempDir;

use crate::govern::testing;

const TABLES: [(&str, &str); 4] = [
    ("doc", "id,tenant,owner,k\n0,A,x,1\n1,A,y,2\n2,A,,\n3,A,z,3\n4,B,x,4\n5,B,q,5\n6,B,,\n7,,w,6\n"),
    // One table with a NULL, and one without.
    ("bl", "name,n\nx,1\n,\n"),
    ("gr", "name,n\nx,1\nq,5\n"),
    ("copies", "name,n\nx,1\nx,2\nx,3\n,4\n"),
];

fn lake() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (table, rows) in TABLES {
        std::fs::write(folder.path().join(format!("{table}.csv")), rows).unwrap();
    }
    folder
}

fn config() -> String {
    let table = |(table, _): (&str, &str)| format!("[tables.{table}]\nlocation = \"{table}.csv\"\nshared = true\n");
    format!("[lake]\nlocation = \".\"\n{}", TABLES.map(table).concat())
}

/// Conditions on `doc`, and the ids of the rows for which they are true.
const CONDITIONS: [(&str, &[i64]); 26] = [
    ("tenant = 'A' OR owner NOT IN (SELECT name FROM bl)", &[0, 1, 2, 3]),
    ("tenant = 'A' OR owner NOT IN (SELECT name FROM gr)", &[0, 1, 2, 3, 7]),
    ("tenant = 'A' OR NOT (owner IN (SELECT name FROM gr))", &[0, 1, 2, 3, 7]),
    ("NOT (k IN (SELECT n FROM bl) AND tenant = 'A')", &[4, 5, 6]),
    ("(k IN (SELECT n FROM bl)) IS FALSE", &[]),
    ("(k IN (SELECT n FROM gr)) IS FALSE", &[1, 3, 4, 7]),
    ("(k IN (SELECT n FROM gr)) IS NOT TRUE", &[1, 2, 3, 4, 6, 7]),
    ("(owner IN (SELECT name FROM bl)) IS NULL", &[1, 2, 3, 5, 6, 7]),
    ("CASE WHEN owner IN (SELECT name FROM gr) THEN false ELSE tenant = 'A' END", &[1, 2, 3]),
    ("CASE WHEN tenant = 'A' THEN k NOT IN (SELECT n FROM gr) ELSE k IN (SELECT n FROM gr) END", &[1, 3, 5]),
    ("k NOT IN (SELECT n FROM gr WHERE name = 'none')", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("(k IN (SELECT n FROM gr WHERE name = 'none')) IS NULL", &[]),
    ("k NOT IN (SELECT n FROM gr) OR id < 1", &[0, 1, 3, 4, 7]),
    ("k > ALL (SELECT n FROM gr WHERE name = 'x')", &[1, 3, 4, 5, 7]),
    ("k < ANY (SELECT n FROM bl) OR id = 7", &[7]),
    ("NOT (k < ANY (SELECT n FROM gr))", &[5, 7]),
    ("k = ANY (SELECT n FROM gr)", &[0, 5]),
    ("k NOT IN (SELECT g.n FROM gr AS g WHERE g.name = doc.owner)", &[1, 2, 3, 4, 6, 7]),
    ("k NOT IN (SELECT b.n FROM bl AS b WHERE b.n < doc.k)", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ("id = 7 OR EXISTS (SELECT 1 FROM gr WHERE gr.n = doc.k)", &[0, 5, 7]),
    ("0 NOT IN (SELECT DISTINCT n FROM bl)", &[]),
    // A NULL does not equal itself.
    ("EXISTS (SELECT 1 FROM gr WHERE doc.k = doc.k)", &[0, 1, 3, 4, 5, 7]),
    ("k NOT IN (SELECT n FROM gr WHERE doc.owner = doc.owner AND gr.n > 1)", &[0, 1, 2, 3, 4, 6, 7]),
    ("NOT EXISTS (SELECT 1 FROM gr WHERE doc.k = doc.k)", &[2, 6]),
    ("id = 99 OR NOT EXISTS (SELECT 1 FROM gr WHERE doc.k = doc.k)", &[2, 6]),
    ("EXISTS (SELECT g.name FROM gr AS g WHERE g.name = doc.owner GROUP BY g.name HAVING count(*) = 1)", &[0, 4, 5]),
];

fn lines(ids: &[i64]) -> Vec<String> {
    ids.iter().map(i64::to_string).collect()
}

/// Checks the rows of each query, read from files and from resident tables.
async fn assert_rows(config: &str, queries: &[(String, Vec<String>)], caller: &str) {
    let lake = lake();
    let names = (0..queries.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
    let endpoints = names.iter().zip(queries).map(|(name, (sql, _))| (name.as_str(), sql.as_str()));
    let project = testing::project(lake.path(), config, &endpoints.collect::<Vec<_>>()).await;
    for hot in [false, true] {
        if hot {
            project.keep_hot(1 << 28).await.unwrap();
        }
        for (name, (sql, wanted)) in names.iter().zip(queries) {
            let plan = testing::governed(&project, &testing::principal(caller), name, "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), *wanted, "{sql}, in memory: {hot}");
        }
    }
}

#[tokio::test]
async fn a_query_gives_the_rows_for_which_its_subqueries_are_true() {
    let queries =
        CONDITIONS.map(|(condition, ids)| (format!("SELECT id FROM doc WHERE {condition} ORDER BY id"), lines(ids)));
    assert_rows(&config(), &queries, "").await;
}

/// A subquery that did not stand alone in a conjunct was true in place of NULL, and showed hidden rows.
#[tokio::test]
async fn a_row_filter_shows_the_rows_for_which_its_subqueries_are_true() {
    let mut config = config();
    let mut queries = Vec::new();
    for (at, (condition, ids)) in CONDITIONS.iter().enumerate() {
        // A row filter has no aggregates and does not compare literals with each other.
        if condition.contains("HAVING") || condition.starts_with("0 NOT IN") {
            continue;
        }
        let filter = condition.replace("'A'", "principal('t')").replace("doc.", &format!("f{at}."));
        config += &format!("[tables.f{at}]\nlocation = \"doc.csv\"\nrow_filter = \"{filter}\"\n");
        queries.push((format!("SELECT id FROM f{at} ORDER BY id"), lines(ids)));
    }
    assert_rows(&config, &queries, "t:string=A").await;
}

#[tokio::test]
async fn a_subquery_may_stand_in_a_select_list_an_aggregate_and_the_condition_of_an_inner_join() {
    let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    let queries = [
        (
            "SELECT id, k IN (SELECT n FROM bl) AS v FROM doc WHERE id < 3 ORDER BY id",
            rows(&["0|true", "1|NULL", "2|NULL"]),
        ),
        (
            "SELECT id, k NOT IN (SELECT n FROM gr) AS v FROM doc WHERE id < 3 ORDER BY id",
            rows(&["0|false", "1|true", "2|NULL"]),
        ),
        (
            "SELECT id, EXISTS (SELECT 1 FROM gr AS g WHERE g.name = doc.owner) AS v FROM doc WHERE id IN (2, 4, 7) ORDER BY id",
            rows(&["2|false", "4|true", "7|false"]),
        ),
        (
            "SELECT id, (SELECT max(g.n) FROM gr AS g WHERE g.name = doc.owner) AS v FROM doc WHERE id > 4 ORDER BY id",
            rows(&["5|5", "6|NULL", "7|NULL"]),
        ),
        (
            "SELECT id, (SELECT count(*) FROM gr AS g WHERE g.name = doc.owner) AS v FROM doc WHERE id > 4 ORDER BY id",
            rows(&["5|1", "6|0", "7|0"]),
        ),
        ("SELECT n NOT IN (SELECT count(*) FROM doc) AS v FROM gr ORDER BY n", rows(&["true", "true"])),
        ("SELECT count(*) FILTER (WHERE k IN (SELECT n FROM gr)) AS c FROM doc", rows(&["2"])),
        (
            "SELECT tenant, count(*) FILTER (WHERE coalesce(k < (SELECT count(*) FROM copies AS c WHERE c.name = doc.owner), false)) AS c \
             FROM doc GROUP BY tenant ORDER BY tenant",
            rows(&["A|1", "B|0", "NULL|0"]),
        ),
        (
            "SELECT d.id, g.n FROM doc AS d JOIN gr AS g ON g.name = d.owner AND d.k NOT IN (SELECT b.n FROM bl AS b WHERE b.n IS NOT NULL) ORDER BY d.id",
            rows(&["4|1", "5|5"]),
        ),
        (
            "SELECT tenant FROM doc GROUP BY tenant HAVING NOT (count(*) IN (SELECT n FROM gr)) ORDER BY tenant",
            rows(&["A", "B"]),
        ),
    ];
    assert_rows(&config(), &queries.map(|(sql, rows)| (sql.to_owned(), rows)), "").await;
}

/// DataFusion would evaluate each of these wrongly, or fail.
#[tokio::test]
async fn a_correlated_subquery_that_the_engine_answers_wrongly_is_refused_with_a_rewriting() {
    let queries = [
        (
            "SELECT id FROM doc WHERE EXISTS (SELECT count(*) FROM gr WHERE gr.n = doc.k)",
            "has a row where there are none",
            "CTE",
        ),
        (
            "SELECT id FROM doc WHERE k IN (SELECT g.n FROM gr AS g WHERE g.name = doc.owner LIMIT 1)",
            "has a `LIMIT`",
            "CTE",
        ),
        (
            "SELECT id FROM doc WHERE k IN (SELECT row_number() OVER (ORDER BY g.n) FROM gr AS g WHERE g.name = doc.owner)",
            "has a window function",
            "CTE",
        ),
        (
            "SELECT id FROM doc WHERE owner IN (SELECT g.name FROM gr AS g WHERE g.n = doc.k UNION SELECT name FROM bl)",
            "has a set operation",
            "AND or OR",
        ),
        ("SELECT id, (SELECT max(g.n) FROM gr AS g WHERE g.n < doc.k) AS v FROM doc", "by `=` alone", "CTE"),
        (
            "SELECT id FROM doc WHERE EXISTS (SELECT 1 FROM gr AS g WHERE g.n IN (SELECT b.n FROM bl AS b WHERE b.name = doc.owner))",
            "not the one right around it",
            "join the tables",
        ),
        (
            "SELECT d.id FROM doc AS d LEFT JOIN gr AS g ON g.n = d.k AND EXISTS (SELECT 1 FROM bl AS b WHERE b.n = d.k)",
            "cannot stand there",
            "derived table",
        ),
        (
            "SELECT id FROM doc WHERE EXISTS (SELECT 1 FROM (SELECT g.n FROM gr AS g WHERE g.name = doc.owner) AS d)",
            "derived table",
            "WHERE",
        ),
        (
            "SELECT id FROM doc WHERE k NOT IN (SELECT doc.k FROM doc, gr WHERE gr.n = doc.id) OR (k IN (SELECT n FROM gr)) IN (SELECT true)",
            "compared with the rows of another one",
            "CTE",
        ),
    ];
    let lake = lake();
    for (sql, message, help) in queries {
        let findings = testing::try_project(lake.path(), &config(), &[("q", sql)]).await.unwrap_err();
        assert!(findings[0].contains(message) && findings[0].contains(help), "{sql}: {findings:?}");
    }
}

/// A condition without columns was pushed below the aggregate, which then counted nothing and returned a row.
#[tokio::test]
async fn a_condition_without_columns_stays_above_an_aggregate_that_always_has_a_row() {
    let lake = lake();
    let with_flag = |sql: &str| format!("/*---\nsummary = \"s\"\n[params.flag]\ntype = \"boolean\"\n---*/\n{sql}");
    let queries = [
        with_flag("SELECT count(*) AS n FROM doc HAVING $flag"),
        with_flag("SELECT n FROM (SELECT count(*) AS n FROM doc) AS d WHERE $flag"),
        with_flag("SELECT tenant, count(*) AS n FROM doc GROUP BY ROLLUP (tenant) HAVING $flag AND tenant IS NULL"),
        "SELECT m FROM (SELECT n IS NULL AS m FROM (SELECT count(*) AS n FROM doc) AS a) AS b WHERE m".to_owned(),
        "SELECT count(*) AS n FROM doc HAVING (SELECT max(k) FROM doc) > 100".to_owned(),
    ];
    let names = ["a", "b", "c", "d", "e"];
    let endpoints = names.into_iter().zip(queries.iter().map(String::as_str)).collect::<Vec<_>>();
    let project = testing::project(lake.path(), &config(), &endpoints).await;
    for hot in [false, true] {
        if hot {
            project.keep_hot(1 << 28).await.unwrap();
        }
        for (name, sql) in &endpoints {
            let arguments = if sql.contains("$flag") { r#"{"flag": false}"# } else { "{}" };
            let plan = testing::governed(&project, &testing::principal(""), name, arguments).unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), Vec::<String>::new(), "{sql}, in memory: {hot}");
        }
        let plan = testing::governed(&project, &testing::principal(""), "a", r#"{"flag": true}"#).unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), ["8"]);
    }
}

#[tokio::test]
async fn set_operations_with_all_count_copies() {
    let count = |sql: &str| format!("SELECT owner, count(*) AS n FROM ({sql}) AS d GROUP BY owner ORDER BY owner");
    let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    let queries = [
        (count("SELECT owner FROM doc INTERSECT ALL SELECT name FROM copies"), rows(&["x|2", "NULL|1"])),
        (
            count("SELECT owner FROM doc EXCEPT ALL SELECT name FROM copies"),
            rows(&["q|1", "w|1", "y|1", "z|1", "NULL|1"]),
        ),
        (count("SELECT owner FROM doc INTERSECT SELECT name FROM copies"), rows(&["x|1", "NULL|1"])),
        (count("SELECT owner FROM doc EXCEPT SELECT name FROM copies"), rows(&["q|1", "w|1", "y|1", "z|1"])),
        (count("SELECT DISTINCT owner FROM doc INTERSECT ALL SELECT name FROM copies"), rows(&["x|1", "NULL|1"])),
    ];
    assert_rows(&config(), &queries, "").await;
}

/// DataFusion evaluates the conditions of a filter in any order, so the division reached the row that the other
/// condition excludes.
#[tokio::test]
async fn a_condition_guards_those_that_can_fail() {
    let queries = [
        ("SELECT id FROM doc WHERE k > 1 AND 10 / (k - 1) > 4 ORDER BY id", lines(&[1, 3])),
        (
            "SELECT id FROM (SELECT id, k FROM doc WHERE k > 1) AS d WHERE 10 % (k - 1) >= 0 ORDER BY id",
            lines(&[1, 3, 4, 5, 7]),
        ),
        ("SELECT id FROM doc WHERE 10 / (k - 1) > 4 AND k > 1 AND tenant = 'A' ORDER BY id", lines(&[1, 3])),
    ];
    assert_rows(&config(), &queries.map(|(sql, rows)| (sql.to_owned(), rows)), "").await;
}

#[tokio::test]
async fn distinct_over_a_window_with_a_limit_is_answered() {
    let sql = "SELECT DISTINCT owner, count(*) OVER (PARTITION BY owner) AS n FROM doc WHERE owner = 'x' LIMIT 30";
    assert_rows(&config(), &[(sql.to_owned(), vec!["x|2".to_owned()])], "").await;
}

/// DataFusion's joins look at validity bitmaps, and a column without any value has none.
#[tokio::test]
async fn what_is_null_in_every_row_is_in_no_list_and_out_of_none() {
    let lake = lake();
    std::fs::write(lake.path().join("nil.csv"), "id,v\n0,\n1,\n").unwrap();
    let config = format!("{}[tables.nil]\nlocation = \"nil.csv\"\nshared = true\n", config());
    for (condition, wanted) in [
        ("v NOT IN (SELECT v FROM nil)", &[][..]),
        ("NOT (v IN (SELECT v FROM nil)) AND id >= 0", &[]),
        ("v IN (SELECT v FROM nil)", &[]),
        ("v NOT IN (SELECT v FROM nil WHERE id > 5)", &["0", "1"]),
        ("id NOT IN (SELECT v FROM nil)", &[]),
    ] {
        let sql = format!("SELECT id FROM nil WHERE {condition} ORDER BY id");
        for answer in testing::both_ways(lake.path(), &config, &sql).await {
            assert_eq!(answer.unwrap(), wanted, "{sql}");
        }
        let filtered = config.replace(
            "location = \"nil.csv\"\nshared = true",
            &format!("location = \"nil.csv\"\nrow_filter = \"{condition}\""),
        );
        let project = testing::try_project(lake.path(), &filtered, &[("e", "SELECT id FROM nil ORDER BY id")]).await;
        // A condition that compares nothing with a column is not a row filter.
        let Ok(project) = project else { continue };
        let plan = testing::governed(&project, &testing::principal(""), "e", "{}").unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), wanted, "{condition}");
    }
}
