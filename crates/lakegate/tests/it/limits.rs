//! Limits over HTTP: rows, size, scanned data, rates, concurrency; where they are set, and how they are reported.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lakegate_core::access::{Effect, Grantee};
use serde_json::{Value as Json, json};

use crate::support::app::{Answer, TestApp};
use crate::support::eventually::eventually_async;

/// An endless query that needs no memory: the engine collects the left side of each join, and streams the right side.
const ENDLESS: &str = "SELECT max(a.n + bcd.n) AS m FROM number AS a CROSS JOIN \
     (SELECT b.n + cd.n AS n FROM number AS b CROSS JOIN (SELECT c.n + d.n AS n FROM number AS c CROSS JOIN number AS d) AS cd) AS bcd";

/// A shared table of a thousand numbers, a table with ten rows each of clients 1 and 2, and endpoints over them.
async fn app(limits: &str, of_endpoint: &str) -> TestApp {
    let numbers = (0..1_000).map(|n| format!("{n}\n")).collect::<String>();
    let sales = (0..20).map(|n| format!("{n},{}\n", n % 2 + 1)).collect::<String>();
    let endpoint = |sql: &str| format!("/*---\nsummary = \"s\"\n{of_endpoint}---*/\n{sql}\n");
    let config = format!(
        "[lake]\nlocation = \"lake/\"\n{limits}\
         [tables.number]\nlocation = \"number.csv\"\nshared = true\n\
         [tables.sale]\nlocation = \"sale.csv\"\nrow_filter = \"client_id = principal('client_id')\"\n"
    );
    TestApp::project(&[
        ("lakegate.toml", &config),
        ("lake/number.csv", &format!("n\n{numbers}")),
        ("lake/sale.csv", &format!("id,client_id\n{sales}")),
        ("endpoints/numbers.sql", &endpoint("SELECT n FROM number ORDER BY n")),
        ("endpoints/sales.sql", &endpoint("SELECT id FROM sale ORDER BY id")),
        ("endpoints/heavy.sql", &format!("/*---\nsummary = \"s\"\n---*/\n{ENDLESS}\n")),
        ("endpoints/many.sql", &endpoint("SELECT a.n AS a, b.n AS b FROM number AS a CROSS JOIN number AS b")),
    ])
    .await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_is_cut_only_where_the_endpoint_says_so_and_then_says_so_itself() {
    let cut = app("", "[limits]\nmax_rows = 7\non_max_rows = \"truncate\"\n").await;
    let token = cut.admit_with("a", "*", &[json!({})]).await;
    let answer = cut.get(&token, "/api/numbers").await;
    assert_eq!(answer.rows(), (0..7).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    assert_eq!(header(&answer, "lakegate-truncated"), Some("true"));
    // Only the caller's own ten rows count.
    let answer = cut.get(&token, "/api/sales").await;
    assert_eq!((answer.rows().len(), header(&answer, "lakegate-truncated")), (7, Some("true")));

    let whole = app("", "[limits]\nmax_rows = 10\non_max_rows = \"truncate\"\n").await;
    let token = whole.admit_with("a", "*", &[json!({})]).await;
    let answer = whole.get(&token, "/api/sales").await;
    assert_eq!((answer.rows().len(), header(&answer, "lakegate-truncated")), (10, None));
    // The grant has the tighter limit, but the endpoint decides what happens at the limit.
    let token = whole.admit_with("b", "*", &[json!({ "max_rows": 9 })]).await;
    let answer = whole.get(&token, "/api/sales").await;
    assert_eq!((answer.rows().len(), header(&answer, "lakegate-truncated")), (9, Some("true")));
    // A few megabytes exceed every other buffer, and the head is still correct.
    let large = app("", "[limits]\nmax_rows = 99999\non_max_rows = \"truncate\"\n").await;
    let token = large.admit_with("a", "*", &[json!({})]).await;
    let answer = large.get(&token, "/api/many").await;
    assert_eq!((answer.rows().len(), header(&answer, "lakegate-truncated")), (99_999, Some("true")));
    eventually_async("all resources are free", async || large.app.engine_load().memory_bytes == 0).await;
}

#[tokio::test]
async fn the_tightest_of_server_endpoint_and_grant_counts() {
    for (server, endpoint, grant, most) in [(5, 6, 7, 5), (6, 5, 7, 5), (7, 6, 5, 5)] {
        let app = app(&format!("[limits]\nmax_rows = {server}\n"), &format!("[limits]\nmax_rows = {endpoint}\n")).await;
        let token = app.admit_with("a", "*", &[json!({ "max_rows": grant })]).await;
        let answer = app.get(&token, "/api/sales").await;
        assert_eq!(answer.problem(), (422, "result_too_large".to_owned()));
        assert!(answer.text().contains(&format!("more than {most} rows")), "{}", answer.text());
    }
    // A second grant relaxes the first one, but not the endpoint's limit.
    let app = app("", "[limits]\nmax_rows = 6\n").await;
    let token = app.admit_with("a", "*", &[json!({ "max_rows": 2 }), json!({})]).await;
    assert!(app.get(&token, "/api/sales").await.text().contains("more than 6 rows"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_with_a_status_while_it_can_be() {
    let app = app("", "[limits]\nmax_result_mb = 1\n").await;
    let token = app.admit_with("a", "*", &[json!({})]).await;
    assert_eq!(app.get(&token, "/api/numbers").await.rows().len(), 1_000);
    let answer = app.get(&token, "/api/many").await;
    assert_eq!(answer.problem(), (422, "result_too_large".to_owned()));
    assert!(answer.text().contains("larger than 1 MB"), "{}", answer.text());
    eventually_async("all resources are free", async || app.app.engine_load().memory_bytes == 0).await;
}

#[tokio::test]
async fn a_scan_budget_tells_the_estimate_only_of_what_the_caller_may_see() {
    let app = app("", "[limits]\nmax_scan_rows = 15\n").await;
    let token = app.admit_with("a", "*", &[json!({})]).await;
    let answer = app.get(&token, "/api/numbers").await;
    assert_eq!(answer.problem(), (422, "scan_too_large".to_owned()));
    assert!(answer.text().contains("about 1000 rows, and 15 rows are the most"), "{}", answer.text());
    let answer = app.get(&token, "/api/sales").await;
    assert_eq!(answer.problem(), (422, "scan_too_large".to_owned()));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("15 rows") && !detail.contains("20"), "{detail}");
}

#[tokio::test]
async fn requests_of_a_principal_are_counted_and_told() {
    let app = app("[limits]\nrequests_per_day = 4\n", "").await;
    let (a, b) = (app.admit_with("a", "sales", &[json!({})]).await, app.admit_with("b", "*", &[json!({})]).await);
    let left = |answer: &Answer| header(answer, "ratelimit").map(|text| text.split(";t=").next().unwrap().to_owned());
    let told = |left: u32| Some(format!("\"requests-per-day\";r={left}"));
    let answer = app.get(&a, "/api/sales").await;
    assert_eq!((answer.status, left(&answer)), (200, told(3)));
    assert_eq!(header(&answer, "ratelimit-policy"), Some("\"requests-per-day\";q=4;w=86400"));
    // Every request counts, whatever its status and token.
    let other = app.token("a", None).await;
    for (path, status, left_then) in [("/api/numbers", 403, 2), ("/api/nothing", 404, 1), ("/api", 200, 0)] {
        let answer = app.get(&other, path).await;
        assert_eq!((answer.status, left(&answer)), (status, told(left_then)), "{path}");
    }
    let answer = app.get(&a, "/api/sales").await;
    assert_eq!((answer.problem(), left(&answer)), ((429, "access_rate_exceeded".to_owned()), told(0)));
    let wait: u64 = header(&answer, "retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait));
    // Other principals are not affected, and an unknown caller has no count.
    assert_eq!(left(&app.get(&b, "/api/sales").await), told(3));
    let unknown = app.get("nobody", "/api/sales").await;
    assert_eq!((unknown.status, header(&unknown, "ratelimit")), (401, None));
}

#[tokio::test]
async fn an_endpoint_and_a_grant_count_its_own_calls() {
    let app = app("", "[limits]\nrequests_per_day = 3\n").await;
    let slow = json!({ "requests_per_second": 1, "request_burst": 2 });
    let token = app.admit_with("a", "*", &[slow]).await;
    let answer = app.get(&token, "/api/sales").await;
    assert_eq!(
        header(&answer, "ratelimit-policy"),
        Some("\"endpoint-requests-per-second\";q=2;w=2, \"endpoint-requests-per-day\";q=3;w=86400")
    );
    assert!(header(&answer, "ratelimit").unwrap().contains("\"endpoint-requests-per-day\";r=2"));
    // Another endpoint has its own count.
    let answer = app.get(&token, "/api/numbers").await;
    assert!(header(&answer, "ratelimit").unwrap().contains("\"endpoint-requests-per-day\";r=2"));
    // A second grant without a rate removes the first grant's rate, but not the endpoint's.
    app.add_terms(Effect::Allow, Grantee::Role("client".to_owned()), "sales", &json!({})).await;
    let statuses =
        [app.get(&token, "/api/sales").await, app.get(&token, "/api/sales").await, app.get(&token, "/api/sales").await];
    assert_eq!(statuses.map(|answer| answer.status), [200, 200, 429]);
}

/// Calls the endless endpoint, and holds its resources until the task is aborted.
fn hold(app: &TestApp, token: &str) -> tokio::task::JoinHandle<(u16, Option<String>)> {
    let request = Request::get("/api/heavy").header("token", token).body(Body::empty()).unwrap();
    let front = app.service().clone();
    tokio::spawn(async move {
        let answer = front.answer(request).await.unwrap();
        let wait = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let _ = answer.into_body().collect().await;
        (status, wait)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_principal_with_many_callers_leaves_room_for_the_others() {
    // Without the response cache, because of several equal concurrent requests only one would run.
    let server = "[cache]\nresults_mb = 0\n[server]\nmax_concurrent_queries = 2\n[limits]\nmax_waiting = 4\nmax_waiting_each = 3\n";
    let app = app(server, "").await;
    let (heavy, light) =
        (app.admit_with("heavy", "*", &[json!({})]).await, app.admit_with("light", "*", &[json!({})]).await);
    // One principal may use half of the slots; three more of its requests wait.
    let held = (0..4).map(|_| hold(&app, &heavy)).collect::<Vec<_>>();
    eventually_async("one query runs and three wait", async || {
        (app.app.engine_load().running, app.app.engine_load().waiting) == (1, 3)
    })
    .await;
    let answer = app.get(&heavy, "/api/sales").await;
    assert_eq!(answer.problem(), (429, "engine_principal_busy".to_owned()));
    let wait: u64 = header(&answer, "retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    for _ in 0..10 {
        assert_eq!(app.get(&light, "/api/sales").await.rows().len(), 10);
    }
    // The other slot is taken too: the light principal now waits, and the queue is full for a third.
    let second = hold(&app, &light);
    eventually_async("the second query runs", async || app.app.engine_load().running == 2).await;
    let waiting = hold(&app, &light);
    eventually_async("the fourth query waits", async || app.app.engine_load().waiting == 4).await;
    let third = app.admit_with("third", "*", &[json!({})]).await;
    let answer = app.get(&third, "/api/sales").await;
    assert_eq!(answer.problem(), (503, "engine_overloaded".to_owned()));
    assert!(header(&answer, "retry-after").is_some());
    // A caller that disconnects frees its slot at once, whether its query runs or waits.
    waiting.abort();
    eventually_async("the queue has a free place", async || app.app.engine_load().waiting == 3).await;
    second.abort();
    eventually_async("a query slot is free", async || app.app.engine_load().running == 1).await;
    assert_eq!(app.get(&light, "/api/sales").await.rows().len(), 10);
    held.iter().for_each(tokio::task::JoinHandle::abort);
    eventually_async("all resources are free", async || {
        let load = app.app.engine_load();
        (load.running, load.waiting, load.memory_bytes, load.spilled_bytes) == (0, 0, 0, 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_computes_is_answered_with_504() {
    let app = app("[server]\nmax_concurrent_queries = 1\n[limits]\ntimeout_seconds = 1\n", "").await;
    let token = app.admit_with("a", "*", &[json!({})]).await;
    assert_eq!(app.get(&token, "/api/heavy").await.problem(), (504, "engine_timed_out".to_owned()));
    assert_eq!(app.get(&token, "/api/sales").await.rows().len(), 10);
}

#[tokio::test]
async fn who_says_a_limit_is_explained() {
    let app = app("[limits]\nrequests_per_day = 9\n", "[limits]\nmax_rows = 7\non_max_rows = \"truncate\"\n").await;
    let admin = app.admin_token("alice").await;
    app.admit_with("a", "*", &[json!({ "timeout_seconds": 5, "requests_per_day": 3 })]).await;
    let ask = json!({ "endpoint": "sales", "principal": "a" });
    let told = app.admin(&admin, "POST", "/admin/explain", ask).await.json()["limits"].clone();
    let bound = |name: &str| (told[name].as_u64(), told["from"][name].as_str());
    assert_eq!(bound("timeout_seconds"), (Some(5), Some("grants")));
    assert_eq!(bound("max_rows"), (Some(7), Some("endpoint")));
    assert_eq!(bound("memory_mb"), (Some(682), Some("server")));
    assert_eq!(told["on_max_rows"], "truncate");
    let days = told["counted"].as_array().unwrap().iter().filter(|part| part["limit"] == "requests_per_day");
    let days = days.map(|part| (part["bound"].as_u64(), part["from"].as_str().unwrap())).collect::<Vec<_>>();
    assert_eq!(days, [(Some(9), "server"), (Some(3), "grants")]);
}

#[tokio::test]
async fn how_busy_the_engine_is_is_told_to_administrators() {
    let app = app("", "").await;
    let admin = app.admin_token("alice").await;
    let load = app.admin(&admin, "GET", "/admin/status", Json::Null).await.json()["engine"].clone();
    assert_eq!(
        (load["slots"].as_u64(), load["running"].as_u64(), load["waiting"].as_u64()),
        (Some(64), Some(0), Some(0))
    );
}
