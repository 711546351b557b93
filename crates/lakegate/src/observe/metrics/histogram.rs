//! Metrics of durations: a lock-free histogram, and a counter of seconds.
//!
//! The library's `Histogram` locks a mutex for each observation. All requests share the histograms of the stages, so they
//! would wait for each other there; this one has an atomic counter for each bucket. Durations are added as nanoseconds,
//! because adding to a float takes a loop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::{self, Counter};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets, in nanoseconds: from 0.1 ms, the time of a cached response, to the usual time limit
/// of a query. One more bucket is above them.
const BOUNDS: [u64; 17] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// A histogram of durations. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram(Arc<Buckets>);

/// The number of durations in each bucket, and their sum.
#[derive(Debug, Default)]
struct Buckets {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // A duration equal to a bound belongs to the bucket below it.
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = BOUNDS.iter().map(|nanos| seconds(*nanos)).chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets = bounds.zip(counts).collect::<Vec<_>>();
        // Sum the buckets, so that the count agrees with them despite concurrent updates.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.0.nanos.load(Ordering::Relaxed)), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A counter of seconds.
pub(super) type Seconds = Counter<f64, Nanos>;

/// The nanoseconds of a counter of seconds.
#[derive(Debug, Default)]
pub(super) struct Nanos(AtomicU64);

impl Nanos {
    pub(super) fn add(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(0), Ordering::Relaxed);
    }
}

impl counter::Atomic<f64> for Nanos {
    fn inc(&self) -> f64 {
        self.inc_by(1.0)
    }

    fn inc_by(&self, more: f64) -> f64 {
        seconds(self.0.fetch_add((more * 1e9) as u64, Ordering::Relaxed))
    }

    fn get(&self) -> f64 {
        seconds(self.0.load(Ordering::Relaxed))
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
