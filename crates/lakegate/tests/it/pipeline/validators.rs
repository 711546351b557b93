//! Avoiding repeated work: validators with 304, and cached responses that only callers with equal rights share.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use lakegate_core::access::{Effect, Grantee};
use lakegate_core::error::Error;
use lakegate_query::engine::{BatchStream, Embedded, Engine, Limits};
use lakegate_query::govern::GovernedPlan;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::app::{Answer, TestApp};
use crate::support::eventually::eventually_async;

/// Counts the queries that run; each waits for the gate.
struct Counting {
    ran: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl Engine for Counting {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        self.ran.fetch_add(1, Ordering::SeqCst);
        let _passed = self.gate.acquire().await.unwrap();
        Embedded.run(plan, limits).await
    }
}

struct Counted {
    app: TestApp,
    ran: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Counted {
    async fn new(config: &str) -> Self {
        let (ran, gate) = (Arc::default(), Arc::new(Semaphore::new(1000)));
        let engine = Counting { ran: Arc::clone(&ran), gate: Arc::clone(&gate) };
        let endpoint = |more: &str, query: &str| format!("/*---\nsummary = \"s\"\n{more}---*/\n{query}");
        let app = TestApp::project_with(
            &[
                ("lakegate.toml", &format!("{CONFIG}{config}")),
                ("lake/sale.csv", "id,client_id,product\n1,1,pen\n2,1,ink\n3,2,cap\n"),
                ("endpoints/sales.sql", &endpoint("", "SELECT id, product FROM sale ORDER BY id")),
                ("endpoints/never.sql", &endpoint("cache_seconds = 0\n", "SELECT id FROM sale")),
                ("endpoints/timed.sql", &endpoint("", "SELECT id, now() AS at FROM sale")),
                ("endpoints/large.sql", &endpoint("", "SELECT repeat('x', 1000) AS x FROM sale AS a, sale AS b")),
            ],
            |app| app.engine = Box::new(engine),
        )
        .await;
        Self { app, ran, gate }
    }

    /// Adds a caller for these clients.
    async fn admit(&self, name: &str, clients: &[i64]) -> String {
        let clients = crate::http::answers::client_ids(clients);
        self.app.add_principal(name, "client", &[("client_id", clients)]).await;
        self.app.add_terms(Effect::Allow, Grantee::Principal(name.to_owned()), "*", &json!({})).await;
        self.app.token(name, None).await
    }

    /// The number of queries since the last call.
    fn ran(&self) -> usize {
        self.ran.swap(0, Ordering::SeqCst)
    }

    async fn get(&self, token: &str, path: &str, validator: Option<&str>) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = validator.into_iter().fold(request, |request, value| request.header("if-none-match", value));
        self.app.send(request.body(Body::empty()).unwrap()).await
    }

    async fn validator(&self, token: &str, path: &str) -> String {
        self.get(token, path, None).await.headers["etag"].to_str().unwrap().to_owned()
    }
}

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
row_filter = "client_id IN (principal('client_id'))"
"#;

#[tokio::test]
async fn who_has_the_answer_is_told_so_without_a_query() {
    let counted = Counted::new("[cache]\nresults_mb = 0\n").await;
    let token = counted.admit("acme", &[1]).await;
    let first = counted.get(&token, "/api/sales", None).await;
    let validator = first.headers["etag"].to_str().unwrap().to_owned();
    assert!(validator.starts_with('"') && validator.len() == 24, "{validator}");
    assert_eq!(first.headers["cache-control"], "private, no-cache");
    assert_eq!((first.rows().len(), counted.ran()), (2, 1));

    for asked in [validator.clone(), format!("W/{validator}"), format!("\"x\", {validator}"), "*".to_owned()] {
        let answer = counted.get(&token, "/api/sales", Some(&asked)).await;
        assert_eq!((answer.status, answer.body.len(), counted.ran()), (304, 0, 0), "{asked}");
        assert_eq!(answer.headers["etag"], validator.as_str());
        assert_eq!(answer.headers["cache-control"], "private, no-cache");
        assert!(!answer.headers.contains_key("content-type"));
    }
    for asked in ["\"x\"", &validator[1..validator.len() - 1], "", "garbage, \u{fffd}"] {
        let answer = counted.get(&token, "/api/sales", Some(asked)).await;
        assert_eq!((answer.status, counted.ran()), (200, 1), "{asked}");
    }
    // A POST ignores conditional headers.
    let request = Request::post("/api/sales").header("token", &token).header("if-none-match", &validator);
    let answer = counted.app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.headers.get("etag")), (200, None));
}

