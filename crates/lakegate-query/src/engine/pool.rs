//! Memory: a pool for all queries, and a share of it for each. A query over its share spills what it can spill, and fails
//! otherwise; the others go on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use super::lenient::Lenient;

/// Says that nobody waits for a query any more. Operators that compute for long without a pause ask for memory meanwhile, or
/// evaluate the condition of a join, and are told so then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    nobody_waits: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// How a failure begins of a query whose time is over.
const OVER: &str = "the time of this query is over";

/// Whether a failure is one of time.
pub(crate) fn is_over(message: &str) -> bool {
    message.starts_with(OVER)
}

impl Stop {
    /// One that ends the query at this time by itself.
    pub(crate) fn at(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }

    /// Ends the query at its next step.
    pub(crate) fn set(&self) {
        self.nobody_waits.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// When nobody waits, or the time is over.
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

/// The consumer of memory for what is held of an answer.
pub(super) const HELD_ANSWER: &str = "held answer";

/// How a failure for want of memory begins when it was not the query's own share that was too small.
const ALL_TOGETHER: &str = "all queries together have no more memory";

/// The memory of one query: its own share, and what all queries have together. Both must have what it asks for.
#[derive(Debug)]
pub(crate) struct Share {
    own: Lenient,
    all: Arc<dyn MemoryPool>,
    stop: Stop,
}

impl Share {
    /// A share of so many bytes.
    pub(crate) fn new(bytes: usize, all: Arc<dyn MemoryPool>, stop: Stop) -> Self {
        Self { own: Lenient::new(bytes), all, stop }
    }
}

/// Whether a failure for want of memory is one of all queries together, and may be over when others have ended.
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
        // What is held of the answer was made already.
        if reservation.consumer().name() != HELD_ANSWER {
            self.stop.check()?;
        }
        self.own.try_grow(reservation, additional)?;
        self.all.try_grow(reservation, additional).map_err(|error| {
            self.own.shrink(reservation, additional);
            // The kind stays what it is: operators that see it spill.
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
