//! The error oracle: predicates that fail only on other tenants' rows. The caller must get its own rows and 200,
//! whatever the other rows contain. Covers a caller that owns half of the table, NULL owners, and both file formats.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::value::{Scalar, Value};
use lakegate_query::lake::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use serde_json::json;

use crate::support::app::{NOTHING_IN_MEMORY, TestApp, append, write_files};

const CONFIG: &str = r#"
[lake]
location = "lake/"
[tables.note]
location = "note"
row_filter = "tenant = principal('tenant')"
[tables.line]
location = "line"
row_filter = "note_id IN (SELECT id FROM note)"
[tables.one]
location = "one.csv"
shared = true
"#;

/// Each query fails if it is evaluated on another tenant's row. `$x` is an integer argument.
const ATTACKS: &[(&str, &str)] = &[
    ("cast", "SELECT id FROM note WHERE CAST(text AS BIGINT) >= $x ORDER BY id"),
    ("cast_in_select", "SELECT id, CAST(text AS BIGINT) AS number FROM note WHERE id >= $x ORDER BY id"),
    ("cast_before_comparison", "SELECT id FROM note WHERE $x <= CAST(text AS BIGINT) AND id > 0 ORDER BY id"),
    ("division", "SELECT id FROM note WHERE 100 / salary >= $x ORDER BY id"),
    ("modulo", "SELECT id FROM note WHERE 100 % salary >= $x - 1 ORDER BY id"),
    ("case", "SELECT id FROM note WHERE CASE WHEN id > 0 THEN CAST(text AS BIGINT) ELSE 0 END >= $x ORDER BY id"),
    ("subquery", "SELECT id FROM note WHERE id IN (SELECT id FROM note WHERE CAST(text AS BIGINT) >= $x) ORDER BY id"),
    (
        "exists",
        "SELECT n.id FROM note n WHERE EXISTS (SELECT 1 FROM note m WHERE m.id = n.id AND CAST(m.text AS BIGINT) >= $x) ORDER BY n.id",
    ),
    (
        "self_join",
        "SELECT n.id FROM note n JOIN note m ON CAST(n.text AS BIGINT) = CAST(m.text AS BIGINT) AND n.id = m.id WHERE n.id >= $x ORDER BY n.id",
    ),
    ("outer_join", "SELECT n.id FROM note n LEFT JOIN note m ON m.id = n.id AND 1 / m.salary >= $x - 1 ORDER BY n.id"),
    (
        "cte",
        "WITH c AS (SELECT id, CAST(text AS BIGINT) AS number FROM note) SELECT id FROM c WHERE number >= $x ORDER BY id",
    ),
    (
        "union",
        "SELECT id FROM note WHERE CAST(text AS BIGINT) >= $x UNION SELECT id FROM note WHERE 1 / salary >= $x ORDER BY id",
    ),
    ("group", "SELECT max(id) AS id FROM note GROUP BY CAST(text AS BIGINT) HAVING max(id) >= $x ORDER BY id"),
    ("sort", "SELECT id FROM note WHERE id >= $x ORDER BY CAST(text AS BIGINT), id"),
    ("aggregate", "SELECT max(id) AS id FROM note WHERE id >= $x HAVING sum(CAST(text AS BIGINT)) > 0"),
    (
        "window",
        "SELECT id FROM (SELECT id, rank() OVER (ORDER BY CAST(text AS BIGINT)) AS place FROM note) p WHERE place >= $x ORDER BY id",
    ),
    ("child", "SELECT l.id FROM line l JOIN one o ON true WHERE CAST(l.text AS BIGINT) >= $x ORDER BY l.id"),
    (
        "child_join",
        "SELECT l.id FROM line l JOIN note n ON n.id = l.note_id WHERE CAST(l.text AS BIGINT) >= $x AND 1 / n.salary >= 0 ORDER BY l.id",
    ),
    ("limit", "SELECT id FROM note WHERE CAST(text AS BIGINT) >= $x LIMIT 1000"),
];

/// The caller owns half of the rows; others own the rest, and some rows have no owner. Owners alternate or are
/// clustered, which decides which rows share a batch.
struct Notes {
    ids: Vec<i64>,
    tenants: Vec<Option<&'static str>>,
}

fn notes(clustered: bool) -> Notes {
    let owners = [Some("A"), Some("B"), Some("A"), None];
    let mut tenants = (0..1000).map(|at| owners[at % 4]).collect::<Vec<_>>();
    if clustered {
        tenants.sort();
    }
    Notes { ids: (1..=1000).collect(), tenants }
}

fn text(tenant: Option<&str>, id: i64) -> String {
    if tenant == Some("A") { id.to_string() } else { format!("SECRET-OF-{}-{id}", tenant.unwrap_or("NOBODY")) }
}

fn salary(tenant: Option<&str>) -> i64 {
    if tenant == Some("A") { 1 } else { 0 }
}

fn endpoint(sql: &str) -> String {
    format!("/*---\nsummary = \"an attack\"\n[params.x]\ntype = \"integer\"\n---*/\n{sql}")
}

fn project(folder: &std::path::Path) {
    write_files(folder, &[("lakegate.toml", CONFIG), ("lake/one.csv", "n\n1\n")]);
    for (name, sql) in ATTACKS {
        write_files(folder, &[(&format!("endpoints/{name}.sql"), &endpoint(sql))]);
    }
}

