//! Traces: what a collector receives, and that a caller controls only the trace that a request belongs to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use axum::routing::post;
use lakegate::observe::STAGES;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::app::{Answer, TestApp};
use crate::support::canary_project::{CANARIES, many, notes};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// An in-process collector that keeps the bodies it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Starts a collector, and returns the project section that exports traces to it.
    async fn start(more: &str) -> (Self, String) {
        let collector = Self::default();
        let take = |State(collector): State<Self>, headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            collector.0.lock().unwrap().push(body);
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, format!("\n[observe.traces]\nendpoint = \"http://{address}/v1/traces\"\n{more}\n"))
    }

    /// All spans, after the exporter is shut down.
    async fn spans(&self, app: &TestApp) -> Vec<Span> {
        app.app.observer.shutdown().await;
        let bodies = self.0.lock().unwrap();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.as_ref()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().concat()
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(span: &Span, key: &str) -> String {
    match attribute(&span.attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    match attribute(&span.attributes, key) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key}: {other:?}"),
    }
}

async fn get(app: &TestApp, token: &str, path: &str, traceparent: &[&str]) -> Answer {
    let mut request = Request::get(path).header("token", token);
    for header in traceparent {
        request = request.header("traceparent", *header);
    }
    app.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_with_one_for_each_stage_in_the_trace_of_its_caller() {
    let (collector, section) = Collector::start("service_name = \"lake-of-the-test\"").await;
    let (app, token) = notes(&section).await;
    let answer = get(&app, &token, "/api/notes?word=canary-argument", &[&format!("00-{TRACE}-{CALLER}-01")]).await;
    assert_eq!(answer.rows().len(), 2);
    let spans = collector.spans(&app).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let root = spans.iter().find(|span| span.name == "GET notes").unwrap();
    assert_eq!(hex(&root.parent_span_id), CALLER);
    assert_eq!(text(root, "lakegate.endpoint"), "notes");
    assert_eq!(text(root, "lakegate.request_id"), answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!(text(root, "lakegate.outcome"), "answered");
    assert_eq!(number(root, "http.response.status_code"), 200);
    assert_eq!(number(root, "lakegate.rows"), 2);
    // The response names the span of the request.
    let told = answer.headers["traceresponse"].to_str().unwrap();
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&root.span_id)));
    // All stages except `stream`, which a short response does not reach.
    let stages = STAGES.iter().map(|stage| stage.name()).filter(|name| *name != "stream" || names(&spans, "stream"));
    for stage in stages {
        let span = spans.iter().find(|span| span.name == stage).unwrap_or_else(|| panic!("{stage}"));
        assert_eq!(span.parent_span_id, root.span_id, "{stage}");
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{stage}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{stage}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{stage}");
    }
    let bytes = collector.bytes();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("lake-of-the-test"));
    for canary in CANARIES {
        assert!(!holds(canary), "{canary}");
    }
    for word in ["SELECT", "tenant", "note.csv", token.as_str()] {
        assert!(!holds(word), "{word}");
    }
}

fn names(spans: &[Span], name: &str) -> bool {
    spans.iter().any(|span| span.name == name)
}

