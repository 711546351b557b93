//! Memory accounting: a pool for all queries, and a share of it for each. A query that exceeds its share spills if it
//! can, and fails otherwise; other queries are not affected.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use super::lenient::Lenient;

/// Cancels a query when nobody waits for it. Operators that compute for long without yielding request memory or
/// evaluate a join condition meanwhile; both check this and fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    nobody_waits: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// The prefix of errors of a query that exceeded its time limit.
const OVER: &str = "the time of this query is over";

/// Whether an error message reports an exceeded time limit.
pub(crate) fn is_over(message: &str) -> bool {
    message.starts_with(OVER)
}

impl Stop {
    /// Also cancels the query at this deadline.
    pub(crate) fn at(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }

    /// Cancels the query at its next check.
    pub(crate) fn set(&self) {
        self.nobody_waits.store(true, Ordering::Relaxed);
    }

    /// Checks that the query should go on.
    ///
    /// # Errors
    /// If nobody waits for it, or its deadline has passed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.nobody_waits.load(Ordering::Relaxed) {
            return exec_err!("nobody waits for the rows of this query any more");
        }
        match self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => exec_err!("{OVER}"),
            false => Ok(()),
        }
    }
}

/// The memory consumer for the part of a response that is held in memory.
pub(super) const HELD_ANSWER: &str = "held answer";

/// The prefix of out-of-memory errors that are due to all queries together, not to the query's own share.
const ALL_TOGETHER: &str = "all queries together have no more memory";

/// The memory of one query. A request must fit both its own share and the memory of all queries.
#[derive(Debug)]
pub(crate) struct Share {
    own: Lenient,
    all: Arc<dyn MemoryPool>,
    stop: Stop,
}

impl Share {
    /// A share of `bytes` bytes.
    pub(crate) fn new(bytes: usize, all: Arc<dyn MemoryPool>, stop: Stop) -> Self {
        Self { own: Lenient::new(bytes), all, stop }
    }
}

/// Whether an out-of-memory error is due to all queries together, so that a retry may succeed.
pub(crate) fn is_of_all(message: &str) -> bool {
    message.contains(ALL_TOGETHER)
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "share"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // A response that is held in memory is already computed, so it is not cancelled.
        if reservation.consumer().name() != HELD_ANSWER {
            self.stop.check()?;
        }
        self.own.try_grow(reservation, additional)?;
        self.all.try_grow(reservation, additional).map_err(|error| {
            self.own.shrink(reservation, additional);
            // The error stays `ResourcesExhausted`, because operators spill on it.
            DataFusionError::ResourcesExhausted(format!("{ALL_TOGETHER}: {}", error.strip_backtrace()))
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share({})", self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::FairSpillPool;

    fn share(all: &Arc<dyn MemoryPool>, bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(Share::new(bytes, Arc::clone(all), Stop::default()))
    }

    #[test]
    fn a_query_has_its_share_and_no_more() {
        let all: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        let (one, other) = (share(&all, 60), share(&all, 60));
        let first = MemoryConsumer::new("join").register(&one);
        let over = first.try_grow(61).unwrap_err().to_string();
        assert!(!is_of_all(&over), "{over}");
        first.try_grow(60).unwrap();
        let second = MemoryConsumer::new("join").register(&other);
        let over = second.try_grow(41).unwrap_err();
        assert!(matches!(&over, DataFusionError::ResourcesExhausted(text) if is_of_all(text)), "{over}");
        second.try_grow(40).unwrap();
        assert_eq!((one.reserved(), other.reserved(), all.reserved()), (60, 40, 100));
        drop(first);
        second.try_grow(20).unwrap();
        drop(second);
        assert_eq!((one.reserved(), other.reserved(), all.reserved()), (0, 0, 0));
    }
}
