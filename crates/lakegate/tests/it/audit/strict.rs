//! `audit = "strict"`: no response without a durable record. Also the behaviour of `on` when the disk fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;
use crate::support::eventually::eventually_async;

/// Two endpoints: one with a response far longer than the held-back part, and one with a short response.
async fn served(mode: &str) -> (TestApp, String) {
    let config = format!(
        "[lake]\nlocation = \"lake/\"\n[server]\naudit = \"{mode}\"\n[tables.many]\nlocation = \"many.csv\"\nshared = true\n"
    );
    let numbers = (0..600).map(|n| format!("{n}\n")).collect::<String>();
    let sql = |limit: &str| {
        format!(
            "/*---\nsummary = \"s\"\n---*/\nSELECT a.n * 1000 + b.n AS n FROM many AS a CROSS JOIN many AS b {limit}"
        )
    };
    let files = [
        ("lakegate.toml", config.as_str()),
        ("lake/many.csv", &*format!("n\n{numbers}")),
        ("endpoints/many.sql", &*sql("")),
        ("endpoints/few.sql", &*sql("LIMIT 3")),
    ];
    let app = TestApp::project(&files).await;
    let token = app.admit("acme", "client", &[]).await;
    (app, token)
}

async fn records(app: &TestApp) -> Vec<Json> {
    app.audit.flush().await;
    let text = std::fs::read_to_string(app.folder.path().join("audit/audit.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Outcomes on disk now, without a flush.
fn outcomes(app: &TestApp) -> Vec<String> {
    let text = std::fs::read_to_string(app.folder.path().join("audit/audit.ndjson")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    records.map(|record| record["outcome"].as_str().unwrap_or("started").to_owned()).collect()
}

#[tokio::test]
async fn the_record_is_there_before_the_answer() {
    let (app, token) = served("strict").await;
    assert_eq!(app.get(&token, "/api/few").await.rows().len(), 3);
    assert_eq!(outcomes(&app), ["answered"]);
    assert_eq!(app.get("unknown-token", "/api/few").await.status, 401);
    assert_eq!(outcomes(&app), ["answered", "refused"]);
    let whole = app.get(&token, "/api/many").await;
    assert_eq!(whole.rows().len(), 360_000);
    assert_eq!(outcomes(&app), ["answered", "refused", "started", "answered"]);
    let records = records(&app).await;
    let [_, _, started, ended] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((&started["event"], &ended["event"]), (&json!("started"), &json!("ended")));
    for field in ["request_id", "principal", "token", "endpoint", "decision", "grants", "time"] {
        assert!(started[field] == ended[field] && !ended[field].is_null(), "{field}");
    }
    assert_eq!((&ended["rows"], &ended["bytes"]), (&json!(360_000), &json!(whole.body.len())));
}

#[tokio::test]
async fn a_long_answer_has_one_record_where_nobody_waits() {
    let (app, token) = served("on").await;
    let whole = app.get(&token, "/api/many").await;
    let records = records(&app).await;
    let [ended] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((&ended["event"], &ended["outcome"]), (&json!("ended"), &json!("answered")));
    assert_eq!((&ended["rows"], &ended["bytes"]), (&json!(360_000), &json!(whole.body.len())));
}

/// Breaks the log in a way that also affects root.
fn break_log(folder: &Path, how: &str) {
    let audit = folder.join("audit");
    std::fs::rename(&audit, folder.join("away")).unwrap();
    match how {
        "a file in place of the folder" => std::fs::write(&audit, "").unwrap(),
        "a folder in place of the file" => std::fs::create_dir_all(audit.join("audit.ndjson")).unwrap(),
        other => panic!("{other}"),
    }
}

fn mend_log(folder: &Path) {
    let audit = folder.join("audit");
    if audit.is_dir() {
        std::fs::remove_dir_all(&audit).unwrap()
    } else {
        std::fs::remove_file(&audit).unwrap()
    }
    std::fs::rename(folder.join("away"), audit).unwrap();
}

#[tokio::test]
async fn without_a_log_nothing_is_answered() {
    for how in ["a file in place of the folder", "a folder in place of the file"] {
        let (app, token) = served("strict").await;
        assert_eq!(app.get(&token, "/api/few").await.status, 200);
        break_log(app.folder.path(), how);
        for (token, path) in
            [(token.as_str(), "/api/few"), (&token, "/api/many"), (&token, "/api"), ("unknown", "/api/few")]
        {
            let answer = app.get(token, path).await;
            assert_eq!(answer.problem(), (503, "audit_unavailable".to_owned()), "{how}: {path}");
            assert!(answer.headers.contains_key("retry-after") && !answer.text().contains("\"n\""));
        }
        assert_eq!(app.get("", "/health/live").await.status, 200);
        mend_log(app.folder.path());
        assert_eq!(app.get(&token, "/api/few").await.status, 200, "{how}");
        let records = records(&app).await;
        let [_, gap, last] = &records[..] else { panic!("{records:#?}") };
        assert_eq!((&gap["kind"], gap["lost"].as_u64() >= Some(4)), (&json!("gap"), true), "{gap}");
        assert_eq!(last["outcome"], "answered");
    }
}

/// When the final record cannot be written, the body must not end normally.
#[tokio::test]
async fn an_answer_whose_end_can_not_be_recorded_is_cut() {
    let (app, token) = served("strict").await;
    let request = Request::get("/api/many").header("token", &token).body(Body::empty()).unwrap();
    let response = app.respond(request).await;
    assert_eq!((response.status().as_u16(), outcomes(&app)), (200, vec!["started".to_owned()]));
    break_log(app.folder.path(), "a file in place of the folder");
    let pieces = response.into_body().into_data_stream().collect::<Vec<_>>().await;
    let (last, before) = pieces.split_last().unwrap();
    assert!(last.is_err() && before.iter().all(Result::is_ok));
}

#[tokio::test]
async fn where_nobody_waits_the_service_goes_on() {
    let (app, token) = served("on").await;
    assert_eq!(app.get(&token, "/api/few").await.status, 200);
    app.audit.flush().await;
    break_log(app.folder.path(), "a file in place of the folder");
    for _ in 0..3 {
        assert_eq!(app.get(&token, "/api/few").await.status, 200);
    }
    app.audit.flush().await;
    mend_log(app.folder.path());
    assert_eq!(app.get(&token, "/api/few").await.status, 200);
    let records = records(&app).await;
    let [_, gap, _] = &records[..] else { panic!("{records:#?}") };
    assert_eq!((&gap["kind"], &gap["lost"]), (&json!("gap"), &json!(3)));
}

/// The client drops the body before its end.
#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_is_recorded() {
    for mode in ["on", "strict"] {
        let (app, token) = served(mode).await;
        let request = Request::get("/api/many").header("token", &token).body(Body::empty()).unwrap();
        let mut body = app.respond(request).await.into_body().into_data_stream();
        let piece = body.next().await.unwrap().unwrap();
        drop(body);
        // The response task is cancelled, and ends a moment later.
        let mut seen = Vec::new();
        eventually_async("the end is recorded", async || {
            seen = records(&app).await;
            seen.last().is_some_and(|last| last["event"] != "started")
        })
        .await;
        assert_eq!(seen.len(), if mode == "strict" { 2 } else { 1 });
        let last = seen.last().unwrap();
        assert_eq!((&last["outcome"], &last["status"]), (&json!("cancelled"), &json!(200)));
        assert_eq!(last["bytes"], piece.len());
        assert!(last["rows"].as_u64().unwrap() > 0, "{last}");
    }
}