#[tokio::test]
async fn a_validator_is_of_one_callers_rows_in_one_form() {
    let counted = Counted::new("").await;
    let (one, other) = (counted.admit("one", &[1]).await, counted.admit("other", &[2]).await);
    let (same, both) = (counted.admit("same", &[1]).await, counted.admit("both", &[1, 2]).await);
    let validator = counted.validator(&one, "/api/sales").await;
    assert_eq!(counted.validator(&same, "/api/sales").await, validator);
    for (token, path) in [
        (&other, "/api/sales"),
        (&both, "/api/sales"),
        (&one, "/api/sales?select=id"),
        (&one, "/api/sales?order=id.desc"),
        (&one, "/api/sales?limit=5"),
        (&one, "/api/sales?page_size=5"),
        (&one, "/api/never"),
    ] {
        assert_ne!(counted.validator(token, path).await, validator, "{path}");
        assert_eq!(counted.get(token, path, Some(&validator)).await.status, 200, "{path}");
    }
    // Authorisation precedes validators, so a validator grants no access.
    let nobody = counted.get("lg_unknown_token_of_nobody_at_all", "/api/sales", Some("*")).await;
    assert_eq!(nobody.status, 401);
    let narrow = counted.app.admit_with("narrow", "never", &[json!({})]).await;
    assert_eq!(counted.get(&narrow, "/api/sales", Some(&validator)).await.status, 403);
}

