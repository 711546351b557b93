//! A memory pool that divides memory fairly, but only once it becomes scarce.
//!
//! DataFusion's fair pool gives each spillable operator an equal part from the start. A parallel query has a dozen of
//! them, most of which need almost nothing; the one that needs memory would spill although memory is free.

use std::fmt;

use datafusion::common::{Result, resources_err};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use super::spill::SpillLock;

/// The pool.
#[derive(Debug)]
pub(super) struct Lenient {
    pool: FairSpillPool,
    /// Up to this many reserved bytes, requests are served first come, first served.
    free: usize,
    /// The size of the pool, in bytes.
    most: usize,
    /// The lock of the spill folder, held for as long as the pool exists.
    _spill: Option<SpillLock>,
}

impl Lenient {
    /// A pool of `bytes` bytes. The last quarter is divided fairly, for operators that come late.
    pub(super) fn new(bytes: usize) -> Self {
        Self { pool: FairSpillPool::new(bytes), free: bytes - bytes / 4, most: bytes, _spill: None }
    }

    /// Keeps the lock of a spill folder for as long as the pool exists.
    pub(super) fn with_folder(self, spill: Option<SpillLock>) -> Self {
        Self { _spill: spill, ..self }
    }
}

impl MemoryPool for Lenient {
    fn name(&self) -> &str {
        "lenient"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let wanted = self.pool.reserved().saturating_add(additional);
        if wanted <= self.free {
            // Two concurrent requests may both see the last free bytes. The excess comes out of the fair quarter.
            self.pool.grow(reservation, additional);
            return Ok(());
        }
        // The fair pool assumes that no consumer holds more than its fair part, so check the total here.
        if wanted > self.most {
            return resources_err!(
                "{} would need {additional} bytes more, of which {} are left",
                reservation.consumer().name(),
                self.most.saturating_sub(self.pool.reserved())
            );
        }
        self.pool.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

impl fmt::Display for Lenient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lenient({})", self.pool)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_comes_first_is_served_until_memory_is_short() {
        let pool: Arc<dyn MemoryPool> = Arc::new(Lenient::new(100));
        let consumer = || MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        let (one, other) = (consumer(), consumer());
        one.try_grow(75).unwrap();
        // The first consumer holds more than half and gets no more; the other gets the remaining quarter.
        assert!(one.try_grow(1).is_err());
        other.try_grow(25).unwrap();
        assert!(other.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 100);
        drop((one, other));
        assert_eq!(pool.reserved(), 0);
    }
}
