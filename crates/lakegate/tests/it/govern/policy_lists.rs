//! Policies and queries with several `IN` and `NOT IN` lists over one column, some of them from attributes and
//! arguments. The optimiser merges such lists by their text, and this must not change their meaning.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::json;

use crate::support::app::{NOTHING_IN_MEMORY, TestApp, append, write_files};

/// Tenants by id, from 1; the last row has none.
const TENANTS: [Option<&str>; 9] =
    [Some("A"), Some("B"), Some("C"), Some("X"), Some("Y"), Some("A"), Some("X"), Some("Q"), None];

/// Evaluates a filter for a row's tenant, with the caller's `tenants` and `hidden`.
type Meaning = fn(&str, &[&str], &[&str]) -> bool;
const POLICIES: &[(&str, Meaning)] = &[
    ("tenant IN (principal('tenants')) AND tenant NOT IN ('X')", |t, own, _| own.contains(&t) && t != "X"),
    ("tenant NOT IN ('X', 'Y') AND tenant IN (principal('tenants'))", |t, own, _| {
        own.contains(&t) && !["X", "Y"].contains(&t)
    }),
    ("tenant IN (principal('tenants')) AND NOT (tenant IN ('X'))", |t, own, _| own.contains(&t) && t != "X"),
    ("tenant IN (principal('tenants')) AND tenant IN ('A', 'B')", |t, own, _| {
        own.contains(&t) && ["A", "B"].contains(&t)
    }),
    ("tenant IN (principal('tenants')) AND tenant NOT IN (principal('hidden'))", |t, own, hidden| {
        own.contains(&t) && !hidden.contains(&t)
    }),
    ("tenant IN (principal('tenants')) AND tenant IN (principal('hidden'))", |t, own, hidden| {
        own.contains(&t) && hidden.contains(&t)
    }),
    ("tenant IN (principal('tenants'), 'B') AND tenant <> 'X'", |t, own, _| (own.contains(&t) || t == "B") && t != "X"),
    (
        "(tenant NOT IN (principal('hidden')) OR tenant NOT IN ('A', 'B', 'C', 'D')) AND tenant IN (principal('tenants'))",
        |t, own, hidden| (!hidden.contains(&t) || !["A", "B", "C", "D"].contains(&t)) && own.contains(&t),
    ),
];

/// A query over the shared table, and its result for a tenant and the lists `s` and `u`.
const QUERIES: &[(&str, Meaning)] = &[
    ("tenant IN ($s) AND tenant NOT IN ('X') AND ($u IS NULL OR tenant IS NOT NULL)", |t, s, _| {
        s.contains(&t) && t != "X"
    }),
    ("tenant IN ($s) AND tenant NOT IN ($u)", |t, s, u| s.contains(&t) && !u.contains(&t)),
    ("tenant IN ($s) AND tenant IN ($u)", |t, s, u| s.contains(&t) && u.contains(&t)),
    ("tenant NOT IN ($s) OR tenant NOT IN ($u)", |t, s, u| !s.contains(&t) || !u.contains(&t)),
    ("tenant IN ($s, 'zzz') AND tenant NOT IN ('X', 'Y') AND tenant NOT IN ($u)", |t, s, u| {
        s.contains(&t) && !["X", "Y"].contains(&t) && !u.contains(&t)
    }),
    // The optimiser compares columns in a list by their text too.
    ("tenant IN (tenant, 'A') AND tenant NOT IN ('X') AND tenant IN ($s) AND tenant NOT IN ($u)", |t, s, u| {
        t != "X" && s.contains(&t) && !u.contains(&t)
    }),
];

const LISTS: &[&[&str]] = &[
    &["X"],
    &["A"],
    &["A", "X"],
    &["A", "B", "C"],
    &["A", "B", "C", "X"],
    &["Y", "X", "A", "B", "C"],
    &["1", "2", "3", "4", "5", "6", "A", "7", "X", "8", "9", "B"],
];

fn list(items: &[&str]) -> Value {
    Value::List(ScalarType::String, items.iter().map(|item| Scalar::String((*item).to_owned())).collect())
}

