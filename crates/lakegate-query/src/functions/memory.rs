//! The memory pool of the query that a thread computes for right now.
//!
//! A function has no way to its query's pool. So operators that call functions whose results can be large say which pool it is,
//! for as long as they compute.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn MemoryPool>>> = const { RefCell::new(None) };
}

/// Runs `compute` with a pool as that of the current query.
pub(crate) fn with_pool<T>(pool: &Arc<dyn MemoryPool>, compute: impl FnOnce() -> T) -> T {
    /// Puts the pool before back, also when the computation panics.
    struct Before(Option<Arc<dyn MemoryPool>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.with(|current| *current.borrow_mut() = self.0.take());
        }
    }
    let _before = Before(CURRENT.with(|current| current.borrow_mut().replace(Arc::clone(pool))));
    compute()
}

/// Reserves bytes of the current query's memory until the reservation is dropped; `None` where no query runs.
///
/// # Errors
/// When the query has no more memory.
pub(super) fn reserve(bytes: usize) -> Result<Option<MemoryReservation>> {
    let Some(pool) = CURRENT.with(|current| current.borrow().clone()) else { return Ok(None) };
    let reservation = MemoryConsumer::new("values").register(&pool);
    reservation.try_grow(bytes)?;
    Ok(Some(reservation))
}
