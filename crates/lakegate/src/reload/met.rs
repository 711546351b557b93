//! Stale-file retry: refreshes the tables because a request found a file that differs from the listed one, so that the
//! request need not fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{TICK, refresh_alone};
use crate::app::{App, Served};

/// The maximum time that a request waits for the refresh.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refreshes the tables. Returns the served state if it differs from the one that the request `had`. Requests that find
/// the same stale file share one refresh, and refreshes are at least one tick apart.
///
/// `None` if nothing new is available by `deadline`, if the store is unreachable, or if tables have a passing fault.
/// Tables with such a fault are served as they were or not at all, and are retried on their own schedule.
pub async fn look_for(app: &Arc<App>, had: &Arc<Served>, deadline: Instant) -> Option<Arc<Served>> {
    let (met, project) = (Instant::now(), &had.project);
    let has_fault = || !project.away().passing().is_empty() || app.reloads.state().tables_fault.is_some();
    if !project.lake().is_lost() && !has_fault() {
        // Runs to its end even if this request stops waiting, because others may wait, and later requests benefit.
        let looking = tokio::spawn({
            let (app, had) = (Arc::clone(app), Arc::clone(had));
            async move { look(&app, &had, met).await }
        });
        let _ = timeout_at(deadline.min(met + PATIENCE), looking).await;
    }
    other(app, had).filter(|_| Instant::now() < deadline)
}

/// Refreshes the tables, unless that has happened since the stale file was found.
pub(super) async fn look(app: &App, had: &Arc<Served>, met: Instant) {
    let mut looked = app.reloads.busy.lock().await;
    if other(app, had).is_some() || looked.is_some_and(|looked| looked > met) {
        return;
    }
    if let Some(looked) = *looked {
        sleep_until(looked + TICK).await;
    }
    // The refresh itself records and logs a fault.
    let _ = refresh_alone(app, &mut looked).await;
}

/// The served state, if it differs.
fn other(app: &App, had: &Arc<Served>) -> Option<Arc<Served>> {
    Some(app.served()).filter(|served| !Arc::ptr_eq(served, had))
}
