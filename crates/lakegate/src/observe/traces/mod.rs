//! Builds the spans of a request from its stage times when it ends, and sends them to a collector.
//!
//! Spans are built explicitly and not from what libraries log, so they hold nothing but what this file puts in.
//! Requests that are not sampled have no spans. Spans that the collector does not accept in time are dropped.

mod collector;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use lakegate_core::project::Traces;
use lakegate_core::trace::TraceParent;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::event::{Event, RequestEnd};
use super::metrics::Metrics;
use super::stage::STAGES;
use crate::audit::Outcome;
use collector::Collector;

const TRACEPARENT: &str = "traceparent";

/// Builds spans of requests and sends them.
pub(super) struct Tracing {
    collector: Arc<Collector>,
    /// The number of traced requests in 2^32.
    sampled: u64,
    scope: InstrumentationScope,
}

/// The position of a request in a trace.
#[derive(Debug)]
pub struct Trace {
    /// The span of the request.
    span: TraceParent,
    /// The caller's span id; zero if there is none.
    parent: [u8; 8],
    /// The start of the request as wall-clock time.
    begun: SystemTime,
}

impl Trace {
    /// The trace id.
    pub fn id(&self) -> tracing::field::DisplayValue<TraceId> {
        tracing::field::display(TraceId::from_bytes(self.span.trace_id))
    }

    /// The `traceresponse` header: the trace and the span of the request.
    pub(super) fn response(&self) -> String {
        self.span.to_string()
    }
}

impl Tracing {
    /// Starts the collector.
    pub(super) fn start(config: &Traces, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let collector = Arc::new(Collector::start(config, metrics)?);
        let sampled = (config.sample_ratio * 2f64.powi(32)).round() as u64;
        let scope = InstrumentationScope::builder("lakegate").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { collector, sampled, scope })
    }

    /// Creates the trace of a request. If the caller does not sample, neither does the server; otherwise the project's
    /// ratio applies. A random number decides and not the trace id, because the caller could choose that.
    pub(super) fn begin(&self, headers: &HeaderMap) -> Trace {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let caller = match (values.next(), values.next()) {
            (Some(header), None) => TraceParent::parse(header.as_bytes()),
            _ => None,
        };
        let trace_id = caller.map_or_else(random, |caller| caller.trace_id);
        let may = caller.is_none_or(|caller| caller.sampled);
        let sampled = may && u64::from(u32::from_ne_bytes(random())) < self.sampled;
        let parent = caller.map_or([0; 8], |caller| caller.span_id);
        Trace { span: TraceParent { trace_id, span_id: random(), sampled }, parent, begun: crate::clock::now().into() }
    }

    pub(super) fn notice(&self, event: &Event<'_>) {
        let Event::RequestEnded(ended) = event else { return };
        let Some(trace) = ended.trace.filter(|trace| trace.span.sampled) else { return };
        self.collector.queue(self.request(trace, ended));
        for stage in STAGES {
            let Some(times) = ended.stages.times(stage) else { continue };
            let mut span = self.span(trace, stage.name().into());
            span.span_context = context(trace, random());
            span.parent_span_id = SpanId::from_bytes(trace.span.span_id);
            span.start_time = trace.begun + times.start;
            span.end_time = trace.begun + times.end;
            span.attributes = vec![KeyValue::new("lakegate.busy_ms", times.busy.as_secs_f64() * 1e3)];
            self.collector.queue(span);
        }
    }

    /// Builds the span of a whole request.
    fn request(&self, trace: &Trace, ended: &RequestEnd<'_>) -> SpanData {
        let endpoint = ended.endpoint.map(|endpoint| endpoint.name().to_owned());
        let name = match &endpoint {
            Some(endpoint) => format!("{} {endpoint}", ended.method).into(),
            None => Cow::Borrowed(ended.method),
        };
        let mut attributes = vec![
            KeyValue::new("http.request.method", ended.method),
            KeyValue::new("lakegate.request_id", ended.request_id.to_owned()),
            KeyValue::new("lakegate.outcome", ended.outcome.name()),
            KeyValue::new("lakegate.rows", number(ended.rows)),
            KeyValue::new("http.response.body.size", number(ended.bytes)),
        ];
        attributes.extend(ended.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        attributes.extend(endpoint.map(|endpoint| KeyValue::new("lakegate.endpoint", endpoint)));
        attributes.extend(ended.code.map(|code| KeyValue::new("error.type", code.name())));
        if let Some(query) = ended.query {
            attributes.push(KeyValue::new("lakegate.scanned_rows", number(query.scanned_rows)));
            attributes.push(KeyValue::new("lakegate.scanned_bytes", number(query.scanned_bytes)));
        }
        let mut span = self.span(trace, name);
        span.span_kind = SpanKind::Server;
        span.parent_span_id = SpanId::from_bytes(trace.parent);
        span.parent_span_is_remote = trace.parent != [0; 8];
        span.end_time = trace.begun + ended.duration;
        span.attributes = attributes;
        if matches!(ended.outcome, Outcome::Failed | Outcome::Cut) {
            span.status = Status::error(ended.code.map_or("", |code| code.name()));
        }
        span
    }

    fn span(&self, trace: &Trace, name: Cow<'static, str>) -> SpanData {
        SpanData {
            span_context: context(trace, trace.span.span_id),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name,
            start_time: trace.begun,
            end_time: trace.begun,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    /// Sends the queued spans at shutdown, within [`SHUTDOWN_TIMEOUT`].
    pub(super) async fn shutdown(&self) {
        let collector = Arc::clone(&self.collector);
        // The shutdown blocks its thread while it waits for the collector.
        let _ = tokio::task::spawn_blocking(move || collector.shutdown(SHUTDOWN_TIMEOUT)).await;
    }
}

/// The time that a shutdown waits for the last spans.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn context(trace: &Trace, span_id: [u8; 8]) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.span.trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    )
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Random bytes. Without a random source they are constant, which only omits or merges traces.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0xff; N];
    let _ = getrandom::fill(&mut bytes);
    bytes
}
