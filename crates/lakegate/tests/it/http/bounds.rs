//! Size limits on request heads, and what the health and status routes report.

use axum::body::Body;
use axum::http::Request;
use lakegate::reload::reload;
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;

const CONFIG: &str = "[lake]\nlocation = \"lake\"\n[http]\nmax_url_bytes = 300\nmax_header_bytes = 2000\n\
                      [tables.secret_plan]\nlocation = \"plan.csv\"\nshared = true\n";
const ECHO: &str =
    "/*---\nsummary = \"x\"\n[params.text]\ntype = \"string\"\n---*/\nSELECT $text AS text FROM secret_plan";

async fn served() -> (TestApp, String) {
    let files = [("lakegate.toml", CONFIG), ("endpoints/echo.sql", ECHO), ("lake/plan.csv", "a\n1\n")];
    let app = TestApp::project(&files).await;
    let token = app.admit("acme", "client", &[]).await;
    (app, token)
}

#[tokio::test]
async fn a_url_that_is_too_long_is_refused_and_the_body_is_not_bound_by_it() {
    let (app, token) = served().await;
    let text = "x".repeat(260);
    let fits = app.get(&token, &format!("/api/echo?text={text}")).await;
    assert_eq!(fits.rows(), [json!({ "text": text })]);
    let text = "x".repeat(300);
    let refused = app.get(&token, &format!("/api/echo?text={text}")).await;
    assert_eq!(refused.problem(), (414, "request_url_too_long".to_owned()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("at most 300"), "{}", refused.text());
    assert!(!refused.text().contains("xxx"));
    assert_eq!(app.post(&token, "/api/echo", &json!({ "text": text })).await.rows(), [json!({ "text": text })]);
    // Also without a token, and on an unknown path.
    assert_eq!(app.get("", &format!("/{text}")).await.problem().0, 414);
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let (app, token) = served().await;
    let with = |bytes: usize| {
        let request = Request::get("/api/echo?text=a").header("token", &token).header("x-more", "y".repeat(bytes));
        app.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(with(1_500).await.status, 200);
    let refused = with(2_000).await;
    assert_eq!(refused.problem(), (431, "request_headers_too_large".to_owned()));
    assert!(!refused.text().contains("yyy"));
    // The admin API has equal limits.
    let request = Request::get("/admin/status").header("x-more", "y".repeat(2_000)).body(Body::empty()).unwrap();
    assert_eq!(app.send_admin(request).await.problem().0, 431);
}

/// Readiness needs no token, so it names no table, path or principal.
#[tokio::test]
async fn readiness_tells_every_reason_and_no_names() {
    let (app, _) = served().await;
    assert_eq!(app.get("", "/health/ready").await.json(), json!({ "status": "ready" }));
    std::fs::rename(app.folder.path().join("lake"), app.folder.path().join("gone")).unwrap();
    app.app.status.drain();
    let refused = app.get("", "/health/ready").await;
    assert_eq!(refused.problem(), (503, "health_not_ready".to_owned()));
    let codes = |answer: Json| answer.as_array().unwrap().iter().map(|error| error["code"].clone()).collect::<Vec<_>>();
    assert_eq!(codes(refused.json()["errors"].clone()), ["health_draining", "lake_unavailable"]);
    assert_eq!(refused.headers["retry-after"], "1");
    for name in ["plan", "echo", "acme", "lake/", app.folder.path().to_str().unwrap()] {
        assert!(!refused.text().contains(name), "{name} in {}", refused.text());
    }
    // The server is still alive, and still answers requests that arrive.
    assert_eq!(app.get("", "/health/live").await.status, 200);

    let token = app.admin_token("alice").await;
    let status = app.admin(&token, "GET", "/admin/status", Json::Null).await.json();
    assert_eq!((&status["ready"], &status["draining"]), (&json!(false), &json!(true)));
    assert_eq!(codes(status["not_ready"].clone()), ["health_draining", "lake_unavailable"]);
}

#[tokio::test]
async fn the_status_is_for_admins_and_tells_what_is_served() {
    let (app, client) = served().await;
    assert_eq!(app.admin(&client, "GET", "/admin/status", Json::Null).await.problem().0, 403);
    assert_eq!(app.admin("", "GET", "/admin/status", Json::Null).await.problem().0, 401);
    let token = app.admin_token("alice").await;
    let status = app.admin(&token, "GET", "/admin/status", Json::Null).await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["ready"], &status["not_ready"]), (&json!(true), &json!([])));
    assert!(status["uptime_seconds"].is_u64() && status["started_at"].as_str().unwrap().ends_with('Z'), "{status}");
    assert_eq!((&status["reload"]["projects"], &status["reload"]["project_fault"]), (&json!(0), &json!(null)));
    let project = &status["project"];
    assert_eq!(project["endpoints"], 1);
    assert_eq!(project["tables"][0]["name"], "secret_plan");
    // The row count of a CSV file is unknown.
    assert_eq!((&project["tables"][0]["files"], &project["tables"][0]["rows"]), (&json!(1), &json!(null)));
}

/// A reload that fails is a warning without names, because the previous project is still served; admins see more.
#[tokio::test]
async fn a_fault_after_the_start_is_a_warning() {
    let (app, client) = served().await;
    let token = app.admin_token("alice").await;
    std::fs::write(app.folder.path().join("endpoints/broken.sql"), "SELECT nothing FROM nowhere").unwrap();
    assert!(reload(&app.app).await.is_err());
    assert_eq!(
        app.get("", "/health/ready").await.json(),
        json!({ "status": "ready", "warnings": ["project_not_reloaded"] })
    );
    let status = app.admin(&token, "GET", "/admin/status", Json::Null).await.json();
    let fault = &status["reload"]["project_fault"];
    assert!(fault["detail"].as_str().unwrap().contains("broken.sql"), "{status}");
    assert_eq!(app.get(&client, "/api/echo?text=a").await.status, 200);
}
