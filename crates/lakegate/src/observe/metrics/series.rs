//! The metrics of endpoints: a family for each metric, and a clone of an endpoint's series in all of them, which its
//! requests count with.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::histogram::{Histogram, Seconds};
use super::labelled::{Label, Labelled, Labels, OnDemand};
use crate::observe::event::RequestEnd;
use crate::observe::stage::STAGES;

/// The HTTP statuses that are counted: 100 to 599.
const STATUSES: usize = 500;
/// The lowest of them.
const FIRST_STATUS: usize = 100;

/// The families with a series for each endpoint.
#[derive(Debug, Default)]
pub(super) struct Families {
    pub(super) requests: Labelled<2, Counter>,
    pub(super) duration: Labelled<1, Histogram>,
    pub(super) stages: Labelled<2, Seconds>,
    pub(super) rows: Labelled<1, Counter>,
    pub(super) bytes: Labelled<1, Counter>,
    pub(super) scanned_rows: Labelled<1, Counter>,
    pub(super) scanned_bytes: Labelled<1, Counter>,
    pub(super) spilled_bytes: Labelled<1, Counter>,
    pub(super) slow: Labelled<1, Counter>,
}

/// The counters of one endpoint.
#[derive(Debug)]
pub struct Series {
    /// The endpoint's name; empty for requests that match none.
    name: Arc<str>,
    by_status: OnDemand<2, Counter>,
    duration: Histogram,
    stages: OnDemand<2, Seconds>,
    rows: Counter,
    bytes: Counter,
    scanned_rows: Counter,
    scanned_bytes: Counter,
    spilled_bytes: Counter,
    slow: Counter,
}

impl Families {
    /// The counters of an endpoint.
    pub(super) fn series(&self, name: &str) -> Series {
        let name = Arc::<str>::from(name);
        let labels = || [("endpoint", Label::Endpoint(Arc::clone(&name)))];
        let counter = |family: &Labelled<1, Counter>| family.get_or_create(labels());
        Series {
            by_status: OnDemand::new(&self.requests, STATUSES),
            duration: self.duration.get_or_create(labels()),
            stages: OnDemand::new(&self.stages, STAGES.len()),
            rows: counter(&self.rows),
            bytes: counter(&self.bytes),
            scanned_rows: counter(&self.scanned_rows),
            scanned_bytes: counter(&self.scanned_bytes),
            spilled_bytes: counter(&self.spilled_bytes),
            slow: counter(&self.slow),
            name,
        }
    }
}

impl Series {
    /// The endpoint's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request.
    pub(super) fn count(&self, ended: &RequestEnd<'_>) {
        let status = ended.status.and_then(|status| usize::from(status).checked_sub(FIRST_STATUS));
        if let Some(at) = status
            && let Some(count) = self.by_status.get(at, || self.labels(("status", Label::Status(at + FIRST_STATUS))))
        {
            count.inc();
        }
        self.duration.observe(ended.duration);
        self.rows.inc_by(ended.rows);
        self.bytes.inc_by(ended.bytes);
        for (at, stage) in STAGES.into_iter().enumerate() {
            if let Some(taken) = ended.stages.times(stage).filter(|taken| !taken.busy.is_zero())
                && let Some(seconds) = self.stages.get(at, || self.labels(("stage", Label::Word(at, stage.name()))))
            {
                seconds.inner().add(taken.busy);
            }
        }
        if let Some(query) = &ended.query {
            self.scanned_rows.inc_by(query.scanned_rows);
            self.scanned_bytes.inc_by(query.scanned_bytes);
            self.spilled_bytes.inc_by(query.spilled_bytes);
        }
        if ended.slow.is_some() {
            self.slow.inc();
        }
    }

    fn labels(&self, other: (&'static str, Label)) -> Labels<2> {
        [("endpoint", Label::Endpoint(Arc::clone(&self.name))), other]
    }
}
