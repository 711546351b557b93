//! A lock-free histogram of durations: a counter for each bucket, and the sum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// The number of durations in each bucket, and their sum.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// A copy of a histogram's values.
pub(super) struct Counted {
    /// The sum, in seconds.
    pub(super) sum: f64,
    /// The number of durations.
    pub(super) count: u64,
    /// The upper bound of each bucket in seconds, and the number of durations in it.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // A duration equal to a bound belongs to the bucket below it.
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn counted(&self) -> Counted {
        let bounds = BOUNDS.iter().map(|nanos| seconds(*nanos)).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets = bounds.zip(counts).collect::<Vec<_>>();
        // Sum the buckets, so that the count agrees with them despite concurrent updates.
        let count = buckets.iter().map(|(_, count)| count).sum();
        Counted { sum: seconds(self.nanos.load(Ordering::Relaxed)), count, buckets }
    }
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
