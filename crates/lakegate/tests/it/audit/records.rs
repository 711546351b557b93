//! The audit record of each kind of request, and what no record contains.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::http::Request;
use chrono::{DateTime, Duration, Utc};
use lakegate::audit::{AuditChange, append_changes};
use lakegate::clock;
use lakegate::store::GrantRequest;
use lakegate_core::access::{EndpointPattern, Grantee, ParameterTerm, Terms};
use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use crate::support::app::{TestApp, by, write_files};
use crate::support::eventually::eventually_async;

/// A value in a row that no caller here may see.
const CANARY: &str = "canary-of-another-tenant";

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
[params.code]
type = \"string\"
required = false
secret = true
[params.pin]
type = \"string\"
required = false
[params.ids]
type = \"integer[]\"
default = [1, 2, 3]
[params.from]
type = \"integer\"
default = 1
[[rules]]
check = \"$from <= 100\"
message = \"from is at most 100\"
---*/
SELECT id, text FROM note WHERE ($word IS NULL OR text = $word) AND ($code IS NULL OR text <> $code)
  AND ($pin IS NULL OR text <> $pin) AND id IN ($ids) AND id >= $from ORDER BY id";

const DIVIDE: &str = "/*---\nsummary = \"Fails\"\n---*/\nSELECT 1 / (id - id) AS x FROM note";

async fn notes(more: &str) -> TestApp {
    let lake = format!("id,tenant,text\n1,A,x\n2,A,y\n3,B,{CANARY}\n");
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("lakegate.toml", &*format!("{CONFIG}{more}")),
        ("endpoints/notes.sql", NOTES),
        ("endpoints/divide.sql", DIVIDE),
        ("lake/note.csv", &*lake),
    ];
    write_files(folder.path(), &files);
    TestApp::serve(folder).await
}

fn text(text: &str) -> Value {
    Value::Scalar(Scalar::String(text.to_owned()))
}

/// The text of the log after a flush.
async fn log(app: &TestApp) -> String {
    app.audit.flush().await;
    std::fs::read_to_string(app.folder.path().join("audit/audit.ndjson")).unwrap()
}

