//! Tests of prepared plans: for which plans they exist, their operators, that they return the same rows as the ordinary
//! plan, and the joins that do not make a row filter redundant.

use lakegate_core::access::Principal;
use tempfile::TempDir;

use crate::govern::testing;
use crate::plan::PlannedProject;

/// A project over files, and a copy of it with resident tables.
struct Two {
    _lake: TempDir,
    files: PlannedProject,
    hot: PlannedProject,
}

impl Two {
    async fn of(queries: &[&str]) -> Self {
        let lake = testing::parquet_lake(&testing::cases_folder().join("lake")).await;
        let names = (0..queries.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
        let endpoints = names.iter().map(String::as_str).zip(queries.iter().copied()).collect::<Vec<_>>();
        let files = testing::project(lake.path(), &testing::config(), &endpoints).await;
        let hot = testing::project(lake.path(), &testing::config(), &endpoints).await;
        hot.keep_hot(1 << 28).await.unwrap();
        Self { _lake: lake, files, hot }
    }

    /// Runs a query on both and asserts equal rows. Also returns the operators of the prepared plan.
    async fn ask(&self, who: &Principal, at: usize) -> (Vec<String>, Option<String>) {
        let governed = |project| testing::governed(project, who, &format!("q{at}"), "{}").unwrap();
        let rows = async |project| {
            let mut rows = testing::rows(governed(project)).await.unwrap();
            rows.sort();
            rows
        };
        let (from_files, from_hot) = (rows(&self.files).await, rows(&self.hot).await);
        assert_eq!(from_files, from_hot, "query {at}");
        assert_eq!(governed(&self.files).display_shortcut().await, None, "nothing is kept of these tables");
        (from_hot, governed(&self.hot).display_shortcut().await)
    }
}

const CALLERS: [&str; 5] =
    ["client_id=1", "client_id=2", "client_id:integer[]=1,2,3", "client_id:integer[]=", "client_id=1 role=operator"];

#[tokio::test]
async fn joins_by_a_key_ask_its_index_and_what_they_make_sure_of_is_not_asked_again() {
    // The query, the number of index joins, and the number of policies that must still be evaluated.
    let queries = [
        ("SELECT id, note FROM trackcode", 0, 1),
        ("SELECT t.id, o.id AS o FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id", 1, 1),
        ("SELECT t.id, o.id AS o FROM \"order\" o JOIN trackcode t ON o.trackcode_id = t.id", 1, 1),
        ("SELECT t.id, o.id AS o FROM trackcode t LEFT JOIN \"order\" o ON o.trackcode_id = t.id", 1, 1),
        ("SELECT t.id FROM trackcode t WHERE t.id IN (SELECT trackcode_id FROM \"order\")", 1, 1),
        (
            "SELECT o.id, e.kind FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id JOIN event e ON e.order_id = o.id",
            2,
            1,
        ),
        ("SELECT t.id, c.name FROM trackcode t LEFT JOIN city c ON c.id = t.city_id", 1, 1),
        ("SELECT c.name, count(*) AS n FROM city c JOIN trackcode t ON c.id = t.city_id GROUP BY c.name", 1, 1),
        ("SELECT t.id, c.name FROM trackcode t JOIN client c ON c.id = t.client_id", 1, 2),
        // Keys of a shared table lead to rows of a governed one, so the index join evaluates its policy.
        ("SELECT v.name, c.name AS client FROM city v LEFT JOIN client c ON c.id = v.id", 1, 1),
        // The query does not read the parent, so the policy's own scan of it is the probe side.
        ("SELECT id, route FROM \"order\"", 1, 1),
        ("SELECT id, kind FROM event", 2, 1),
    ];
    let two = Two::of(&queries.map(|(sql, _, _)| sql)).await;
    for (at, (sql, lookups, policies)) in queries.iter().enumerate() {
        for caller in CALLERS {
            let (_, shortcut) = two.ask(&testing::principal(caller), at).await;
            if caller != "client_id=1" {
                continue;
            }
            let shortcut = shortcut.unwrap_or_else(|| panic!("no shortcut: {sql}"));
            assert_eq!(shortcut.matches("LookupExec").count(), *lookups, "{sql}\n{shortcut}");
            assert_eq!(shortcut.matches("filter=").count(), *policies, "{sql}\n{shortcut}");
            assert!(!shortcut.contains("parquet"), "{sql}\n{shortcut}");
        }
    }
}

/// Each query looks like a join to the parent but is none. Caller 1 has trackcodes 101 to 104 and only their orders.
#[tokio::test]
async fn a_join_that_does_not_make_sure_of_the_parent_leaves_the_row_filter_in_place() {
    let queries = [
        // By another column of the child.
        "SELECT o.id FROM trackcode t JOIN \"order\" o ON o.id = t.id + 100",
        "SELECT o.id FROM trackcode t JOIN \"order\" o ON o.id = t.id",
        // By another column of the parent.
        "SELECT o.id FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.client_id",
        // By a shared table, and by values in the query itself.
        "SELECT o.id FROM city c JOIN \"order\" o ON o.trackcode_id = c.id",
        "SELECT o.id FROM city c JOIN \"order\" o ON o.trackcode_id = c.id + 100",
        "SELECT o.id FROM (VALUES (101), (105), (106)) AS v(id) JOIN \"order\" o ON o.trackcode_id = v.id",
        "SELECT o.id FROM (SELECT max(id) + 1 AS id FROM trackcode) m JOIN \"order\" o ON o.trackcode_id = m.id",
        // The query reads the parent, but does not join the child to it.
        "SELECT o.id FROM trackcode t CROSS JOIN \"order\" o",
        "SELECT o.id FROM trackcode t JOIN \"order\" o ON o.trackcode_id > t.id",
        "SELECT o.id FROM \"order\" o LEFT JOIN trackcode t ON o.trackcode_id = t.id",
        "SELECT o.id, t.id AS t FROM \"order\" o FULL JOIN trackcode t ON o.trackcode_id = t.id",
        "SELECT o.id FROM \"order\" o WHERE o.trackcode_id NOT IN (SELECT id FROM trackcode WHERE id = 101)",
        // A grandchild, through a child that belongs to another caller.
        "SELECT e.id FROM city c JOIN event e ON e.order_id = c.id + 200",
    ];
    let two = Two::of(&queries).await;
    for (at, sql) in queries.iter().enumerate() {
        for caller in CALLERS {
            let (rows, _) = two.ask(&testing::principal(caller), at).await;
            let foreign = rows.iter().any(|row| row.split('|').any(|cell| cell == "204" || cell == "304"));
            assert!(!foreign || caller != "client_id=1", "{sql}: {rows:?}");
        }
    }
}

#[tokio::test]
async fn what_can_fail_is_asked_of_nobody_elses_rows() {
    // Other callers' notes do not cast, and their prices divide by zero.
    let queries = [
        "SELECT CAST(note AS BIGINT) AS n FROM trackcode",
        "SELECT id FROM trackcode WHERE CAST(note AS BIGINT) > 0",
        "SELECT o.id FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id WHERE 1 / (o.id - 204) < 0",
        "SELECT t.id FROM city c JOIN trackcode t ON t.city_id = c.id WHERE CAST(t.note AS BIGINT) > 0",
    ];
    let two = Two::of(&queries).await;
    for (at, sql) in queries.iter().enumerate() {
        let (_, shortcut) = two.ask(&testing::principal("client_id=1"), at).await;
        assert!(shortcut.is_some(), "{sql}");
    }
}

#[tokio::test]
async fn a_column_that_is_asked_for_twice_is_decoded_once_and_given_twice() {
    let queries = [
        "SELECT DISTINCT id AS x, id AS y FROM trackcode WHERE note <> 'b'",
        "SELECT note AS a, note AS b, upper(note) AS c FROM trackcode ORDER BY note, id",
        "SELECT x, count(*) AS n FROM (SELECT city_id AS x, city_id AS y FROM trackcode) AS d GROUP BY x, y",
        "SELECT t.id AS a, t.id AS b, o.id AS c, o.id AS d FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id",
    ];
    let two = Two::of(&queries).await;
    for at in 0..queries.len() {
        two.ask(&testing::principal("client_id=1"), at).await;
    }
}

#[tokio::test]
async fn what_does_not_fit_runs_as_before() {
    let queries = [
        "SELECT id FROM trackcode WHERE price > (SELECT avg(price) FROM trackcode)",
        "SELECT id FROM trackcode t WHERE EXISTS (SELECT 1 FROM \"order\" o WHERE o.trackcode_id = t.id AND o.id > t.id + 100)",
        "SELECT id FROM trackcode UNION ALL SELECT id FROM city",
        "SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM trackcode",
        "SELECT count(*) AS n FROM trackcode a JOIN trackcode b ON a.id < b.id",
        "SELECT id FROM trackcode ORDER BY id LIMIT 2",
    ];
    let two = Two::of(&queries).await;
    for at in 0..queries.len() {
        for caller in CALLERS {
            two.ask(&testing::principal(caller), at).await;
        }
    }
}

/// Whether each query may run in parallel. Each runs several times, because tests run every second plan in parallel.
#[tokio::test]
async fn several_threads_run_only_what_does_not_show_it() {
    let queries = [
        ("SELECT count(*) AS n, sum(id) AS s, min(note) AS least FROM trackcode", true),
        ("SELECT city_id, count(*) AS n FROM trackcode GROUP BY city_id ORDER BY n DESC", true),
        ("SELECT CAST(creation AS DATE) AS day, count(DISTINCT id) AS n FROM trackcode GROUP BY 1 ORDER BY 1", true),
        ("SELECT id FROM trackcode ORDER BY city_id", true),
        (
            "SELECT c.name, count(DISTINCT t.id) AS n FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id \
             JOIN city c ON c.id = t.city_id GROUP BY c.name ORDER BY n",
            true,
        ),
        ("SELECT count(*) AS n FROM \"order\" WHERE id > 0", true),
        // The order of the files decides the result.
        ("SELECT id FROM trackcode", false),
        ("SELECT city_id, count(*) AS n FROM trackcode GROUP BY city_id", false),
        // The order of the rows decides the result or its last digit.
        ("SELECT sum(price) AS s FROM trackcode", false),
        ("SELECT avg(id) AS a FROM trackcode", false),
        ("SELECT price, count(*) AS n FROM trackcode GROUP BY price ORDER BY price", false),
        ("SELECT id, price FROM trackcode ORDER BY id", false),
        ("SELECT array_agg(id) AS all FROM trackcode", false),
        ("SELECT first_value(id) AS one FROM trackcode", false),
        ("SELECT id FROM trackcode ORDER BY city_id LIMIT 2", false),
        ("SELECT count(*) AS n FROM (SELECT id FROM trackcode LIMIT 2) AS few", false),
        ("SELECT id, row_number() OVER (ORDER BY city_id) AS n FROM trackcode ORDER BY id", false),
    ];
    let two = Two::of(&queries.map(|(sql, _)| sql)).await;
    for (at, (sql, is_wide)) in queries.iter().enumerate() {
        for caller in CALLERS {
            let (first, shortcut) = two.ask(&testing::principal(caller), at).await;
            for _ in 0..3 {
                assert_eq!(two.ask(&testing::principal(caller), at).await.0, first, "{sql}");
            }
            let said = shortcut.is_some_and(|shortcut| shortcut.starts_with("Many rows: by several threads\n"));
            // The plan of a caller without rows is empty.
            assert_eq!(said, *is_wide && caller != "client_id:integer[]=", "{sql}, {caller}");
        }
    }
}

#[tokio::test]
async fn rows_that_come_once_are_passed_on_as_they_come() {
    let queries = [
        ("SELECT DISTINCT city_id, note FROM trackcode", true),
        (
            "SELECT DISTINCT t.id, c.name, coalesce(t.price, 1.5) AS price FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id \
          LEFT JOIN city c ON c.id = t.city_id",
            true,
        ),
        ("SELECT city_id FROM trackcode GROUP BY city_id", true),
        ("SELECT count(*) AS n FROM (SELECT DISTINCT city_id FROM trackcode) AS cities", true),
        ("SELECT DISTINCT city_id FROM trackcode ORDER BY city_id", true),
        ("SELECT city_id, count(*) AS n FROM trackcode GROUP BY city_id", false),
        ("SELECT count(DISTINCT city_id) AS n, sum(id) AS s FROM trackcode", false),
    ];
    let two = Two::of(&queries.map(|(sql, _)| sql)).await;
    for (at, (sql, is_streaming)) in queries.iter().enumerate() {
        for caller in CALLERS {
            let (_, shortcut) = two.ask(&testing::principal(caller), at).await;
            // The plan of a caller without rows is empty.
            let has_rows = caller != "client_id:integer[]=";
            let said = shortcut.as_ref().is_some_and(|shortcut| shortcut.contains("DistinctExec"));
            assert_eq!(said, *is_streaming && has_rows, "{sql}, {caller}: {shortcut:?}");
        }
    }
}

/// An operator keeps its metrics for as long as it lives, so the operators of a prepared plan must not collect any.
#[tokio::test]
async fn no_run_leaves_its_counts_behind() {
    let queries = [
        "SELECT id, note FROM trackcode",
        "SELECT DISTINCT city_id, note FROM trackcode WHERE id + city_id > 0",
        "SELECT id, price FROM trackcode ORDER BY note DESC LIMIT 3",
        "SELECT CAST(creation AS DATE) AS day, count(DISTINCT id) AS n FROM trackcode GROUP BY 1 ORDER BY 1",
        "SELECT o.id, e.kind FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id JOIN event e ON e.order_id = o.id",
        "SELECT v.name, c.name AS client FROM city v LEFT JOIN client c ON c.name = v.name",
    ];
    let two = Two::of(&queries).await;
    for (at, sql) in queries.iter().enumerate() {
        for _ in 0..4 {
            two.ask(&testing::principal("client_id=1"), at).await;
        }
        let plan = testing::governed(&two.hot, &testing::principal("client_id=1"), &format!("q{at}"), "{}").unwrap();
        assert_eq!(plan.shortcut().await.map(crate::shortcut::Shortcut::counts), Some(0), "{sql}");
    }
    for table in two.hot.tables() {
        assert_eq!(table.hot().map(|hot| hot.counts()), Some(0), "{}", table.name());
    }
}

/// Misleading keys: other columns of a parent and of a child hold keys of another caller's rows.
#[tokio::test]
async fn only_the_policys_own_key_of_the_policys_own_parent_stands_for_a_row_filter() {
    let filtered =
        |table: &str, filter: &str| format!("[tables.{table}]\nlocation = \"{table}\"\nrow_filter = \"{filter}\"\n");
    let config = [
        "[lake]\nlocation = \".\"\n[tables.twin]\nlocation = \"parent\"\nshared = true\n".to_owned(),
        filtered("parent", "tenant = principal('t')"),
        filtered("child", "parent IN (SELECT id FROM parent)"),
        filtered("strict", "parent IN (SELECT id FROM parent WHERE other > 2)"),
        filtered("grandchild", "child IN (SELECT id FROM child)"),
    ];
    let folder = tempfile::tempdir().unwrap();
    testing::put(folder.path(), "parent", &[("id", &[1, 2, 3]), ("tenant", &[0, 1, 0]), ("other", &[2, 1, 3])]);
    testing::put(folder.path(), "child", &[("id", &[11, 12, 13]), ("parent", &[2, 1, 3]), ("other", &[1, 2, 2])]);
    testing::put(folder.path(), "strict", &[("id", &[21, 22, 23]), ("parent", &[2, 1, 3]), ("other", &[1, 2, 2])]);
    testing::put(folder.path(), "grandchild", &[("id", &[31, 32]), ("child", &[11, 12]), ("other", &[12, 11])]);
    let queries = [
        ("SELECT c.id FROM parent p JOIN child c ON c.parent = p.id", &["12", "13"][..]),
        ("SELECT c.id FROM parent p JOIN child c ON c.parent = p.other", &["13"]),
        ("SELECT c.id FROM parent p JOIN child c ON c.other = p.id", &[]),
        ("SELECT c.id FROM parent p JOIN child c ON c.other = p.other", &["12", "13"]),
        ("SELECT c.id FROM twin p JOIN child c ON c.parent = p.id", &["12", "13"]),
        ("SELECT s.id FROM parent p JOIN strict s ON s.parent = p.id", &["23"]),
        ("SELECT s.id FROM parent p JOIN strict s ON s.parent = p.id WHERE p.other > 2", &["23"]),
        ("SELECT s.id FROM child c JOIN strict s ON s.parent = c.parent", &["23"]),
        ("SELECT g.id FROM child c JOIN grandchild g ON g.child = c.id", &["32"]),
        ("SELECT g.id FROM child c JOIN grandchild g ON g.other = c.id", &[]),
        ("SELECT g.id FROM grandchild g", &["32"]),
        ("SELECT p.id, c.id AS c FROM parent p LEFT JOIN child c ON c.parent = p.other", &["1|NULL", "3|13"]),
    ];
    let names = (0..queries.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
    let endpoints = names.iter().zip(&queries).map(|(name, (sql, _))| (name.as_str(), *sql)).collect::<Vec<_>>();
    let project = testing::project(folder.path(), &config.concat(), &endpoints).await;
    let who = testing::principal("t:integer=0");
    for hot in [false, true] {
        if hot {
            project.keep_hot(1 << 28).await.unwrap();
        }
        for (name, (sql, wanted)) in names.iter().zip(&queries) {
            let plan = testing::governed(&project, &who, name, "{}").unwrap();
            assert_eq!(plan.display_shortcut().await.is_some(), hot, "{sql}");
            let mut rows = testing::rows(plan).await.unwrap();
            rows.sort();
            assert_eq!(rows, *wanted, "{sql}, hot: {hot}");
        }
    }
}
