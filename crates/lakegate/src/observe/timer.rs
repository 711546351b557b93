//! The timer of a request: records its stage times and results, and emits one event when it ends.
//!
//! All clones share one timer. If the last clone is dropped before the request has ended, the caller has disconnected.
//! Frequently written fields are atomic, so that requests do not wait for each other.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue, Method};
use lakegate_core::access::Principal;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Observe;
use lakegate_query::engine::{BatchStream, Engine, Limits, Meter, QueryStatistics};
use lakegate_query::govern::{GovernedPlan, PlanOutline};

use super::event::{Event, RequestEnd, SlowQuery};
use super::metrics::Series;
use super::stage::{STAGES, Stage, Stages};
use super::traces::Trace;
use super::{Observer, method_name};
use crate::app::Served;
use crate::audit::Outcome;
use crate::request_id::RequestId;

/// The maximum size of a plan in the log, in bytes.
const PLAN: usize = 4_096;

/// The timer of a request, or a no-op.
#[derive(Clone, Default)]
pub struct RequestTimer(Option<Arc<Inner>>);

/// The properties of a new request.
pub struct RequestStart {
    /// The request id.
    pub request_id: RequestId,
    /// The HTTP method.
    pub method: Method,
    /// The path, in the form that may be logged.
    pub path: String,
}

struct Inner {
    observer: Arc<Observer>,
    served: Arc<Served>,
    start: RequestStart,
    stages: Stages,
    endpoint: OnceLock<Arc<Series>>,
    /// Statistics of all its queries; a page with a total row count runs two.
    query: Mutex<Option<QueryStatistics>>,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// 0 until the response starts.
    status: AtomicU16,
    streams: AtomicBool,
    has_ended: AtomicBool,
    sends_timing: AtomicBool,
    has_reported_all_rows: AtomicBool,
    /// Filled only if slow queries are logged.
    details: Mutex<Details>,
    trace: Option<Trace>,
}

#[derive(Default)]
struct Details {
    principal: String,
    policy: Option<String>,
    outline: Option<PlanOutline>,
}

