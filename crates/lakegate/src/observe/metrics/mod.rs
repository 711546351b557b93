//! Metrics: counts events with the metrics of `prometheus-client`, and exposes them in the OpenMetrics format.
//!
//! Labels come from closed sets and from the project's endpoint names, so a caller cannot create one. All metrics are
//! atomic. The only lookup for a request is that of its endpoint's [`Series`], once and without a lock.

mod family;
mod histogram;
mod labelled;
mod scraped;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lakegate_core::error::CODES;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

pub use family::{FAMILIES, Family};
use histogram::Histogram;
use labelled::{Label, Labelled, OnDemand};
pub use scraped::Now;
use scraped::{ProcessCollector, Scraped, Whole};
use series::Families;
pub use series::Series;

use super::event::{CacheLookup, Event, Reload, RequestEnd};
use super::stage::STAGES;
use crate::audit::Outcome;

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    by_endpoint: Families,
    /// Counts requests that match no endpoint of the project.
    elsewhere: Series,
    endpoints: ArcSwap<BTreeMap<String, Arc<Series>>>,
    stages: [Histogram; STAGES.len()],
    outcomes: [Counter; Outcome::ALL.len()],
    refusals: OnDemand<1, Counter>,
    waiting: Whole,
    running: Whole,
    cache: [Counter; CacheLookup::ALL.len()],
    reloads: [Counter; Reload::ALL.len()],
    /// Successful and failed exports of spans.
    exports: [Counter; 2],
    scraped: Scraped,
}

impl Default for Metrics {
    fn default() -> Self {
        let (endpoint, scraped) = (Families::default(), Scraped::default());
        let (stage_family, stages) = Labelled::of_words("stage", STAGES.map(|stage| stage.name()));
        let (outcome_family, outcomes) = Labelled::of_words("outcome", Outcome::NAMES);
        let refusals = Labelled::default();
        let (waiting, running) = (Whole::default(), Whole::default());
        let (cache_family, cache) = Labelled::of_words("answer", CacheLookup::ALL.map(CacheLookup::name));
        let (reload_family, reloads) = Labelled::of_words("outcome", Reload::ALL.map(Reload::name));
        let (export_family, exports) = Labelled::of_words("outcome", ["good", "failed"]);

        // The registry writes the metrics in this order, and collectors after them.
        let mut page = Page::default();
        page.add(family::BUILD, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        page.add(family::UPTIME, scraped.uptime.clone());
        page.add(family::REQUESTS, endpoint.requests.clone());
        page.add(family::DURATION, endpoint.duration.clone());
        page.add(family::STAGE, stage_family);
        page.add(family::ENDPOINT_STAGE, endpoint.stages.clone());
        page.add(family::OUTCOMES, outcome_family);
        page.add(family::REFUSALS, Labelled::clone(&refusals));
        page.add(family::ROWS, endpoint.rows.clone());
        page.add(family::BYTES, endpoint.bytes.clone());
        page.add(family::SCANNED_ROWS, endpoint.scanned_rows.clone());
        page.add(family::SCANNED_BYTES, endpoint.scanned_bytes.clone());
        page.add(family::SPILLED_BYTES, endpoint.spilled_bytes.clone());
        page.add(family::SLOW, endpoint.slow.clone());
        page.add(family::WAITING, waiting.clone());
        page.add(family::RUNNING, running.clone());
        page.add(family::RESERVED, scraped.reserved_bytes.clone());
        page.add(family::HOT, scraped.hot_bytes.clone());
        page.add(family::PREPARED_REFUSED, scraped.refused_plans.clone());
        page.add(family::CACHE, cache_family);
        page.add(family::RELOADS, reload_family);
        page.add(family::AUDIT_WAITING, scraped.audit_waiting.clone());
        page.add(family::AUDIT_LOST, scraped.audit_lost.clone());
        page.add(family::TRACE_EXPORTS, export_family);
        page.0.register_collector(Box::new(ProcessCollector));

        Self {
            registry: page.0,
            elsewhere: endpoint.series(""),
            by_endpoint: endpoint,
            endpoints: ArcSwap::default(),
            stages,
            outcomes,
            refusals: OnDemand::new(&refusals, CODES.len()),
            waiting,
            running,
            cache,
            reloads,
            exports,
            scraped,
        }
    }
}

/// A registry that takes names and help texts from the table of families.
#[derive(Default)]
struct Page(Registry);

impl Page {
    fn add(&mut self, Family { name, help, .. }: Family, metric: impl Metric) {
        self.0.register(name, help, metric);
    }
}

impl Metrics {
    pub(super) fn notice(&self, event: &Event<'_>) {
        match event {
            Event::RequestEnded(ended) => self.count(ended),
            // Metrics do not count this event; the log and the audit log record it.
            Event::AllRowsSeen { .. } => {}
            Event::QueryQueued => _ = self.waiting.inc(),
            Event::QueryDequeued => _ = self.waiting.dec(),
            Event::QueryStarted => _ = self.running.inc(),
            Event::QueryFinished => _ = self.running.dec(),
            Event::CacheLookedUp(answer) => _ = self.cache[*answer as usize].inc(),
            Event::Reloaded(reload) => _ = self.reloads[*reload as usize].inc(),
        }
    }

    /// The counters of an endpoint. They remain when a later project drops the endpoint, because a counter never
    /// decreases.
    pub(super) fn endpoint(&self, name: &str) -> Arc<Series> {
        if let Some(series) = self.endpoints.load().get(name) {
            return Arc::clone(series);
        }
        let new = Arc::new(self.by_endpoint.series(name));
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
        self.exports[usize::from(!good)].inc();
    }

    fn count(&self, ended: &RequestEnd<'_>) {
        ended.endpoint.unwrap_or(&self.elsewhere).count(ended);
        self.outcomes[ended.outcome as usize].inc();
        if let Some(code) = ended.code
            && let Some(count) =
                self.refusals.get(code as usize, || [("code", Label::Word(code as usize, code.name()))])
        {
            count.inc();
        }
        for (histogram, stage) in self.stages.iter().zip(STAGES) {
            if let Some(taken) = ended.stages.times(stage) {
                histogram.observe(taken.busy);
            }
        }
    }

    /// The text of one scrape.
    pub(super) fn exposition(&self, now: Now) -> String {
        self.scraped.set(now);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
