//! Throw-away review experiments. Not to be committed.
#![allow(clippy::unwrap_used, clippy::all, warnings)]

use lakegate_core::value::{Scalar, ScalarType, Value};
use lakegate_query::lake::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use serde_json::json;

use crate::app::{NOTHING_IN_MEMORY, TestApp, append, write_files};

fn s(t: &str) -> Value { Value::Scalar(Scalar::String(t.into())) }
fn l(t: &[&str]) -> Value { Value::List(ScalarType::String, t.iter().map(|t| Scalar::String((*t).into())).collect()) }
fn ep(params: &str, sql: &str) -> String { format!("/*---\nsummary = \"x\"\n{params}\n---*/\n{sql}") }

const NOTE_COLS: [Column; 4] = [
    Column::new("id", ColumnKind::Integer),
    Column::new("tenant", ColumnKind::Text),
    Column::new("active", ColumnKind::Boolean),
    Column::new("salary", ColumnKind::Integer),
];
const LINE_COLS: [Column; 4] = [
    Column::new("id", ColumnKind::Integer),
    Column::new("note_id", ColumnKind::Integer),
    Column::new("text", ColumnKind::Text),
    Column::new("salary", ColumnKind::Integer),
];

fn lake(folder: &std::path::Path, bad: bool) {
    let lake = folder.join("lake");
    std::fs::create_dir_all(&lake).unwrap();
    let n = 200i64;
    let o = WriteOptions::default();
    let tenant = |id: i64| ["A", "B"][(id % 2) as usize];
    let mut w = TableWriter::create(&lake.join("note.parquet"), &NOTE_COLS, &o).unwrap();
    w.write(vec![
        ColumnData::Integer((0..n).map(Some).collect()),
        ColumnData::Text((0..n).map(|i| Some(tenant(i).to_owned())).collect()),
        ColumnData::Boolean((0..n).map(|_| Some(true)).collect()),
        ColumnData::Integer((0..n).map(|_| Some(1)).collect()),
    ]).unwrap();
    w.finish().unwrap();
    let m = 4000i64;
    let mut w = TableWriter::create(&lake.join("line.parquet"), &LINE_COLS, &o).unwrap();
    w.write(vec![
        ColumnData::Integer((0..m).map(Some).collect()),
        ColumnData::Integer((0..m).map(|i| Some(i % n)).collect()),
        ColumnData::Text((0..m).map(|i| Some(if bad && tenant(i % n) == "B" { format!("SECRET-{i}") } else { i.to_string() })).collect()),
        ColumnData::Integer((0..m).map(|i| Some(if bad && tenant(i % n) == "B" { 0 } else { 1 })).collect()),
    ]).unwrap();
    w.finish().unwrap();
}

const SORTS: &[(&str, &str)] = &[
    ("sort_cast", "SELECT id FROM line WHERE id >= $x ORDER BY CAST(text AS BIGINT), id"),
    ("sort_div", "SELECT id FROM line WHERE id >= $x ORDER BY 10 / salary, id"),
    ("sort_limit", "SELECT id FROM line WHERE id >= $x ORDER BY CAST(text AS BIGINT), id LIMIT 5"),
    ("window", "SELECT id, row_number() OVER (ORDER BY CAST(text AS BIGINT)) AS r FROM line WHERE id >= $x ORDER BY id"),
    ("window_sum", "SELECT id, sum(salary) OVER (ORDER BY 10 / salary, id) AS r FROM line WHERE id >= $x ORDER BY id"),
    ("agg", "SELECT max(id) AS id, array_agg(id ORDER BY CAST(text AS BIGINT)) AS a FROM line WHERE id >= $x"),
];

#[tokio::test]
async fn zz_review_sort() {
    for (policy, label) in [
        ("note_id IN (SELECT id FROM note)", "plain link"),
        ("note_id IN (SELECT id FROM note WHERE active)", "link with condition"),
        ("EXISTS (SELECT 1 FROM note WHERE note.id = note_id)", "exists"),
    ] {
        for in_memory in [false, true] {
            for bad in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                lake(folder.path(), bad);
                write_files(folder.path(), &[("lakegate.toml", &format!("[lake]\nlocation = \"lake/\"\n[tables.note]\nlocation = \"note\"\nrow_filter = \"tenant = principal('tenant')\"\n[tables.line]\nlocation = \"line\"\nrow_filter = \"{policy}\"\n"))]);
                for (name, sql) in SORTS {
                    write_files(folder.path(), &[(&format!("endpoints/{name}.sql"), &ep("[params.x]\ntype = \"integer\"", sql))]);
                }
                if !in_memory { append(folder.path(), NOTHING_IN_MEMORY); }
                let app = TestApp::serve(folder).await;
                let token = app.admit("a", "client", &[("tenant", s("A"))]).await;
                for (name, _) in SORTS {
                    let a = app.post(&token, &format!("/api/{name}"), &json!({"x": 0})).await;
                    println!("SORT {label} mem={in_memory} foreign_bad={bad} {name}: {} {}", a.status, if a.status == 200 { format!("{} rows", a.rows().len()) } else { a.text().to_owned() });
                }
            }
        }
    }
}

const T: &[&str] = &["A", "B", "C", "D", "E"];

