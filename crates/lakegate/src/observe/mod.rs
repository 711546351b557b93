//! Observability for operators: the log, metrics and traces.
//!
//! Stages emit events of one closed type, [`Event`], and the listeners here act on them. Each request has a [`RequestTimer`],
//! which times its stages and emits one event when it ends. Nothing here decides anything about a request, and no
//! caller's data (name, argument or value) goes into metrics or traces. The audit log is in [`crate::audit`].

mod event;
mod lines;
mod logger;
mod metrics;
pub mod output;
mod process;
pub mod request_line;
mod stage;
mod timer;
mod traces;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method};

pub use event::{CacheLookup, Event, Reload, RequestEnd};
pub use metrics::{FAMILIES, Family, Metrics, Now, Series};
pub use stage::{STAGES, Stage, Stages};
pub use timer::{RequestStart, RequestTimer};

use crate::app::{App, Served};
use traces::Tracing;

/// All event listeners. Created once for a server, and shared by all requests.
pub struct Observer {
    metrics: Arc<Metrics>,
    /// `None` if the project sends no traces.
    tracing: Option<Tracing>,
    started: Instant,
}

impl Observer {
    /// Starts the listeners that the project configures.
    pub fn start(config: &lakegate_core::project::Observe) -> Arc<Self> {
        let metrics = Arc::new(Metrics::default());
        let tracing = config.traces.as_ref().and_then(|traces| {
            let started = Tracing::start(traces, Arc::clone(&metrics));
            started.inspect_err(|error| tracing::error!(error = %format!("{error:#}"), "no traces are sent")).ok()
        });
        Arc::new(Self { metrics, tracing, started: Instant::now() })
    }

    /// Passes an event to all listeners.
    pub fn notice(&self, event: &Event<'_>) {
        self.metrics.notice(event);
        logger::notice(event);
        if let Some(tracing) = &self.tracing {
            tracing.notice(event);
        }
    }

    /// The counters of an endpoint of the project.
    pub fn endpoint(&self, name: &str) -> Arc<Series> {
        self.metrics.endpoint(name)
    }

    /// Begins to observe a request.
    pub fn begin(self: &Arc<Self>, served: &Arc<Served>, start: RequestStart, headers: &HeaderMap) -> RequestTimer {
        let trace = self.tracing.as_ref().map(|tracing| tracing.begin(headers));
        RequestTimer::begin(Arc::clone(self), Arc::clone(served), start, trace)
    }

    /// The metrics as text for Prometheus, in the OpenMetrics format.
    pub fn exposition(&self, app: &App, served: &Served) -> String {
        let audit = app.audit.load();
        let now = Now {
            uptime: self.started.elapsed(),
            hot_bytes: served.project.hot_bytes() as u64,
            reserved_bytes: served.project.memory_reserved() as u64,
            refused_plans: lakegate_query::govern::refused_prepared_plans(),
            audit_waiting: audit.waiting,
            audit_lost: audit.lost,
        };
        self.metrics.exposition(now)
    }

    /// Sends the queued spans at shutdown.
    pub async fn shutdown(&self) {
        if let Some(tracing) = &self.tracing {
            tracing.shutdown().await;
        }
    }
}

/// Milliseconds, rounded to the microsecond, for logs and audit records.
pub(crate) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The method for logs and traces. An unknown method becomes `_OTHER`, because a caller can invent any.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}
