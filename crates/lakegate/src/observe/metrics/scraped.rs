//! Values that are read at each scrape instead of being counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::family::{self, Family};
use crate::observe::process;

/// The values of one scrape.
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
}

/// A gauge of whole numbers.
pub(super) type Whole = Gauge<u64, AtomicU64>;

/// The metrics of these values.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    pub(super) uptime: Gauge<f64, AtomicU64>,
    pub(super) hot_bytes: Whole,
    pub(super) reserved_bytes: Whole,
    pub(super) refused_plans: Counter,
    pub(super) audit_waiting: Whole,
    pub(super) audit_lost: Counter,
}

impl Scraped {
    pub(super) fn set(&self, now: Now) {
        self.uptime.set(now.uptime.as_secs_f64());
        self.hot_bytes.set(now.hot_bytes);
        self.reserved_bytes.set(now.reserved_bytes);
        self.audit_waiting.set(now.audit_waiting);
        // A concurrent scrape may have stored a later value, and a counter never decreases.
        self.refused_plans.inner().fetch_max(now.refused_plans, Ordering::Relaxed);
        self.audit_lost.inner().fetch_max(now.audit_lost, Ordering::Relaxed);
    }
}

/// The metrics of the process; none, if the system does not report them.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(process) = process::read() else { return Ok(()) };
        let mut write = |Family { name, help, .. }: Family, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, &format!("{help}."), None, metric.metric_type())?)
        };
        write(family::MEMORY, &ConstGauge::new(process.resident_bytes))?;
        write(family::OPEN_FILES, &ConstGauge::new(process.open_files))?;
        write(family::CPU, &ConstCounter::new(process.cpu_seconds))
    }
}
