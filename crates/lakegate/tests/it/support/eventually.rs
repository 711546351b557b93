//! Waits for conditions by polling. It contains no tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time limit, far longer than any step takes. A test that reaches it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Blocks until the condition holds. Fails with `what` after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Like [`eventually`], for async tests: other tasks run between two checks.
pub(crate) async fn eventually_async(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// Like [`eventually_async`], for conditions with a promised time limit.
pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sets the flag when it is dropped, so that threads that repeat requests stop, also when the test fails.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