/// The trace of a refused request contains no caller input: no path, method, name or token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_has_its_code_and_nothing_that_the_caller_made_up() {
    let (collector, section) = Collector::start("").await;
    let (app, token) = notes(&section).await;
    assert_eq!(get(&app, &token, "/api/canary-name", &[]).await.status, 404);
    assert_eq!(get(&app, &token, "/api/notes?canary-name=canary-argument", &[]).await.status, 400);
    assert_eq!(get(&app, "lg_canary-caller", "/api/notes", &[]).await.status, 401);
    let odd = Request::builder().method("CANARY-NAME").uri("/canary-name").body(Body::empty()).unwrap();
    app.send(odd).await;
    let spans = collector.spans(&app).await;
    let mut roots = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect::<Vec<_>>();
    roots.sort_by_key(|span| span.start_time_unix_nano);
    let told = roots.iter().map(|span| (span.name.as_str(), text(span, "error.type"))).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("GET", "endpoint_unknown".to_owned()),
            ("GET notes", "arguments_invalid".to_owned()),
            ("GET notes", "access_token_unknown".to_owned()),
            ("_OTHER", "request_path_unknown".to_owned()),
        ]
    );
    let bytes = String::from_utf8_lossy(&collector.bytes()).to_lowercase();
    assert!(!bytes.contains("canary"), "{bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_can_have_less_traced_and_not_more() {
    // The header, the project's sampling ratio, and whether the request is traced.
    let good = format!("00-{TRACE}-{CALLER}-01");
    let low = format!("00-{:032x}-{CALLER}-01", 1);
    for (headers, ratio, traced) in [
        (&[good.as_str()][..], "1", true),
        (&[], "1", true),
        (&[&good.replace("-01", "-00")], "1", false),
        (&[&good], "0", false),
        (&[&low], "0", false),
        (&[], "0.0", false),
    ] {
        let (collector, section) = Collector::start(&format!("sample_ratio = {ratio}")).await;
        let (app, token) = notes(&section).await;
        let answer = get(&app, &token, "/api/notes", headers).await;
        assert_eq!(answer.status, 200);
        let flag = if traced { "-01" } else { "-00" };
        assert!(answer.headers["traceresponse"].to_str().unwrap().ends_with(flag), "{headers:?} {ratio}");
        assert_eq!(!collector.spans(&app).await.is_empty(), traced, "{headers:?} {ratio}");
    }
}

/// A malformed or repeated header is ignored, so the request starts a new trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_header_is_as_if_it_had_not_come() {
    let (collector, section) = Collector::start("").await;
    let (app, token) = notes(&section).await;
    let good = format!("00-{TRACE}-{CALLER}-01");
    let upper = good.to_uppercase();
    for headers in [&["canary-argument"][..], &[&upper], &[&good, &good]] {
        assert_eq!(get(&app, &token, "/api/notes", headers).await.status, 200);
    }
    let spans = collector.spans(&app).await;
    let roots = spans.iter().filter(|span| span.name == "GET notes").collect::<Vec<_>>();
    assert_eq!(roots.len(), 3);
    for root in roots {
        assert!(root.parent_span_id.is_empty() && hex(&root.trace_id) != TRACE, "{root:?}");
        assert_eq!(root.trace_id.len(), 16);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_pieces_is_one_span_to_its_end() {
    let (collector, section) = Collector::start("").await;
    let (app, token) = many(&section).await;
    assert_eq!(get(&app, &token, "/api/many?most=5", &[]).await.rows().len(), 50_000);
    let spans = collector.spans(&app).await;
    let root = spans.iter().find(|span| span.name == "GET many").unwrap();
    assert_eq!(number(root, "lakegate.rows"), 50_000);
    assert!(names(&spans, "stream") && names(&spans, "encode"));
}

/// Requests do not wait for a collector that is unavailable or refuses data, and lost spans are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_nothing_to_a_caller() {
    // A free port without a listener.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let section = format!("\n[observe.traces]\nendpoint = \"http://{nobody}/v1/traces\"\n");
    let (app, token) = notes(&section).await;
    let admin = app.admin_token("ada").await;
    for _ in 0..20 {
        assert_eq!(get(&app, &token, "/api/notes", &[]).await.status, 200);
    }
    app.app.observer.shutdown().await;
    let metrics = app.admin(&admin, "GET", "/metrics", serde_json::Value::Null).await;
    let failed =
        metrics.text().lines().find(|line| line.starts_with("lakegate_trace_exports_total{outcome=\"failed\"}"));
    let failed = failed.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(failed >= 1.0, "{failed}");
    // Also after the shutdown.
    assert_eq!(get(&app, &token, "/api/notes", &[]).await.status, 200);
}

#[tokio::test]
async fn without_traces_nothing_is_told_of_them() {
    let (app, token) = notes("").await;
    let answer = get(&app, &token, "/api/notes", &[&format!("00-{TRACE}-{CALLER}-01")]).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("traceresponse"));
}