#[tokio::test]
async fn zz_review_lists() {
    for (policy, attrs) in [
        ("tenant IN (principal('tenants'))", vec![("tenants", l(&["A", "B", "C", "D"]))]),
        ("tenant IN (principal('tenants')) AND tenant NOT IN (principal('blocked'))", vec![("tenants", l(&["A", "B", "C", "D"])), ("blocked", l(&["A", "B", "x", "y"]))]),
        ("tenant NOT IN (principal('blocked'))", vec![("blocked", l(&[]))]),
        ("NOT (tenant IN (principal('blocked')))", vec![("blocked", l(&[]))]),
        ("public OR tenant IN (principal('tenants'))", vec![("tenants", l(&[]))]),
        ("tenant IN (principal('tenants')) IS NOT TRUE", vec![("tenants", l(&[]))]),
        ("tenant NOT IN (SELECT tenant FROM blocked)", vec![]),
        ("tenant IN (principal('x')) OR tenant IN (principal('y'))", vec![("x", l(&[])), ("y", l(&["A"]))]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut csv = "id,tenant,public,void\n".to_owned();
        for (i, t) in T.iter().enumerate() { csv += &format!("{i},{t},{},\n", i == 4); }
        csv += "9,,false,\n";
        write_files(folder.path(), &[
            ("lake/note.csv", &csv), ("lake/blocked.csv", "n,tenant\n1,A\n2,\n"), ("lake/sh.csv", &csv),
            ("lakegate.toml", &format!("[lake]\nlocation = \"lake/\"\n[tables.note]\nlocation = \"note\"\nrow_filter = \"{policy}\"\n[tables.blocked]\nlocation = \"blocked\"\nshared = true\n[tables.sh]\nlocation = \"sh\"\nshared = true\n")),
            ("endpoints/all.sql", &ep("", "SELECT id, tenant FROM note ORDER BY id")),
            ("endpoints/some.sql", &ep("[params.t]\ntype = \"string[]\"", "SELECT id, tenant FROM note WHERE tenant IN ($t) ORDER BY id")),
            ("endpoints/not.sql", &ep("[params.t]\ntype = \"string[]\"", "SELECT id, tenant FROM note WHERE tenant NOT IN ($t) ORDER BY id")),
            ("endpoints/two.sql", &ep("[params.t]\ntype = \"string[]\"\n[params.u]\ntype = \"string[]\"", "SELECT id, tenant FROM sh WHERE tenant IN ($t) AND tenant NOT IN ($u) ORDER BY id")),
            ("endpoints/both.sql", &ep("[params.t]\ntype = \"string[]\"\n[params.u]\ntype = \"string[]\"", "SELECT id, tenant FROM sh WHERE tenant IN ($t) AND tenant IN ($u) ORDER BY id")),
            ("endpoints/orno.sql", &ep("[params.t]\ntype = \"string[]\"\n[params.u]\ntype = \"string[]\"", "SELECT id, tenant FROM sh WHERE tenant NOT IN ($t) OR tenant NOT IN ($u) ORDER BY id")),
            ("endpoints/void.sql", &ep("", "SELECT id FROM sh WHERE void IS NULL")),
            ("endpoints/voidcount.sql", &ep("", "SELECT count(void) AS n, count(*) AS m FROM sh")),
        ]);
        for mem in [true, false] {
            if !mem { append(folder.path(), NOTHING_IN_MEMORY); }
            let store = tempfile::tempdir().unwrap();
            // a copy, so that each has its own store
            let copy = tempfile::tempdir().unwrap();
            let ok = std::process::Command::new("cp").arg("-r").arg(format!("{}/.", folder.path().display())).arg(copy.path()).status().unwrap();
            assert!(ok.success());
            if let Err(e) = lakegate::project::load(copy.path(), None).await { println!("LIST {policy} REFUSED AT LOAD: {e}"); break; }
            let app = TestApp::serve(copy).await;
            let attrs: Vec<(&str, Value)> = attrs.iter().map(|(n, v)| (*n, v.clone())).collect();
            let token = app.admit("a", "client", &attrs).await;
            println!("LIST mem={mem} policy={policy}");
            let x = app.get(&token, "/api/all").await; println!("   all: {} {}", x.status, x.text());
            for t in [json!(["A", "B", "C", "D"]), json!(["A"]), json!([])] {
                for e in ["some", "not"] {
                    let x = app.post(&token, &format!("/api/{e}"), &json!({"t": t})).await; println!("   {e} {t}: {} {}", x.status, x.text());
                }
            }
            for e in ["two", "both", "orno"] {
                let x = app.post(&token, &format!("/api/{e}"), &json!({"t": ["A","B","C","D"], "u": ["A","B","x","y"]})).await; println!("   {e}: {} {}", x.status, x.text());
            }
            for e in ["void", "voidcount"] { let x = app.get(&token, &format!("/api/{e}")).await; println!("   {e}: {} {}", x.status, x.text()); }
        }
    }
}

#[tokio::test]
async fn zz_review_bad_csv() {
    for (kind, bad) in [("date", "2022-02-30"), ("timestamp", "2022-02-30T00:00:00"), ("int", "99999999999999999999")] {
        let good = match kind { "date" => "2022-02-01", "timestamp" => "2022-02-01T00:00:00", _ => "5" };
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &[
            ("lake/note.csv", &format!("id,tenant,day\n1,A,{good}\n2,B,{bad}\n")),
            ("lakegate.toml", "[lake]\nlocation = \"lake/\"\n[tables.note]\nlocation = \"note\"\nrow_filter = \"tenant = principal('tenant')\"\n[server]\ncache_limit_mb = 0\n"),
            ("endpoints/all.sql", &ep("", "SELECT id, day FROM note ORDER BY id")),
        ]);
        match lakegate::project::load(folder.path(), None).await { Ok(_) => println!("CSV {kind}: loads"), Err(e) => { println!("CSV {kind}: {e}"); continue; } }
        let app = TestApp::serve(folder).await;
        let token = app.admit("a", "client", &[("tenant", s("A"))]).await;
        let x = app.get(&token, "/api/all").await; println!("CSV {kind}: {} {}", x.status, x.text());
    }
}
