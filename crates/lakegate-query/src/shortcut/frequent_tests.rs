//! Joins by frequent keys: they return the same rows as over files, and do not evaluate the filter for every pair.

use crate::govern::testing::{self, governed, principal};

const CONFIG: &str = "[lake]\nlocation = \".\"\n\
    [tables.one]\nlocation = \"one.parquet\"\nrow_filter = \"tenant = principal('t')\"\n\
    [tables.two]\nlocation = \"two.parquet\"\nrow_filter = \"tenant = principal('t')\"\n\
    [tables.all]\nlocation = \"all.parquet\"\nshared = true\n";

const QUERIES: [&str; 7] = [
    "SELECT a.id, b.id AS other FROM \"all\" AS a JOIN two AS b ON a.k = b.k WHERE a.id < 40 ORDER BY a.id, b.id",
    "SELECT a.id, b.id AS other FROM \"all\" AS a LEFT JOIN two AS b ON a.k = b.k WHERE a.id < 40 ORDER BY a.id, b.id",
    "SELECT a.id FROM \"all\" AS a WHERE a.k IN (SELECT k FROM two) AND a.id < 40 ORDER BY a.id",
    "SELECT count(*) AS n, sum(b.id) AS s FROM \"all\" AS a JOIN two AS b ON a.k = b.k",
    "SELECT count(*) AS n, sum(b.id) AS s FROM \"all\" AS a LEFT JOIN two AS b ON a.k = b.k",
    "SELECT count(*) AS n FROM \"all\" AS a WHERE a.k IN (SELECT k FROM two)",
    "SELECT count(*) AS n, max(b.id) AS s FROM one AS a JOIN two AS b ON a.k = b.k AND b.id > 5",
];

/// Evaluating every pair of these rows means some hundred million evaluations, so a test that does not end has failed.
#[tokio::test]
async fn a_key_that_most_rows_have_is_looked_at_once() {
    const ROWS: i64 = 30_000;
    let folder = tempfile::tempdir().unwrap();
    // One key has nearly all rows and the other keys a few. Each tenant has few rows.
    let k = (0..ROWS).map(|row| if row % 100 == 7 { row % 5 + 2 } else { 1 }).collect::<Vec<_>>();
    let ids = (0..ROWS).collect::<Vec<_>>();
    let tenants = ids.iter().map(|id| id % 6_000).collect::<Vec<_>>();
    // Rows sorted by the key and unsorted rows give different index layouts.
    for sorted in [false, true] {
        let mut rows = k.iter().copied().zip(ids.iter().copied()).zip(tenants.iter().copied()).collect::<Vec<_>>();
        if sorted {
            rows.sort_unstable();
        }
        let column = |of: fn(&((i64, i64), i64)) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        let (k, ids, tenants) = (column(|row| row.0.0), column(|row| row.0.1), column(|row| row.1));
        for table in ["one", "two", "all"] {
            testing::put(folder.path(), table, &[("id", &ids), ("tenant", &tenants), ("k", &k)]);
        }
        let queries = QUERIES.iter().enumerate().map(|(at, sql)| (format!("q{at}"), *sql)).collect::<Vec<_>>();
        let queries = queries.iter().map(|(name, sql)| (name.as_str(), *sql)).collect::<Vec<_>>();
        let files = testing::project(folder.path(), CONFIG, &queries).await;
        let warm = testing::project(folder.path(), CONFIG, &queries).await;
        warm.keep_hot(1 << 28).await.unwrap();
        // A tenant with rows of the frequent key only, two with rows of other keys, and one without rows.
        for who in ["t:integer=11", "t:integer=7", "t:integer=107", "t:integer=-1"] {
            for (name, sql) in &queries {
                let plan = |project| governed(project, &principal(who), name, "{}").unwrap();
                let wanted = testing::rows(plan(&files)).await.unwrap();
                assert_eq!(testing::rows(plan(&warm)).await.unwrap(), wanted, "{who}: {sql}");
            }
        }
        let joined = governed(&warm, &principal("t:integer=11"), "q3", "{}").unwrap();
        let shortcut = joined.display_shortcut().await.unwrap();
        assert!(shortcut.contains("LookupExec"), "{shortcut}");
        // 300 rows have keys other than 1. This tenant has five rows and none of those.
        assert_eq!(
            testing::rows(joined).await.unwrap(),
            [format!("{}|{}", (ROWS - 300) * 5, (ROWS - 300) * (5 * 11 + 6_000 * 10))]
        );
    }
}
