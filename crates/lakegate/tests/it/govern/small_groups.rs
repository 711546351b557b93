//! `min_group_size`: groups with fewer subjects are suppressed, whatever the form of the query.

use serde_json::json;

use crate::support::app::{TestApp, write_files};
use lakegate::project;

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.visit]
location = "visit.csv"
row_filter = "ward = principal('ward')"
unfiltered_for = ["support"]
"#;

/// In ward a, rome has 3 patients in 4 visits, oslo has 2 in 2, bonn has 1 in 3, and one visit has no patient.
const VISITS: &str = "city,patient,ward,cost\nrome,1,a,1\nrome,1,a,2\nrome,2,a,3\nrome,3,a,4\noslo,4,a,5\noslo,5,a,6\n\
    bonn,6,a,7\nbonn,6,a,8\nbonn,6,a,9\noslo,,a,10\noslo,7,b,11\nbonn,8,b,12\nbonn,9,b,13\n";

fn endpoint(sql: &str) -> String {
    format!("/*---\nsummary = \"s\"\nmin_group_size = 3\nsubject = \"v.patient\"\n---*/\n{sql}")
}

const QUERIES: &[(&str, &str, &str, &str)] = &[
    (
        "by_city",
        "SELECT city, count(*) AS visits FROM visit AS v GROUP BY city ORDER BY city",
        r#"[{"city":"rome","visits":4}]"#,
        r#"[{"city":"bonn","visits":5},{"city":"oslo","visits":4},{"city":"rome","visits":4}]"#,
    ),
    ("all", "SELECT count(*) AS visits FROM visit AS v", r#"[{"visits":10}]"#, r#"[{"visits":13}]"#),
    ("few", "SELECT count(*) AS visits FROM visit AS v WHERE city = 'bonn' AND ward = 'a'", "[]", "[]"),
    (
        "having",
        "SELECT city FROM visit AS v GROUP BY city HAVING sum(cost) > 11 ORDER BY city LIMIT 5",
        "[]",
        r#"[{"city":"bonn"},{"city":"oslo"}]"#,
    ),
    (
        "windowed",
        "SELECT city, count(*) AS n, sum(count(*)) OVER () AS total FROM visit AS v GROUP BY city ORDER BY city",
        r#"[{"city":"rome","n":4,"total":4}]"#,
        r#"[{"city":"bonn","n":5,"total":13},{"city":"oslo","n":4,"total":13},{"city":"rome","n":4,"total":13}]"#,
    ),
    (
        "joined",
        "SELECT v.city, count(DISTINCT v.patient) AS n FROM visit AS v JOIN visit AS w ON w.patient = v.patient GROUP BY v.city ORDER BY v.city",
        r#"[{"city":"rome","n":3}]"#,
        r#"[{"city":"bonn","n":3},{"city":"oslo","n":3},{"city":"rome","n":3}]"#,
    ),
    (
        "distinct",
        "SELECT DISTINCT n FROM (SELECT city, count(*) AS n FROM visit AS v GROUP BY city) AS g ORDER BY n",
        r#"[{"n":4}]"#,
        r#"[{"n":4},{"n":5}]"#,
    ),
];

#[tokio::test]
async fn groups_of_few_subjects_are_dropped() {
    let mut files =
        vec![("lakegate.toml".to_owned(), CONFIG.to_owned()), ("lake/visit.csv".to_owned(), VISITS.to_owned())];
    files.extend(QUERIES.iter().map(|(name, sql, ..)| (format!("endpoints/{name}.sql"), endpoint(sql))));
    let files = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>();
    let app = TestApp::project(&files).await;
    let ward = [("ward", lakegate_core::value::Value::Scalar(lakegate_core::value::Scalar::String("a".to_owned())))];
    let own = app.admit("own", "nurse", &ward).await;
    let support = app.admit("support", "support", &[]).await;
    for (name, _, of_ward, of_all) in QUERIES {
        let get = async |token: &str| app.post(token, &format!("/api/{name}"), &json!({})).await.text().to_owned();
        assert_eq!(get(&own).await, *of_ward, "{name}");
        assert_eq!(get(&support).await, *of_all, "{name}");
    }
}

#[tokio::test]
async fn a_query_that_could_get_around_it_is_a_fault_of_the_project() {
    for (sql, fault) in [
        ("SELECT city FROM visit AS v", "needs a query that groups its rows at the end"),
        ("SELECT DISTINCT city FROM visit AS v", "needs a query that groups its rows at the end"),
        ("SELECT count(*) AS n FROM visit AS v UNION ALL SELECT cost FROM visit", "needs a query that groups"),
        (
            "SELECT g.n, w.cost FROM (SELECT count(*) AS n FROM visit AS v) AS g CROSS JOIN visit AS w",
            "needs a query that groups",
        ),
        ("SELECT count(*) AS n, (SELECT max(cost) FROM visit) AS most FROM visit AS v", "a subquery beside the groups"),
        (
            "SELECT city, count(*) AS n FROM visit AS v GROUP BY city HAVING count(*) > (SELECT min(cost) FROM visit)",
            "a subquery beside the groups",
        ),
        ("SELECT city, count(*) AS n FROM visit GROUP BY city", "`v` is not a table of this query"),
        // The engine used to panic on this query.
        (
            "SELECT DISTINCT ON (city) city, count(*) AS n FROM visit AS v GROUP BY city ORDER BY city",
            "`min_group_size` needs a query that groups its rows at the end",
        ),
        ("SELECT city, count(*) AS n FROM visit AS v GROUP BY ROLLUP (city)", "`ROLLUP`, `CUBE` and `GROUPING SETS`"),
        (
            "SELECT city, count(*) AS n FROM visit AS v GROUP BY GROUPING SETS ((city), ())",
            "`ROLLUP`, `CUBE` and `GROUPING SETS`",
        ),
        ("SELECT sum(cost) FILTER (WHERE patient = $p) AS n FROM visit AS v", "a parameter inside an aggregate"),
        ("SELECT sum(CASE WHEN patient = $p THEN cost END) AS n FROM visit AS v", "a parameter inside an aggregate"),
        ("SELECT city FROM visit AS v GROUP BY city HAVING max(cost + $p) > 5", "a parameter inside an aggregate"),
        (
            "SELECT max((SELECT max(w.cost) FROM visit AS w WHERE w.city = v.city)) AS n FROM visit AS v",
            "a subquery beside the groups",
        ),
        ("SELECT city, array_agg(patient) AS n FROM visit AS v GROUP BY city", "a function that lists values"),
        ("SELECT city, first_value(patient) AS n FROM visit AS v GROUP BY city", "a function that lists values"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut file = endpoint(sql);
        if sql.contains("$p") {
            file =
                file.replace("subject = \"v.patient\"\n", "subject = \"v.patient\"\n[params.p]\ntype = \"integer\"\n");
        }
        let files = [("lakegate.toml", CONFIG), ("lake/visit.csv", VISITS), ("endpoints/e.sql", &file)];
        write_files(folder.path(), &files);
        let error = project::load(folder.path(), None).await.unwrap_err().to_string();
        assert!(error.contains(fault), "{sql}: {error}");
    }
    for (keys, fault) in [
        ("min_group_size = 3", "`min_group_size` stands without `subject`"),
        ("subject = \"v.patient\"", "`subject` stands without `min_group_size`"),
        ("min_group_size = 1\nsubject = \"v.patient\"", "must be a whole number from 2"),
        ("min_group_size = 3\nsubject = \"v.patient + 1\"", "`subject` is not a column"),
        ("min_group_size = 3\nsubject = \"v.nobody\"", "nobody"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sql = format!("/*---\nsummary = \"s\"\n{keys}\n---*/\nSELECT count(*) AS n FROM visit AS v");
        write_files(folder.path(), &[("lakegate.toml", CONFIG), ("lake/visit.csv", VISITS), ("endpoints/e.sql", &sql)]);
        let error = project::load(folder.path(), None).await.unwrap_err().to_string();
        assert!(error.contains(fault), "{keys}: {error}");
    }
}