async fn served(in_memory: bool) -> TestApp {
    let folder = tempfile::tempdir().unwrap();
    let mut config = "[lake]\nlocation = \"lake/\"\n".to_owned();
    let rows = TENANTS.iter().zip(1..).map(|(tenant, id)| format!("{id},{},\n", tenant.unwrap_or_default()));
    let rows = format!("id,tenant,void\n{}", rows.collect::<String>());
    for (at, (filter, _)) in POLICIES.iter().enumerate() {
        config += &format!("[tables.n{at}]\nlocation = \"n.csv\"\nrow_filter = \"{filter}\"\n");
        let sql = format!("/*---\nsummary = \"all\"\n---*/\nSELECT id, tenant FROM n{at} ORDER BY id");
        write_files(folder.path(), &[(&format!("endpoints/p{at}.sql"), &sql)]);
    }
    config += "[tables.open]\nlocation = \"n.csv\"\nshared = true\n";
    for (at, (predicate, _)) in QUERIES.iter().enumerate() {
        let params = "[params.s]\ntype = \"string[]\"\n[params.u]\ntype = \"string[]\"";
        let sql =
            format!("/*---\nsummary = \"some\"\n{params}\n---*/\nSELECT id FROM open WHERE {predicate} ORDER BY id");
        write_files(folder.path(), &[(&format!("endpoints/q{at}.sql"), &sql)]);
    }
    let void =
        "/*---\nsummary = \"void\"\n---*/\nSELECT count(*) AS rows, count(void) AS voids FROM open WHERE void IS NULL";
    write_files(folder.path(), &[("lakegate.toml", &config), ("lake/n.csv", &rows), ("endpoints/void.sql", void)]);
    if !in_memory {
        append(folder.path(), NOTHING_IN_MEMORY);
    }
    TestApp::serve(folder).await
}

fn expected(means: impl Fn(&str) -> bool) -> Vec<i64> {
    let rows = TENANTS.iter().zip(1..).filter(|(tenant, _)| tenant.is_some_and(&means));
    rows.map(|(_, id)| id).collect()
}

fn ids(answer: &crate::support::app::Answer) -> Vec<i64> {
    answer.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn lists_in_policies_mean_what_they_say() {
    for in_memory in [true, false] {
        let app = served(in_memory).await;
        for (own_at, own) in LISTS.iter().enumerate() {
            for (hidden_at, hidden) in LISTS.iter().enumerate() {
                let name = format!("caller-{own_at}-{hidden_at}");
                let token = app.admit(&name, "client", &[("tenants", list(own)), ("hidden", list(hidden))]).await;
                for (at, (filter, means)) in POLICIES.iter().enumerate() {
                    let got = ids(&app.post(&token, &format!("/api/p{at}"), &json!({})).await);
                    assert_eq!(got, expected(|tenant| means(tenant, own, hidden)), "{filter} for {own:?}, {hidden:?}");
                }
            }
        }
        let one = |text: &str| Value::Scalar(Scalar::String(text.to_owned()));
        let token = app.admit("scalar", "client", &[("tenants", one("X")), ("hidden", one("X"))]).await;
        for (at, (filter, means)) in POLICIES.iter().enumerate() {
            let got = ids(&app.post(&token, &format!("/api/p{at}"), &json!({})).await);
            assert_eq!(got, expected(|tenant| means(tenant, &["X"], &["X"])), "{filter} for X");
        }
    }
}

#[tokio::test]
async fn lists_in_queries_mean_what_they_say() {
    let app = served(true).await;
    let token = app.admit("caller", "client", &[("tenants", list(&["A"])), ("hidden", list(&["A"]))]).await;
    for s in LISTS {
        for u in LISTS {
            for (at, (predicate, means)) in QUERIES.iter().enumerate() {
                let got = ids(&app.post(&token, &format!("/api/q{at}"), &json!({ "s": s, "u": u })).await);
                assert_eq!(got, expected(|tenant| means(tenant, s, u)), "{predicate} with {s:?}, {u:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_column_without_any_value_is_null_in_memory_too() {
    for in_memory in [true, false] {
        let app = served(in_memory).await;
        let token = app.admit("caller", "client", &[("tenants", list(&["A"])), ("hidden", list(&["A"]))]).await;
        let rows = app.post(&token, "/api/void", &json!({})).await.rows();
        assert_eq!(rows, [json!({ "rows": TENANTS.len(), "voids": 0 })], "in memory {in_memory}");
    }
}

/// An unreadable row would make each caller's query fail, so loading the project detects it.
#[tokio::test]
async fn a_text_file_with_a_row_that_can_not_be_read_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[lake]\nlocation = \"lake/\"\n[tables.n]\nlocation = \"n.csv\"\nrow_filter = \"tenant = principal('tenant')\"\ntypes = { day = \"date\" }\n";
    let sql = "/*---\nsummary = \"all\"\n---*/\nSELECT id FROM n";
    let rows = "id,tenant,day\n1,A,2022-02-01\n2,B,2022-02-30\n";
    write_files(folder.path(), &[("lakegate.toml", config), ("endpoints/all.sql", sql), ("lake/n.csv", rows)]);
    let findings = lakegate::project::load(folder.path(), None).await.unwrap_err().to_string();
    assert!(findings.starts_with("lakegate.toml:4:12: table `n`: the files at `n.csv` cannot be read"), "{findings}");
}
