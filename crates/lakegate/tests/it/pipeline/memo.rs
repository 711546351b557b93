//! Requests of every kind, generated, under every setting that observes them: with the memo and without it, a request has the
//! same bytes, headers, audit record and metrics.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::Request;
use lakegate::clock;
use lakegate::store::{TokenRequest, new_token};
use lakegate_core::value::{Scalar, Value};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value as Json;

use crate::audit::records::records;
use crate::support::app::{TestApp, by};

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

const NOW: &str = "/*---
summary = \"Notes until now\"
---*/
SELECT id, now() > TIMESTAMP '2000-01-01' AS is_later FROM note ORDER BY id";

/// Settings that observe a request in more ways than by default.
const SETTINGS: [&str; 5] = [
    "",
    "[server]\naudit = \"strict\"\n",
    "[server]\naudit = \"off\"\n[observe]\nslow_query_ms = 3600000\n",
    "[observe]\nserver_timing_for = [\"operator\"]\n",
    "[limits]\nrequests_per_second = 100000\nrequests_per_day = 1000000\n",
];

const PATHS: [&str; 10] = [
    "/api/notes",
    "/api/notes?from=1&word=x",
    "/api/notes?from=2&from=3",
    "/api/notes?from=101",
    "/api/notes?from=x",
    "/api/notes?from=%zz",
    "/api/notes?page_size=1",
    "/api/notes?limit=1&select=id",
    "/api/now",
    "/api/nothing",
];

const HEADERS: [&[(&str, &str)]; 9] = [
    &[],
    &[("accept", "text/csv")],
    &[("accept", "image/png")],
    &[("accept", "application/json"), ("accept-encoding", "gzip")],
    &[("if-none-match", "ETAG")],
    &[("if-none-match", "\"another\"")],
    &[("prefer", "count=exact")],
    &[("accept-encoding", "zstd"), ("if-none-match", "ETAG")],
    &[("x-unrelated", "value")],
];

const BODIES: [&str; 5] = ["{}", "{\"from\": 1}", "{\"from\": \"x\"}", "{", "[]"];

/// A generated request.
#[derive(Clone, Debug)]
struct Generated {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    token: String,
}

/// Everything that a request leaves behind, without what differs for each request.
#[derive(Debug, PartialEq)]
struct Observed {
    status: u16,
    headers: BTreeSet<(String, String)>,
    body: String,
    records: Vec<Json>,
    metrics: BTreeMap<String, f64>,
}

impl Generated {
    fn new(choices: &mut ChaCha8Rng, tokens: &[String]) -> Self {
        fn pick<T: Clone>(choices: &mut ChaCha8Rng, of: &[T]) -> T {
            of[choices.next_u32() as usize % of.len()].clone()
        }
        let method = pick(choices, &["GET", "GET", "GET", "HEAD", "POST", "PUT"]);
        let (path, headers) = (pick(choices, &PATHS), pick(choices, &HEADERS));
        // Most requests are good ones, because only those are memoised.
        let path = if choices.next_u32().is_multiple_of(2) { PATHS[choices.next_u32() as usize % 2] } else { path };
        let token =
            if choices.next_u32().is_multiple_of(4) { pick(choices, tokens) } else { pick(choices, &tokens[..2]) };
        Self { method, path, headers, body: pick(choices, &BODIES), token }
    }

    fn request(&self, etag: &str) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in self.headers {
            request = request.header(*name, value.replace("ETAG", etag));
        }
        let body = if self.method == "POST" { self.body } else { "" };
        request.body(Body::from(body)).unwrap()
    }
}

/// Counters and counts; times and sizes of the process differ for each request.
fn metrics(app: &TestApp) -> BTreeMap<String, f64> {
    let text = app.app.observer.exposition(&app.app, &app.app.served());
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let base = name.split('{').next().unwrap_or(name);
        (!base.ends_with("_seconds_total") && (base.ends_with("_total") || base.ends_with("_count")))
            .then(|| (name.to_owned(), value.parse().unwrap()))
    });
    samples.collect()
}

