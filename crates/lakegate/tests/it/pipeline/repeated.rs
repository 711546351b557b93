//! A caller repeats a request: each response and audit record equals the first one, and no memoised decision outlives
//! its basis.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use chrono::{DateTime, Duration, Utc};
use lakegate::clock;
use lakegate::reload::{refresh, reload};
use lakegate::store::GrantRequest;
use lakegate_core::access::{Effect, EndpointPattern, Grantee};
use lakegate_core::value::{Scalar, Value};
use lakegate_query::govern::MaskKey;
use serde_json::{Value as Json, json};

use crate::audit::records::records;
use crate::support::app::{Answer, TestApp, by, write_files};

const CONFIG: &str = "[lake]
location = \"lake/\"
[access]
secret_attributes = [\"pin\"]
[tables.note]
location = \"note.csv\"
row_filter = \"tenant = principal('tenant')\"
unfiltered_for = [\"operator\"]
";

const NOTES: &str = "/*---
summary = \"Notes\"
[params.word]
type = \"string\"
required = false
[params.from]
type = \"integer\"
default = 1
[[rules]]
check = \"$from <= 100\"
message = \"from is at most 100\"
---*/
SELECT id, tenant FROM note WHERE id >= $from AND ($word IS NULL OR tenant <> $word) ORDER BY id";

const PATH: &str = "/api/notes?from=1&word=x";

fn text(text: &str) -> Value {
    Value::Scalar(Scalar::String(text.to_owned()))
}

async fn notes() -> TestApp {
    let files =
        [("lakegate.toml", CONFIG), ("endpoints/notes.sql", NOTES), ("lake/note.csv", "id,tenant\n1,A\n2,A\n3,B\n")];
    TestApp::project(&files).await
}

async fn ask(app: &TestApp, method: Method, token: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::builder().method(method).uri(PATH).header("authorization", format!("Bearer {token}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.send(request.body(Body::empty()).unwrap()).await
}

/// Repeats the request until it is memoised: the first call creates the response, the second finds it.
async fn remembered(app: &TestApp, token: &str) {
    let before = app.app.served().memo.count();
    for _ in 0..3 {
        assert_eq!(app.get(token, PATH).await.status, 200);
    }
    assert_eq!(app.app.served().memo.count(), before + 1);
}

/// Headers without the request id, and without the length, which the connection may add.
fn lasting(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("x-request-id").unwrap();
    headers.remove("content-length");
    headers
}

/// A record without the fields that differ for each request.
fn without_times(mut record: Json) -> Json {
    for field in ["time", "duration_ms", "request_id"] {
        record.as_object_mut().unwrap().remove(field).unwrap();
    }
    record
}

#[tokio::test]
async fn every_answer_and_every_record_is_like_the_first() {
    let app = notes().await;
    let token = app.admit("acme", "operator", &[("tenant", text("A")), ("pin", text("notes"))]).await;
    let first = app.get(&token, PATH).await;
    assert_eq!(first.rows().len(), 3);
    for _ in 0..3 {
        let answer = app.get(&token, PATH).await;
        assert_eq!((answer.status, &answer.body), (200, &first.body));
        assert_eq!(lasting(answer.headers), lasting(first.headers.clone()));
    }
    assert_eq!(app.app.served().memo.count(), 1);
    let records = records(&app).await;
    assert_eq!(records.len(), 4);
    // The values that contain a secret attribute are hidden in each record.
    assert_eq!((&records[0]["path"], &records[0]["unfiltered"]), (&json!("(hidden)"), &json!(["note"])));
    assert_eq!(records[0]["argument_names"], json!(["from", "word"]));
    for record in &records[1..] {
        assert_eq!(without_times(record.clone()), without_times(records[0].clone()));
        // Fields that vary have equal formats, and all fields have equal order.
        assert_eq!(record["time"].as_str().map(str::len), records[0]["time"].as_str().map(str::len));
        assert!(record["time"].as_str().is_some_and(|time| time.parse::<DateTime<Utc>>().is_ok()));
        assert_eq!(record["request_id"].as_str().map(str::len), Some(36));
        let names = |record: &Json| record.as_object().map(|record| record.keys().cloned().collect::<Vec<_>>());
        assert_eq!(names(record), names(&records[0]));
    }
    let ids = records.iter().map(|record| record["request_id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn a_body_and_a_head_are_remembered_by_themselves() {
    let app = notes().await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    remembered(&app, &token).await;
    let whole = app.get(&token, PATH).await;
    for _ in 0..3 {
        let head = ask(&app, Method::HEAD, &token, &[]).await;
        assert_eq!((head.status, &head.headers["etag"]), (200, &whole.headers["etag"]));
        let posted = app.post(&token, "/api/notes", &json!({ "from": 1, "word": "x" })).await;
        assert_eq!((posted.status, &posted.body, posted.headers.get("etag")), (200, &whole.body, None));
        let other = app.post(&token, "/api/notes", &json!({ "from": 2, "word": "x" })).await;
        assert_eq!(other.rows(), [json!({ "id": 2, "tenant": "A" })]);
        let broken = app.post_text(&token, "/api/notes", "{").await;
        assert_eq!(broken.problem(), (400, "request_body_malformed".to_owned()));
    }
    let records = records(&app).await;
    let of = |method: &str, status: u16| {
        let is_one = |record: &&Json| record["method"] == method && record["status"] == status;
        records.iter().filter(is_one).cloned().map(without_times).collect::<Vec<_>>()
    };
    assert!(of("HEAD", 200).iter().all(|record| record["bytes"] == 0 && record["rows"] == 2), "{records:#?}");
    assert_eq!(of("POST", 200).len(), 6);
    assert_eq!(of("POST", 200)[0], of("POST", 200)[4]);
    assert!(of("POST", 400).iter().all(|record| record.get("principal").is_none()));
}

#[tokio::test]
async fn what_else_is_asked_for_is_answered() {
    let app = notes().await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    remembered(&app, &token).await;
    let json = app.get(&token, PATH).await;
    let validator = json.headers["etag"].to_str().unwrap();
    for _ in 0..3 {
        let csv = ask(&app, Method::GET, &token, &[("accept", "text/csv")]).await;
        assert_eq!(csv.text(), "id,tenant\r\n1,A\r\n2,A\r\n");
        assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"notes.csv\"");
        let none = ask(&app, Method::GET, &token, &[("accept", "image/png")]).await;
        assert_eq!(none.problem(), (406, "request_format_unknown".to_owned()));
        let known = ask(&app, Method::GET, &token, &[("if-none-match", validator)]).await;
        assert_eq!((known.status, known.body.len(), known.headers.get("content-type")), (304, 0, None));
        for name in ["etag", "cache-control", "lakegate-data-version", "vary"] {
            assert_eq!(known.headers[name], json.headers[name], "{name}");
        }
        let other = ask(&app, Method::GET, &token, &[("if-none-match", "\"another\"")]).await;
        assert_eq!(other.body, json.body);
        let counted = ask(&app, Method::GET, &token, &[("prefer", "count=exact")]).await;
        assert_eq!(counted.headers["lakegate-total"], "2");
        let packed = ask(&app, Method::GET, &token, &[("accept-encoding", "identity;q=0, gzip")]).await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
    }
}

#[tokio::test]
async fn what_is_taken_away_is_gone() {
    let app = notes().await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let other = app.admit("other", "client", &[("tenant", text("B"))]).await;
    remembered(&app, &token).await;
    for _ in 0..3 {
        assert_eq!(ask(&app, Method::HEAD, &token, &[]).await.status, 200);
    }
    // Another caller of the same path gets its own rows.
    assert_eq!(app.get(&other, PATH).await.rows(), [json!({ "id": 3, "tenant": "B" })]);

    let columns = json!({ "columns": ["tenant"] });
    app.add_terms(Effect::Deny, Grantee::Role("client".to_owned()), "notes", &columns).await;
    for _ in 0..3 {
        assert_eq!(app.get(&token, PATH).await.rows(), [json!({ "id": 1 }), json!({ "id": 2 })]);
    }
    app.add_terms(Effect::Deny, Grantee::Role("client".to_owned()), "notes", &json!({})).await;
    // Unlike GET, HEAD does not use the fast path.
    assert_eq!(ask(&app, Method::HEAD, &token, &[]).await.status, 403);
    for _ in 0..2 {
        assert_eq!(app.get(&token, PATH).await.problem(), (403, "access_not_granted".to_owned()));
    }
    by(&app.store).revoke_token(token.split('_').nth(1).unwrap(), clock::now()).await.unwrap();
    assert_eq!(app.get(&token, PATH).await.problem(), (401, "access_token_revoked".to_owned()));
    let last = records(&app).await.pop().unwrap();
    assert_eq!((&last["principal"], &last["argument_names"]), (&json!("acme"), &json!(["from", "word"])));
}

#[tokio::test]
async fn a_grant_that_ends_ends_for_what_is_remembered() {
    let app = notes().await;
    app.add_principal("acme", "client", &[("tenant", text("A"))]).await;
    let request = GrantRequest::new(Grantee::Principal("acme".to_owned()), EndpointPattern::All);
    let ends = clock::now() + Duration::milliseconds(500);
    by(&app.store).add_grant(GrantRequest { expires_at: Some(ends), ..request }, clock::now()).await.unwrap();
    let token = app.token("acme", None).await;
    refused_from(&app, &token, ends, (403, "access_grant_expired")).await;
}

/// Repeats the request until it is refused. Asserts that this happens at `ends`, not earlier or later.
async fn refused_from(app: &TestApp, token: &str, ends: DateTime<Utc>, problem: (u16, &str)) {
    let mut answers = 0;
    // The requests follow each other without a pause, so that some arrive right before and after `ends`.
    loop {
        let asked_at = clock::now();
        let answer = app.get(token, PATH).await;
        if answer.status == 200 {
            assert!(asked_at < ends, "it was answered afterwards");
            answers += 1;
            continue;
        }
        assert!(clock::now() >= ends);
        assert_eq!(answer.problem(), (problem.0, problem.1.to_owned()));
        break;
    }
    // A slow machine may not have had time for more requests.
    assert!(answers < 3 || app.app.served().memo.count() == 1);
}

#[tokio::test]
async fn a_token_that_ends_ends_for_what_is_remembered() {
    let app = notes().await;
    app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let ends = clock::now() + Duration::milliseconds(500);
    let token = app.token("acme", Some(ends)).await;
    refused_from(&app, &token, ends, (401, "access_token_expired")).await;
}

#[tokio::test]
async fn each_request_counts() {
    let app = notes().await;
    app.add_principal("acme", "client", &[("tenant", text("A"))]).await;
    let few = json!({ "requests_per_day": 5 });
    app.add_terms(Effect::Allow, Grantee::Principal("acme".to_owned()), "notes", &few).await;
    let token = app.token("acme", None).await;
    for left in (0..5).rev() {
        let answer = app.get(&token, PATH).await;
        assert_eq!(answer.status, 200);
        let told = answer.headers["ratelimit"].to_str().unwrap();
        assert!(told.starts_with(&format!("\"endpoint-requests-per-day\";r={left};t=")), "{told}");
    }
    assert_eq!(app.app.served().memo.count(), 1);
    assert_eq!(app.get(&token, PATH).await.problem(), (429, "access_rate_exceeded".to_owned()));
    let last = records(&app).await.pop().unwrap();
    assert_eq!((&last["outcome"], &last["decision"]), (&json!("refused"), &json!("allowed")));
    assert_eq!((&last["argument_names"], last.get("arguments")), (&json!(["from", "word"]), None));
    assert_eq!((&last["endpoint"], &last["principal"]), (&json!("notes"), &json!("acme")));
}

#[tokio::test]
async fn another_project_and_other_data_are_seen_at_once() {
    let app = notes().await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    remembered(&app, &token).await;
    write_files(app.folder.path(), &[("lake/note.csv", "id,tenant\n1,A\n22,A\n3,B\n4,A\n")]);
    refresh(&app.app).await.unwrap();
    for _ in 0..3 {
        assert_eq!(app.get(&token, PATH).await.rows().len(), 3);
    }
    let without = NOTES.replace("id, tenant FROM", "id FROM");
    write_files(app.folder.path(), &[("endpoints/notes.sql", &without)]);
    reload(&app.app).await.unwrap();
    for _ in 0..3 {
        assert_eq!(app.get(&token, PATH).await.rows()[0], json!({ "id": 1 }));
    }
}

#[tokio::test]
async fn another_key_of_masks_is_seen_at_once() {
    let config = "[lake]\nlocation = \"lake/\"\n[masking]\nkey = \"file:mask.key\"\n[tables.one]\nlocation = \"one.csv\"\nshared = true\n\
                  [tables.one.columns.name]\nmask = \"hash\"\n";
    let sql = "/*---\nsummary = \"One\"\n---*/\nSELECT name FROM one";
    let app = TestApp::project(&[
        ("lakegate.toml", config),
        ("mask.key", "the first key, which is long enough for masks"),
        ("endpoints/one.sql", sql),
        ("lake/one.csv", "name\nAnna\n"),
    ])
    .await;
    app.add_principal("acme", "client", &[]).await;
    app.add_terms(Effect::Allow, Grantee::Principal("acme".to_owned()), "*", &json!({})).await;
    let token = app.token("acme", None).await;
    let mut before = Vec::new();
    for _ in 0..3 {
        before = app.get(&token, "/api/one").await.rows();
    }
    let served = app.app.served();
    assert_eq!(served.memo.count(), 1);
    served.project.set_mask_key(MaskKey::new("another key, which is long enough for masks").unwrap());
    for _ in 0..3 {
        assert_ne!(app.get(&token, "/api/one").await.rows(), before);
    }
}

#[tokio::test]
async fn the_record_says_by_which_path_a_request_came() {
    let files = [
        ("lakegate.toml", &*format!("{CONFIG}[server]\nbase_path = \"/old\"\n")),
        ("endpoints/notes.sql", NOTES),
        ("lake/note.csv", "id,tenant\n1,A\n2,A\n3,B\n"),
    ];
    let app = TestApp::project(&files).await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    for _ in 0..3 {
        for path in ["/api/notes", "/old/notes", "/api/%6Eotes"] {
            assert_eq!(app.get(&token, path).await.rows().len(), 2);
        }
    }
    let records = records(&app).await;
    let paths = records.iter().map(|record| record["path"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(paths, ["/api/notes", "/old/notes", "/api/notes"].repeat(3));
}
