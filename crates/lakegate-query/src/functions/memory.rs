//! The memory pool of the query that the current thread computes for.
//!
//! DataFusion passes functions no memory pool, so operators that call functions with large results set it here.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn MemoryPool>>> = const { RefCell::new(None) };
}

/// Runs `compute` with `pool` as the pool of the current query.
pub(crate) fn with_pool<T>(pool: &Arc<dyn MemoryPool>, compute: impl FnOnce() -> T) -> T {
    /// Restores the previous pool, even after a panic.
    struct Before(Option<Arc<dyn MemoryPool>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.with(|current| *current.borrow_mut() = self.0.take());
        }
    }
    let _before = Before(CURRENT.with(|current| current.borrow_mut().replace(Arc::clone(pool))));
    compute()
}

/// Reserves memory of the current query until the reservation is dropped; `None` if no query runs.
///
/// # Errors
/// If the query has no more memory.
pub(super) fn reserve(bytes: usize) -> Result<Option<MemoryReservation>> {
    let Some(pool) = CURRENT.with(|current| current.borrow().clone()) else { return Ok(None) };
    let reservation = MemoryConsumer::new("values").register(&pool);
    reservation.try_grow(bytes)?;
    Ok(Some(reservation))
}
