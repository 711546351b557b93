//! A pool of memory that is shared out fairly where it is short, and not before.
//!
//! The engine's own fair pool gives each operator that could go to disk an equal part from the beginning. A query by several
//! threads has a dozen of them, most of which need next to nothing, and the one that needs some goes to disk beside memory
//! that nobody uses.

use std::fmt;

use datafusion::common::{Result, resources_err};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use super::spill::SpillLock;

/// The pool.
#[derive(Debug)]
pub(super) struct Lenient {
    pool: FairSpillPool,
    /// Up to so many bytes, whoever comes first is served.
    free: usize,
    /// More than so many are not given.
    most: usize,
    /// The folder on disk of those who share it, kept as long.
    _spill: Option<SpillLock>,
}

impl Lenient {
    /// A pool of so many bytes, of which a quarter is kept for those that come late.
    pub(super) fn new(bytes: usize) -> Self {
        Self { pool: FairSpillPool::new(bytes), free: bytes - bytes / 4, most: bytes, _spill: None }
    }

    /// The same, which keeps a folder on disk as long as it is there.
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
            // Two at once may both find the last of it free: what is over is taken from what is shared out fairly.
            self.pool.grow(reservation, additional);
            return Ok(());
        }
        // The fair pool trusts that nobody has more than a fair part.
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
        // It has more than its half, and gets no more; the other gets its own.
        assert!(one.try_grow(1).is_err());
        other.try_grow(25).unwrap();
        assert!(other.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 100);
        drop((one, other));
        assert_eq!(pool.reserved(), 0);
    }
}