/// The records of the audit log; none if it is off.
async fn recorded(app: &TestApp) -> Vec<Json> {
    match app.audit.folder() {
        Some(_) => records(app).await,
        None => Vec::new(),
    }
}

async fn observe(app: &TestApp, generated: &Generated, etag: &str) -> Observed {
    let (before, first) = (metrics(app), recorded(app).await.len());
    let answer = app.send(generated.request(etag)).await;
    let mut after = metrics(app);
    after.iter_mut().for_each(|(name, value)| *value -= before.get(name).copied().unwrap_or_default());
    after.retain(|name, value| *value != 0.0 && !name.starts_with("process_"));
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let headers = headers.filter_map(|(name, value)| match name {
        "x-request-id" => None,
        "server-timing" => Some((name, value.split(';').next().unwrap_or_default())),
        // One request fewer is left each time.
        "ratelimit" => Some((name, value.split(';').next().unwrap_or_default())),
        _ => Some((name, value)),
    });
    // Their order means nothing.
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeSet<_>>();
    let mut records = recorded(app).await.split_off(first);
    for record in &mut records {
        let members = record.as_object_mut().unwrap();
        ["time", "duration_ms", "request_id"].iter().for_each(|name| drop(members.remove(*name).unwrap()));
        // The fingerprint of this endpoint depends on the time of the request.
        if members["path"] == "/api/now" {
            members.remove("policy");
        }
    }
    let body = String::from_utf8_lossy(&answer.body).replace(&id, "ID");
    Observed { status: answer.status, headers, body, records, metrics: after }
}

async fn compare(setting: &str, seed: u64, count: usize) -> usize {
    let files = [
        ("lakegate.toml", &*format!("{CONFIG}{setting}")),
        ("endpoints/notes.sql", NOTES),
        ("endpoints/now.sql", NOW),
        ("lake/note.csv", "id,tenant\n1,A\n2,A\n3,B\n"),
    ];
    let app = TestApp::project(&files).await;
    let text = |text: &str| Value::Scalar(Scalar::String(text.to_owned()));
    let good = app.admit("acme", "client", &[("tenant", text("A"))]).await;
    let operator = app.admit("root", "operator", &[("tenant", text("B")), ("pin", text("notes"))]).await;
    app.add_principal("none", "nothing", &[("tenant", text("A"))]).await;
    let without_grant = app.token("none", None).await;
    let revoked = app.token("acme", None).await;
    by(&app.store).revoke_token(revoked.split('_').nth(1).unwrap(), clock::now()).await.unwrap();
    let expired = new_token().unwrap();
    let ago = clock::now() - chrono::Duration::hours(1);
    let request = TokenRequest { expires_at: Some(ago), ..TokenRequest::default() };
    by(&app.store).issue_token("acme", &expired, request, ago - chrono::Duration::hours(1)).await.unwrap();
    let tokens =
        [good, operator, without_grant, revoked, expired.text().to_owned(), "lgk_unknown".to_owned(), String::new()];
    let mut choices = ChaCha8Rng::seed_from_u64(seed);
    let mut memoised = 0;
    for _ in 0..count {
        let generated = Generated::new(&mut choices, &tokens);
        let plain = Generated { headers: &[], method: "GET", ..generated.clone() };
        let etag = app.send(plain.request("")).await.headers.get("etag").cloned();
        let etag = etag.as_ref().map_or("\"none\"", |etag| etag.to_str().unwrap());
        // The response is in the cache, and the memo is empty.
        app.send(generated.request(etag)).await;
        app.app.served().memo.clear();
        let without = observe(&app, &generated, etag).await;
        memoised += usize::from(app.app.served().memo.count() > 0);
        let with = observe(&app, &generated, etag).await;
        assert_eq!(with, without, "{setting}: {generated:?}");
    }
    memoised
}

#[tokio::test]
async fn a_request_is_answered_alike_with_the_memo_and_without_it() {
    for (setting, seed) in SETTINGS.into_iter().zip(1..) {
        let memoised = compare(setting, seed, 90).await;
        assert!(memoised >= 15, "{setting}: {memoised} of 90 requests were memoised");
    }
}