impl RequestTimer {
    pub(super) fn begin(
        observer: Arc<Observer>,
        served: Arc<Served>,
        start: RequestStart,
        trace: Option<Trace>,
    ) -> Self {
        Self(Some(Arc::new(Inner {
            observer,
            served,
            start,
            stages: Stages::begin(),
            endpoint: OnceLock::new(),
            query: Mutex::default(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            status: AtomicU16::new(0),
            streams: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            sends_timing: AtomicBool::new(false),
            has_reported_all_rows: AtomicBool::new(false),
            details: Mutex::default(),
            trace,
        })))
    }

    /// Records the endpoint that the request names. Only a name of the project is kept, and a hidden endpoint only
    /// after it was granted, so that invented names go nowhere.
    pub fn endpoint_named(&self, endpoint: &str) {
        let Some(inner) = &self.0 else { return };
        if inner.served.project.find(endpoint).is_some_and(|planned| !planned.endpoint().hidden) {
            inner.is_for(endpoint);
        }
    }

    /// Starts the next sequential stage.
    pub fn start_stage(&self) {
        if let Some(inner) = &self.0 {
            inner.stages.start_next();
        }
    }

    /// Ends a stage that began when the previous one ended.
    pub fn end_stage(&self, stage: Stage) {
        if let Some(inner) = &self.0 {
            inner.stages.end(stage);
        }
    }

    /// Records the caller.
    pub fn authenticated(&self, principal: &Principal) {
        let Some(inner) = &self.0 else { return };
        let observe = &inner.served.config().observe;
        if sends_timing(observe, principal) {
            inner.sends_timing.store(true, Ordering::Relaxed);
        }
        if observe.slow_query.is_some() {
            principal.name().clone_into(&mut inner.details().principal);
        }
    }

    /// Records that the caller may call this endpoint of the project.
    pub fn granted(&self, endpoint: &str) {
        if let Some(inner) = &self.0 {
            inner.stages.end(Stage::Authorize);
            inner.is_for(endpoint);
        }
    }

    /// Records the governed plan. `policy` returns its fingerprint if that may be logged.
    pub fn governed(&self, outline: impl FnOnce() -> PlanOutline, policy: impl FnOnce() -> Option<String>) {
        let Some(inner) = &self.0 else { return };
        inner.stages.end(Stage::Govern);
        if inner.served.config().observe.slow_query.is_some() {
            let mut details = inner.details();
            details.outline = Some(outline());
            details.policy = policy();
        }
    }

    /// Reports once for each request that the caller sees every row of some tables, because of a role.
    pub fn all_rows_seen(&self, principal: &Principal, tables: &[String]) {
        let Some(inner) = self.0.as_ref().filter(|_| !tables.is_empty()) else { return };
        if inner.has_reported_all_rows.swap(true, Ordering::Relaxed) {
            return;
        }
        inner.observer.notice(&Event::AllRowsSeen {
            request_id: inner.start.request_id.text(),
            principal: principal.name(),
            endpoint: inner.endpoint.get().map_or("", |endpoint| endpoint.name()),
            tables,
        });
    }

    /// Wraps an engine so that this timer observes its queries.
    pub fn timed<'a>(&self, engine: &'a dyn Engine) -> TimedEngine<'a> {
        TimedEngine { engine, timer: self.clone() }
    }

    /// Runs a plan, and records the times of waiting, planning and running.
    ///
    /// # Errors
    /// Those of the engine.
    async fn run(&self, engine: &dyn Engine, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        let Some(inner) = &self.0 else { return engine.run(plan, limits).await };
        let waits = Counted::new(&inner.observer, Event::QueryQueued, Event::QueryDequeued);
        let begun = Instant::now();
        let ran = engine.run(plan, limits).await;
        let took = begun.elapsed();
        drop(waits);
        let planned = ran.as_ref().map_or(Duration::ZERO, BatchStream::planned);
        inner.stages.add_until(Stage::Queue, took.saturating_sub(planned), planned);
        let rows = ran?;
        inner.stages.add_now(Stage::Plan, planned);
        let running = Counted::new(&inner.observer, Event::QueryStarted, Event::QueryFinished);
        Ok(rows.metered(Arc::new(Running { inner: Arc::clone(inner), _running: running })))
    }

    /// Encodes rows, and adds the time to [`Stage::Encode`].
    pub fn encode<T>(&self, encode: impl FnOnce() -> T) -> T {
        let Some(inner) = &self.0 else { return encode() };
        let begun = Instant::now();
        let encoded = encode();
        inner.stages.add_now(Stage::Encode, begun.elapsed());
        encoded
    }

    /// Records what was handed to the connection.
    pub fn sent(&self, rows: u64, bytes: usize) {
        if let Some(inner) = &self.0 {
            inner.rows.fetch_add(rows, Ordering::Relaxed);
            inner.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Records that the response is streamed.
    pub fn streams(&self) {
        if let Some(inner) = &self.0 {
            inner.streams.store(true, Ordering::Relaxed);
        }
    }

    /// Records the start of the response. Ends the request, unless a body is still to be streamed.
    pub fn answered(&self, status: u16, error: Option<&Error>, bytes: Option<u64>, has_body: bool) {
        let Some(inner) = &self.0 else { return };
        inner.status.store(status, Ordering::Relaxed);
        if inner.streams.load(Ordering::Relaxed) && error.is_none() && has_body {
            return;
        }
        inner.bytes.store(bytes.filter(|_| has_body).unwrap_or(0), Ordering::Relaxed);
        if error.is_some() {
            inner.rows.store(0, Ordering::Relaxed);
        }
        inner.end(Outcome::from_status(status, error.is_some()), error.map(|error| error.code), error);
    }

    /// Ends the request after the last piece was sent.
    pub fn completed(&self) {
        if let Some(inner) = &self.0 {
            inner.end(Outcome::Answered, None, None);
        }
    }

    /// Ends the request because the response is cut.
    pub fn cut(&self, error: Option<&Error>) {
        if let Some(inner) = &self.0 {
            inner.end(Outcome::Cut, error.map(|error| error.code), error);
        }
    }

    /// Adds `server-timing` and `traceresponse`. Only callers with a configured role get `server-timing`, because times
    /// reveal data that a caller does not see.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        let Some(inner) = &self.0 else { return };
        if inner.sends_timing.load(Ordering::Relaxed)
            && let Ok(timing) = HeaderValue::from_str(&inner.server_timing())
        {
            headers.insert("server-timing", timing);
        }
        if let Some(trace) = &inner.trace
            && let Ok(response) = HeaderValue::from_str(&trace.response())
        {
            headers.insert("traceresponse", response);
        }
    }
}

