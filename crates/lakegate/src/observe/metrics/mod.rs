//! Metrics: counts events, and exposes the counters to Prometheus.
//!
//! Labels come from closed sets and from the project's endpoint names, so a caller cannot create one. All counters are
//! atomic. The only lookup for a request is that of its endpoint, once and without a lock.

mod exposition;
mod family;
mod histogram;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lakegate_core::error::CODES;

pub(super) use exposition::exposition;
pub use family::{FAMILIES, Family};
use histogram::Histogram;

use super::event::{CacheAnswer, Event, Reload, RequestEnd};
use super::process::Process;
use super::stage::STAGES;
use crate::audit::Outcome;

/// The number of HTTP statuses, 100 to 599.
const STATUSES: usize = 500;

/// All counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Counts requests that match no endpoint of the project.
    elsewhere: Series,
    endpoints: ArcSwap<BTreeMap<String, Arc<Series>>>,
    stages: [Histogram; STAGES.len()],
    outcomes: [AtomicU64; Outcome::ALL.len()],
    refusals: Refusals,
    waiting: AtomicU64,
    running: AtomicU64,
    cache: [AtomicU64; CacheAnswer::ALL.len()],
    reloads: [AtomicU64; Reload::ALL.len()],
    exports_good: AtomicU64,
    exports_failed: AtomicU64,
}

/// The counters of one endpoint.
#[derive(Debug)]
pub struct Series {
    /// The endpoint's name; empty for requests that match none.
    name: String,
    by_status: Box<[AtomicU64]>,
    duration: Histogram,
    stage_nanos: [AtomicU64; STAGES.len()],
    rows: AtomicU64,
    bytes: AtomicU64,
    scanned_rows: AtomicU64,
    scanned_bytes: AtomicU64,
    spilled_bytes: AtomicU64,
    slow: AtomicU64,
}

/// Refusals by code.
#[derive(Debug)]
struct Refusals(Box<[AtomicU64]>);

/// Values that are read at each scrape instead of being counted.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time since the server started.
    pub uptime: Duration,
    /// Bytes held by resident tables (the block cache).
    pub hot_bytes: u64,
    /// Bytes that running queries have reserved.
    pub reserved_bytes: u64,
    /// Prepared plans that did not carry their policies and were not used.
    pub refused_plans: u64,
    /// Audit records that wait to be written to disk.
    pub audit_waiting: u64,
    /// Audit records that could not be written to disk.
    pub audit_lost: u64,
    /// The process, if the system reports it.
    pub process: Option<Process>,
}

impl Metrics {
    pub(super) fn notice(&self, event: &Event<'_>) {
        match event {
            Event::RequestEnded(ended) => self.count(ended),
            // Metrics do not count this event; the log and the audit log record it.
            Event::AllRowsSeen { .. } => {}
            Event::QueryWaits => add(&self.waiting, 1),
            Event::QueryWaitsNoMore => subtract(&self.waiting),
            Event::QueryRuns => add(&self.running, 1),
            Event::QueryRunsNoMore => subtract(&self.running),
            Event::CacheAsked(answer) => add(&self.cache[*answer as usize], 1),
            Event::Reloaded(reload) => add(&self.reloads[*reload as usize], 1),
        }
    }

    /// The counters of an endpoint. They remain when a later project drops the endpoint, because a counter never
    /// decreases.
    pub(super) fn endpoint(&self, name: &str) -> Arc<Series> {
        if let Some(series) = self.endpoints.load().get(name) {
            return Arc::clone(series);
        }
        let new = Arc::new(Series::named(name));
        let mut found = Arc::clone(&new);
        self.endpoints.rcu(|known| {
            let mut endpoints = BTreeMap::clone(known);
            found = Arc::clone(endpoints.entry(name.to_owned()).or_insert_with(|| Arc::clone(&new)));
            endpoints
        });
        found
    }

    /// Counts an export of spans, successful or not.
    pub(super) fn exported(&self, good: bool) {
        add(if good { &self.exports_good } else { &self.exports_failed }, 1);
    }

    fn count(&self, ended: &RequestEnd<'_>) {
        let series = ended.endpoint.unwrap_or(&self.elsewhere);
        if let Some(count) = ended.status.and_then(|status| series.by_status.get(usize::from(status).checked_sub(100)?))
        {
            add(count, 1);
        }
        add(&self.outcomes[ended.outcome as usize], 1);
        if let Some(code) = ended.code {
            add(&self.refusals.0[code as usize], 1);
        }
        series.duration.observe(ended.duration);
        add(&series.rows, ended.rows);
        add(&series.bytes, ended.bytes);
        for (at, stage) in STAGES.into_iter().enumerate() {
            if let Some(taken) = ended.stages.taken(stage) {
                self.stages[at].observe(taken.busy);
                add(&series.stage_nanos[at], u64::try_from(taken.busy.as_nanos()).unwrap_or(0));
            }
        }
        if let Some(query) = &ended.query {
            add(&series.scanned_rows, query.scanned_rows);
            add(&series.scanned_bytes, query.scanned_bytes);
            add(&series.spilled_bytes, query.spilled_bytes);
        }
        if ended.slow.is_some() {
            add(&series.slow, 1);
        }
    }

    /// The counters of all endpoints, by name.
    fn series(&self) -> Vec<Arc<Series>> {
        self.endpoints.load().values().map(Arc::clone).collect()
    }
}

impl Series {
    /// Counters at zero.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            by_status: counters(STATUSES),
            duration: Histogram::default(),
            stage_nanos: Default::default(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            scanned_rows: AtomicU64::new(0),
            scanned_bytes: AtomicU64::new(0),
            spilled_bytes: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }

    /// The endpoint's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::named("")
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self(counters(CODES.len()))
    }
}

fn counters(count: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(count).collect()
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn subtract(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}