pub(crate) async fn records(app: &TestApp) -> Vec<Json> {
    log(app).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that exactly one record was added, and returns it without the fields that vary between runs.
async fn record(app: &TestApp, seen: &mut usize) -> Json {
    let records = records(app).await;
    assert_eq!(records.len(), *seen + 1, "{records:#?}");
    *seen += 1;
    let mut record = records[*seen - 1].clone();
    let fields = record.as_object_mut().unwrap();
    let time: DateTime<Utc> = fields.remove("time").unwrap().as_str().unwrap().parse().unwrap();
    assert!((clock::now() - time).abs() < Duration::minutes(5));
    assert!(fields.remove("duration_ms").unwrap().as_f64().unwrap() > 0.0);
    fields.remove("request_id").unwrap();
    fields.remove("token");
    fields.remove("policy");
    fields.remove("reason");
    fields.remove("grants");
    record
}

#[tokio::test]
async fn an_answer_is_recorded_with_all_that_led_to_it() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let answer = app.get(&token, "/api/notes?word=x&ids=1&ids=2").await;
    assert_eq!(answer.rows(), [json!({ "id": 1, "text": "x" })]);
    let all = records(&app).await;
    let [record] = &all[..] else { panic!("{all:#?}") };
    let tokens = app.store.tokens(Some("acme")).await.unwrap();
    let grants = app.store.grants_of("acme").await.unwrap();
    let grant = &grants[0].id;
    assert_eq!(record["kind"], "request");
    assert_eq!(record["event"], "ended");
    assert_eq!(record["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&record["method"], &record["path"]), (&json!("GET"), &json!("/api/notes")));
    assert_eq!((&record["principal"], &record["token"]), (&json!("acme"), &json!(tokens[0].token.id)));
    assert_eq!(record["endpoint"], "notes");
    assert_eq!(record["argument_names"], json!(["word", "ids", "ids"]));
    assert_eq!(record["arguments"], json!({ "word": "x", "ids": [1, 2], "from": 1 }));
    assert_eq!(record["decision"], "allowed");
    assert_eq!(record["policy"].as_str().unwrap().len(), 64);
    assert_eq!(record["reason"], format!("grant `{grant}` lets principal `acme` call every endpoint"));
    assert_eq!(record["grants"], json!([grant]));
    assert_eq!((&record["outcome"], &record["status"]), (&json!("answered"), &json!(200)));
    assert_eq!((&record["rows"], &record["bytes"]), (&json!(1), &json!(answer.body.len())));
    assert_eq!(record.get("code"), None);
}

#[tokio::test]
async fn every_refusal_is_recorded() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    app.add_principal("nobody", "client", &[("tenant", text("A"))]).await;
    let nobody = app.token("nobody", None).await;
    let homeless = app.admit("homeless", "client", &[]).await;
    let expires_at = clock::now() + Duration::milliseconds(1);
    let expired = app.token("acme", Some(expires_at)).await;
    eventually_async("the token has expired", async || clock::now() > expires_at).await;
    let mut seen = 0;
    let cases: [(&str, &str, u16, Json); 9] = [
        (
            "not-a-known-token",
            "/api/notes?word=x",
            401,
            json!({ "endpoint": "notes", "argument_names": ["word"], "decision": "denied", "code": "access_token_unknown" }),
        ),
        (
            &expired,
            "/api/notes",
            401,
            json!({ "principal": "acme", "endpoint": "notes", "decision": "denied", "code": "access_token_expired" }),
        ),
        (
            &nobody,
            "/api/notes?word=x",
            403,
            json!({ "principal": "nobody", "endpoint": "notes", "argument_names": ["word"], "decision": "denied", "code": "access_not_granted" }),
        ),
        (
            &homeless,
            "/api/notes?word=x",
            403,
            json!({ "principal": "homeless", "endpoint": "notes", "argument_names": ["word"], "decision": "denied", "code": "access_attribute_missing" }),
        ),
        (
            &token,
            "/api/nothing?word=x",
            404,
            json!({ "principal": "acme", "endpoint": "nothing", "argument_names": ["word"], "code": "endpoint_unknown" }),
        ),
        (
            &token,
            "/api/notes?from=abc&wrong=1",
            400,
            json!({ "principal": "acme", "endpoint": "notes", "argument_names": ["from", "wrong"], "decision": "allowed", "code": "arguments_invalid" }),
        ),
        (
            &token,
            "/api/notes?from=101",
            422,
            json!({ "principal": "acme", "endpoint": "notes", "argument_names": ["from"], "decision": "allowed", "code": "rule_violated" }),
        ),
        (&token, "/api/some/where", 404, json!({ "code": "request_path_unknown" })),
        (&token, "/elsewhere", 404, json!({ "code": "request_path_unknown" })),
    ];
    for (token, path, status, wanted) in cases {
        let answer = app.get(token, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let mut wanted = wanted;
        let path = path.split('?').next().unwrap();
        let common = json!({
            "kind": "request", "event": "ended", "method": "GET", "path": path, "outcome": "refused", "status": status,
            "rows": 0, "bytes": answer.body.len(),
        });
        wanted.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        assert_eq!(record(&app, &mut seen).await, wanted);
    }
}

#[tokio::test]
async fn other_requests_are_recorded_and_health_is_not() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let mut seen = 0;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(app.get("", path).await.status, 200);
    }
    assert_eq!(app.get(&token, "/api").await.status, 200);
    let listed = record(&app, &mut seen).await;
    assert_eq!((&listed["path"], &listed["principal"]), (&json!("/api"), &json!("acme")));
    assert_eq!((&listed["outcome"], listed.get("endpoint")), (&json!("answered"), None));

    assert_eq!(app.post(&token, "/api/notes", &json!({ "from": 2 })).await.rows().len(), 1);
    let posted = record(&app, &mut seen).await;
    assert_eq!((&posted["method"], &posted["arguments"]), (&json!("POST"), &json!({ "ids": [1, 2, 3], "from": 2 })));

    let failed = app.get(&token, "/api/divide").await;
    let record_of_it = record(&app, &mut seen).await;
    assert_eq!(record_of_it["status"], failed.status);
    assert_eq!(record_of_it["code"], failed.problem().1);
    assert_eq!(record_of_it["outcome"], if failed.status < 500 { "refused" } else { "failed" });

    let request = |method: &str| Request::builder().method(method).uri("/api/notes").header("token", &token);
    let headed = app.send(request("HEAD").body(Body::empty()).unwrap()).await;
    assert_eq!((headed.status, headed.body.len()), (200, 0));
    let record_of_it = record(&app, &mut seen).await;
    assert_eq!((&record_of_it["outcome"], &record_of_it["bytes"]), (&json!("answered"), &json!(0)));
    assert_eq!(app.send(request("DELETE").body(Body::empty()).unwrap()).await.status, 405);
    assert_eq!(record(&app, &mut seen).await["code"], "request_method_not_allowed");
    assert_eq!(app.post_text(&token, "/api/notes?word=x", "{").await.status, 400);
    let record_of_it = record(&app, &mut seen).await;
    assert_eq!(record_of_it["code"], "request_body_malformed");
    assert_eq!(record_of_it["argument_names"], json!(["word"]));
}