#[tokio::test]
async fn an_answer_is_kept_for_whoever_may_have_the_same_and_for_nobody_else() {
    let counted = Counted::new("").await;
    let (one, other) = (counted.admit("one", &[1]).await, counted.admit("other", &[2]).await);
    let same = counted.admit("same", &[1]).await;
    let rows = async |token: &str| counted.get(token, "/api/sales", None).await.text().to_owned();
    let first = rows(&one).await;
    assert_eq!((rows(&one).await, rows(&same).await, counted.ran()), (first.clone(), first.clone(), 1));
    assert_ne!(rows(&other).await, first);
    assert_eq!(counted.ran(), 1);
    // Arguments in the body or in the query string share one cached response.
    assert_eq!((counted.app.post(&one, "/api/sales", &json!({})).await.text(), counted.ran()), (first.as_str(), 0));

    // A caller who loses a grant loses access to the cached response too.
    counted
        .app
        .add_terms(Effect::Deny, Grantee::Principal("same".into()), "sales", &json!({ "columns": ["product"] }))
        .await;
    assert_eq!(rows(&same).await, r#"[{"id":1},{"id":2}]"#);
    assert_eq!((rows(&one).await, counted.ran()), (first, 1));
}

#[tokio::test]
async fn what_changes_with_time_and_what_must_not_be_kept_runs_each_time() {
    let counted = Counted::new("").await;
    let token = counted.admit("acme", &[1]).await;
    for path in ["/api/never", "/api/timed"] {
        let answers = [counted.get(&token, path, None).await, counted.get(&token, path, None).await];
        assert_eq!(counted.ran(), 2, "{path}");
        assert_eq!(answers[0].headers.contains_key("etag"), path == "/api/never");
    }
    let timed = counted.get(&token, "/api/timed", Some("*")).await;
    assert_eq!((timed.status, timed.headers["cache-control"].to_str().unwrap()), (200, "private, no-store"));
}

#[tokio::test]
async fn new_rows_make_another_answer() {
    let counted = Counted::new("").await;
    let token = counted.admit("acme", &[1]).await;
    let validator = counted.validator(&token, "/api/sales").await;
    std::fs::write(
        counted.app.folder.path().join("lake/sale.csv"),
        "id,client_id,product\n1,1,pen\n2,1,ink\n3,2,cap\n4,1,new\n",
    )
    .unwrap();
    lakegate::reload::refresh(&counted.app.app).await.unwrap();
    let answer = counted.get(&token, "/api/sales", Some(&validator)).await;
    assert_eq!((answer.status, answer.rows().len()), (200, 3));
    assert_ne!(answer.headers["etag"], validator.as_str());
}

#[tokio::test]
async fn identical_requests_at_one_time_run_once() {
    let counted = Counted::new("").await;
    let one = counted.admit("one", &[1]).await;
    let (same, other) = (counted.admit("same", &[1]).await, counted.admit("other", &[2]).await);
    let closed = counted.gate.acquire_many(1000).await.unwrap();
    let asked = async {
        let ask = |token| counted.get(token, "/api/sales", None);
        futures::future::join_all((0..20).map(|at| ask([&one, &same, &other][at % 3]))).await
    };
    let opened = async {
        // Once both queries have started, all other requests wait for them, because they were sent before this check.
        eventually_async("both queries run", async || counted.ran.load(Ordering::SeqCst) >= 2).await;
        drop(closed);
    };
    let (answers, ()) = tokio::join!(asked, opened);
    assert_eq!(counted.ran(), 2);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer.rows().len(), if at % 3 == 2 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn who_waits_for_somebody_who_leaves_runs_for_itself() {
    let counted = Counted::new("").await;
    let token = counted.admit("acme", &[1]).await;
    let closed = counted.gate.acquire_many(1000).await.unwrap();
    let mut leaving = Box::pin(counted.get(&token, "/api/sales", None));
    eventually_async("the query runs", async || {
        assert!(futures::poll!(&mut leaving).is_pending());
        counted.ran.load(Ordering::SeqCst) >= 1
    })
    .await;
    let waiting = counted.get(&token, "/api/sales", None);
    let opened = async {
        tokio::task::yield_now().await;
        drop(leaving);
        drop(closed);
    };
    let (answer, ()) = tokio::join!(waiting, opened);
    assert_eq!((answer.rows().len(), counted.ran()), (2, 2));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let counted = Counted::new("[cache]\nlargest_kb = 1\n").await;
    let token = counted.admit("acme", &[1]).await;
    for _ in 0..2 {
        assert_eq!(counted.get(&token, "/api/large", None).await.rows().len(), 4);
    }
    assert_eq!(counted.ran(), 2);
    let (_, kept) = counted.app.app.response_cache.size();
    assert_eq!((kept, counted.app.app.response_cache.in_flight()), (0, 0));
}

/// The audit log records a cached response like any other.
#[tokio::test]
async fn kept_answers_are_recorded_like_others() {
    let counted = Counted::new("").await;
    let token = counted.admit("acme", &[1]).await;
    for _ in 0..2 {
        counted.get(&token, "/api/sales", None).await.rows();
    }
    let validator = counted.validator(&token, "/api/sales").await;
    counted.get(&token, "/api/sales", Some(&validator)).await;
    let records = crate::audit::records::records(&counted.app).await;
    let told =
        records.iter().map(|record| json!([record["status"], record["rows"], record["bytes"], record["outcome"]]));
    let whole = json!([200, 2, 51, "answered"]);
    assert_eq!(told.collect::<Vec<_>>(), [whole.clone(), whole.clone(), whole, json!([304, 0, 0, "answered"])]);
    assert!(records.iter().all(|record| record["policy"] == records[0]["policy"]));
}