fn write_csv(folder: &std::path::Path, notes: &Notes) {
    let mut note = "id,tenant,text,salary\n".to_owned();
    let mut line = "id,note_id,text\n".to_owned();
    for (id, tenant) in notes.ids.iter().zip(&notes.tenants) {
        note += &format!("{id},{},{},{}\n", tenant.unwrap_or(""), text(*tenant, *id), salary(*tenant));
        line += &format!("{id},{id},{}\n", text(*tenant, *id));
    }
    write_files(folder, &[("lake/note.csv", &note), ("lake/line.csv", &line)]);
}

fn write_parquet(folder: &std::path::Path, notes: &Notes) {
    let lake = folder.join("lake");
    std::fs::create_dir_all(&lake).unwrap();
    let options = WriteOptions { row_group_rows: 100, ..WriteOptions::default() };
    let rows = || notes.ids.iter().zip(&notes.tenants);
    let ids = || ColumnData::Integer(rows().map(|(id, _)| Some(*id)).collect());
    let texts = || ColumnData::Text(rows().map(|(id, tenant)| Some(text(*tenant, *id))).collect());
    let columns = [
        Column::new("id", ColumnKind::Integer),
        Column::new("tenant", ColumnKind::Text),
        Column::new("text", ColumnKind::Text),
        Column::new("salary", ColumnKind::Integer),
    ];
    let mut note = TableWriter::create(&lake.join("note.parquet"), &columns, &options).unwrap();
    let tenants = ColumnData::Text(rows().map(|(_, tenant)| tenant.map(str::to_owned)).collect());
    let salaries = ColumnData::Integer(rows().map(|(_, tenant)| Some(salary(*tenant))).collect());
    note.write(vec![ids(), tenants, texts(), salaries]).unwrap();
    note.finish().unwrap();
    let columns = [
        Column::new("id", ColumnKind::Integer),
        Column::new("note_id", ColumnKind::Integer),
        Column::new("text", ColumnKind::Text),
    ];
    let mut line = TableWriter::create(&lake.join("line.parquet"), &columns, &options).unwrap();
    line.write(vec![ids(), ids(), texts()]).unwrap();
    line.finish().unwrap();
}

#[tokio::test]
async fn a_predicate_that_fails_on_a_foreign_row_gives_the_callers_rows() {
    for layout in 0..8 {
        let [clustered, parquet, in_memory] = [1, 2, 4].map(|bit| layout & bit != 0);
        let notes = notes(clustered);
        let folder = tempfile::tempdir().unwrap();
        project(folder.path());
        if parquet {
            write_parquet(folder.path(), &notes)
        } else {
            write_csv(folder.path(), &notes)
        }
        if !in_memory {
            append(folder.path(), NOTHING_IN_MEMORY);
        }
        let app = TestApp::serve(folder).await;
        let token = app.admit("a", "client", &[("tenant", Value::Scalar(Scalar::String("A".into())))]).await;
        let own = notes.ids.iter().zip(&notes.tenants).filter(|(_, tenant)| **tenant == Some("A")).map(|(id, _)| *id);
        let own = own.collect::<Vec<_>>();
        for (name, _) in ATTACKS {
            let answer = app.post(&token, &format!("/api/{name}"), &json!({ "x": 1 })).await;
            let what = format!("{name}, clustered {clustered}, parquet {parquet}, in memory {in_memory}");
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert!(!answer.text().contains("SECRET"), "{what}");
            let got = answer.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
            match *name {
                "aggregate" => assert_eq!(got, [*own.last().unwrap()], "{what}"),
                // The quotient of each own row is 1, so all of them match.
                _ => assert_eq!(got, own, "{what}"),
            }
        }
    }
}

/// An argument that makes the query fail is a client error, and the error does not depend on other tenants' rows.
#[tokio::test]
async fn a_failing_query_tells_nothing_of_what_it_read() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    write_csv(folder.path(), &notes(false));
    let app = TestApp::serve(folder).await;
    let nobody = app.admit("nobody", "client", &[("tenant", Value::Scalar(Scalar::String("nobody".into())))]).await;
    // The caller owns no rows, so no value is cast.
    let answer = app.post(&nobody, "/api/cast", &json!({ "x": 1 })).await;
    assert_eq!((answer.status, answer.text()), (200, "[]"));
    let owner = app.admit("b", "client", &[("tenant", Value::Scalar(Scalar::String("B".into())))]).await;
    let answer = app.post(&owner, "/api/cast", &json!({ "x": 1 })).await;
    assert_eq!(answer.problem(), (422, "engine_value_refused".to_owned()));
    for leak in ["SECRET", "cast", "Cast", "note.csv", "SELECT", folder_name(&app).as_str()] {
        assert!(!answer.text().contains(leak), "{leak} in {}", answer.text());
    }
}

/// A condition without columns is pushed below any barrier. A failure would reveal whether others have rows.
#[tokio::test]
async fn a_condition_without_columns_that_can_fail_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    write_csv(folder.path(), &notes(false));
    write_files(folder.path(), &[("endpoints/bare.sql", &endpoint("SELECT id FROM note WHERE 10 / ($x + 1) > 0"))]);
    let findings = lakegate::project::load(folder.path(), None).await.unwrap_err().to_string();
    assert!(findings.starts_with("endpoints/bare.sql:6:1: the query cannot be governed: "), "{findings}");
    assert!(findings.contains("[[rules]]"), "{findings}");
}

fn folder_name(app: &TestApp) -> String {
    app.folder.path().file_name().unwrap().to_string_lossy().into_owned()
}