#[tokio::test]
async fn a_role_that_sees_all_rows_is_recorded_at_each_use() {
    let app = notes("").await;
    let token = app.admit("olivia", "operator", &[]).await;
    assert_eq!(app.get(&token, "/api/notes").await.rows().len(), 3);
    assert_eq!(records(&app).await[0]["unfiltered"], json!(["note"]));
}

#[tokio::test]
async fn nothing_secret_is_in_the_log() {
    let app = notes("").await;
    let attributes = [
        ("tenant", text("A")),
        ("pin", Value::List(ScalarType::String, ["hush-4711", "7"].map(|pin| Scalar::String(pin.into())).into())),
    ];
    let token = app.admit("acme", "client", &attributes).await;
    // This principal must send its secret attribute as an argument, and nothing else.
    app.add_principal("bound", "client", &[("tenant", text("A")), ("pin", text("bound-secret"))]).await;
    let term = ParameterTerm { attribute: Some("pin".to_owned()), ..ParameterTerm::default() };
    let terms = Terms { parameters: BTreeMap::from([("pin".to_owned(), term)]), ..Terms::default() };
    let to = Grantee::Principal("bound".to_owned());
    let request = GrantRequest::new(to, EndpointPattern::Named("notes".to_owned()));
    by(&app.store).add_grant(GrantRequest { terms, ..request }, clock::now()).await.unwrap();
    let bound = app.token("bound", None).await;

    assert_eq!(app.get(&token, "/api/notes?code=open-sesame").await.status, 200);
    assert_eq!(app.get(&token, "/api/notes?word=hush-4711&ids=7&from=7").await.status, 200);
    assert_eq!(app.get(&token, "/api/notes?word=xx-hush-4711-yy").await.status, 200);
    assert_eq!(app.get(&token, "/api/notes?hush-4711=1").await.status, 400);
    assert_eq!(app.get(&token, "/api/hush-4711").await.status, 404);
    assert_eq!(app.get(&bound, "/api/notes").await.status, 200);
    assert_eq!(app.get(&bound, "/api/notes?pin=another-guess").await.status, 422);
    let records = records(&app).await;
    // A fingerprint over a secret would confirm a guess, so it is left out.
    assert!(records.iter().all(|record| record.get("policy").is_none()));
    assert_eq!(records[0]["arguments"], json!({ "code": "***", "ids": [1, 2, 3], "from": 1 }));
    assert_eq!(records[1]["arguments"], json!({ "word": "***", "ids": "***", "from": "***" }));
    assert_eq!(records[2]["arguments"], json!({ "word": "(hidden)", "ids": [1, 2, 3], "from": 1 }));
    assert_eq!(records[3]["argument_names"], json!(["(hidden)"]));
    assert_eq!((&records[4]["path"], &records[4]["endpoint"]), (&json!("(hidden)"), &json!("(hidden)")));
    assert_eq!(records[5]["arguments"], json!({ "pin": "***", "ids": [1, 2, 3], "from": 1 }));
    assert_eq!(records[6]["argument_names"], json!(["pin"]));

    // Tokens in wrong places: known and unknown ones, in lakegate's format and another, in each header.
    let secret = token.rsplit('_').next().unwrap();
    for path in [
        format!("/api/notes?word={token}"),
        format!("/api/notes?{token}=1"),
        format!("/api/{token}"),
        format!("/{token}/notes"),
        format!("/api/%6c{}", &token[1..]),
        format!("/api/notes?token={token}"),
    ] {
        assert_ne!(app.get(&token, &path).await.status, 200);
    }
    assert_eq!(app.post(&token, "/api/notes", &json!({ "word": token })).await.status, 200);
    assert_eq!(app.post(&token, "/api/notes", &json!({ token.clone(): 1 })).await.status, 400);
    for header in ["x-api-key", "token", "authorization"] {
        for path in ["/api/imported-key-1234", "/api/notes?word=imported-key-1234", "/api/notes?imported-key-1234=1"] {
            let value = if header == "authorization" { "Bearer imported-key-1234" } else { "imported-key-1234" };
            let request = Request::get(path).header(header, value).body(Body::empty()).unwrap();
            assert_eq!(app.send(request).await.status, 401);
        }
    }
    let log = log(&app).await;
    let never =
        [secret, &secret[..20], "imported-key", "open-sesame", "hush-4711", "bound-secret", "another-guess", CANARY];
    for never in never {
        assert!(!log.contains(never), "{never} in {log}");
    }
}