/// Whether the caller gets `server-timing`.
fn sends_timing(observe: &Observe, principal: &Principal) -> bool {
    observe.server_timing_for.iter().any(|role| principal.has_role(role))
}

impl Inner {
    fn is_for(&self, endpoint: &str) {
        let _ = self.endpoint.get_or_init(|| self.observer.metrics.endpoint(endpoint));
    }

    fn details(&self) -> std::sync::MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server_timing(&self) -> String {
        let mut timing = String::with_capacity(256);
        for stage in STAGES {
            if let Some(times) = self.stages.times(stage) {
                timing += &format!("{};dur={:.3}, ", stage.name(), times.busy.as_secs_f64() * 1e3);
            }
        }
        timing += &format!("total;dur={:.3}", self.stages.begun().elapsed().as_secs_f64() * 1e3);
        timing
    }

    /// Emits the event, once.
    fn end(&self, outcome: Outcome, code: Option<Code>, error: Option<&Error>) {
        if self.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let status = self.status.load(Ordering::Relaxed);
        let busy = self.stages.busy();
        let mut details = None;
        if self.served.config().observe.slow_query.is_some_and(|slow| busy >= slow) {
            let kept = std::mem::take(&mut *self.details());
            details = kept.outline.map(|outline| (kept.principal, kept.policy, cut(outline.to_string())));
        }
        let slow = details.as_ref().map(|(principal, policy, plan)| SlowQuery {
            principal,
            policy: policy.as_deref(),
            plan,
            busy,
        });
        let ended = RequestEnd {
            request_id: self.start.request_id.text(),
            method: method_name(&self.start.method),
            path: &self.start.path,
            endpoint: self.endpoint.get().map(Arc::as_ref),
            outcome,
            status: (status != 0).then_some(status),
            code,
            error,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            query: *self.query.lock().unwrap_or_else(PoisonError::into_inner),
            stages: &self.stages,
            duration: self.stages.begun().elapsed(),
            slow,
            trace: self.trace.as_ref(),
        };
        self.observer.notice(&Event::RequestEnded(&ended));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled, None, None);
    }
}

/// An engine whose queries a request timer observes.
pub struct TimedEngine<'a> {
    engine: &'a dyn Engine,
    timer: RequestTimer,
}

#[async_trait]
impl Engine for TimedEngine<'_> {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        self.timer.run(self.engine, plan, limits).await
    }
}

/// A running query, which reports its progress to the timer.
struct Running {
    inner: Arc<Inner>,
    _running: Counted,
}

impl Meter for Running {
    fn first_rows(&self, waited: Duration) {
        self.inner.stages.add_now(Stage::FirstRow, waited);
    }

    fn ended(&self, statistics: QueryStatistics) {
        if !statistics.streamed.is_zero() {
            self.inner.stages.add_now(Stage::Stream, statistics.streamed);
        }
        let mut query = self.inner.query.lock().unwrap_or_else(PoisonError::into_inner);
        *query = Some(query.unwrap_or_default().and(statistics));
    }
}

/// Emits one event now and another when dropped.
struct Counted {
    observer: Arc<Observer>,
    last: Event<'static>,
}

impl Counted {
    fn new(observer: &Arc<Observer>, first: Event<'static>, last: Event<'static>) -> Self {
        observer.notice(&first);
        Self { observer: Arc::clone(observer), last }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.observer.notice(&self.last);
    }
}

/// Truncates a plan to [`PLAN`] bytes at a character boundary.
fn cut(mut plan: String) -> String {
    if plan.len() > PLAN {
        let end = (0..=PLAN).rev().find(|at| plan.is_char_boundary(*at)).unwrap_or(0);
        plan.truncate(end);
        plan.push('…');
    }
    plan
}