#[tokio::test]
async fn a_record_is_one_line_whatever_is_in_it() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let forged = "%0A%7B%22kind%22%3A%22request%22%7D%0D%0A";
    assert_eq!(app.get(&token, &format!("/api/a{forged}b")).await.status, 404);
    assert_eq!(app.get(&token, &format!("/api/notes?a{forged}b=1")).await.status, 400);
    assert_eq!(app.get(&token, &format!("/api/notes?word=a{forged}b")).await.status, 200);
    assert_eq!(app.get(&token, "/api/%ff%00%1b").await.status, 404);
    let log = log(&app).await;
    assert_eq!(log.lines().count(), 4, "{log}");
    assert!(log.chars().all(|each| each == '\n' || !each.is_control()));
    let records = records(&app).await;
    assert_eq!(records[0]["endpoint"], "a\n{\"kind\":\"request\"}\r\nb");
    assert_eq!(records[2]["arguments"]["word"], "a\n{\"kind\":\"request\"}\r\nb");
}

#[tokio::test]
async fn what_callers_send_does_not_make_a_record_large() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let long = "n".repeat(5_000);
    let names = (0..500).map(|at| format!("{at}{long}")).map(|name| (name, json!(1)));
    assert_eq!(app.post(&token, "/api/notes", &names.take(150).collect::<Json>()).await.status, 400);
    assert_eq!(app.get(&token, &format!("/api/{long}")).await.status, 404);
    let ids = (0..1_000).collect::<Vec<_>>();
    assert_eq!(app.post(&token, "/api/notes", &json!({ "word": long, "ids": ids })).await.status, 200);
    let records = records(&app).await;
    assert_eq!(records[0]["argument_names"].as_array().unwrap().len(), 50);
    assert_eq!(records[0]["argument_names"][0].as_str().unwrap().chars().count(), 65);
    assert_eq!(records[0]["more_argument_names"], 100);
    assert_eq!(records[1]["endpoint"].as_str().unwrap().chars().count(), 65);
    assert_eq!(records[1]["path"].as_str().unwrap().chars().count(), 257);
    assert_eq!(records[2]["arguments"]["word"].as_str().unwrap().chars().count(), 1_001);
    assert_eq!(records[2]["arguments"]["ids"].as_array().unwrap().len(), 101);
    assert_eq!(records[2]["arguments"]["ids"][100], "… 900 more");
}

/// The handler's future is dropped before it responds.
#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_is_recorded() {
    let app = notes("").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let is_read = Arc::new(Notify::new());
    let read = Arc::clone(&is_read);
    let body = Body::from_stream(futures::stream::poll_fn(move |_| {
        read.notify_one();
        Poll::<Option<Result<Vec<u8>, std::io::Error>>>::Pending
    }));
    let request = Request::post("/api/notes?word=x").header("token", &token).body(body).unwrap();
    tokio::select! {
        answer = app.send(request) => panic!("{answer:?}"),
        () = is_read.notified() => {}
    }
    let wanted = json!({
        "kind": "request", "event": "ended", "method": "POST", "path": "/api/notes", "endpoint": "notes",
        "argument_names": ["word"], "outcome": "cancelled", "rows": 0, "bytes": 0,
    });
    assert_eq!(record(&app, &mut 0).await, wanted);
}

#[tokio::test]
async fn changes_are_recorded_beside_requests() {
    let app = notes("").await;
    let time = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let change = AuditChange {
        time,
        id: "c1".to_owned(),
        actor: "olivia".to_owned(),
        action: "grant.add".to_owned(),
        detail: json!({ "grant": "g1", "to": "acme" }),
    };
    append_changes(app.audit.folder().unwrap(), &[change]).unwrap();
    let wanted = json!({
        "kind": "change", "time": "2027-01-15T08:00:00.000000Z", "id": "c1", "actor": "olivia", "action": "grant.add",
        "detail": { "grant": "g1", "to": "acme" },
    });
    assert_eq!(records(&app).await, [wanted]);
}

#[tokio::test]
async fn a_log_that_is_off_is_not_there() {
    let app = notes("[server]\naudit = \"off\"\n").await;
    let token = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    assert_eq!(app.get(&token, "/api/notes").await.status, 200);
    app.audit.flush().await;
    assert!(!app.folder.path().join("audit").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn the_log_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let app = notes("[server]\naudit_folder = \"logs/requests\"\n").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = app.folder.path().join("logs/requests");
    assert_eq!((mode(&folder), mode(&folder.join("audit.ndjson"))), (0o700, 0o600));
}
