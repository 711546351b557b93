//! Stale-file retry: refreshes the tables because a request found a file that differs from the listed one, so that the
//! request need not fail.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{TICK, refresh_locked};
use crate::app::{App, Served};

/// The maximum time that a request waits for the refresh.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Refreshes the tables. Returns the served state if it differs from the one that the request `had`. Requests that find
/// the same stale file share one refresh, and refreshes are at least one tick apart.
///
/// `None` if nothing new is available by `deadline`, if the store is unreachable, or if tables have a passing fault.
/// Tables with such a fault are served as they were or not at all, and are retried on their own schedule.
pub async fn refresh_stale(app: &Arc<App>, had: &Arc<Served>, deadline: Instant) -> Option<Arc<Served>> {
    let (found_at, project) = (Instant::now(), &had.project);
    let has_fault = || !project.away().passing().is_empty() || app.reloads.state().tables_fault.is_some();
    if !project.lake().is_lost() && !has_fault() {
        // Runs to its end even if this request stops waiting, because others may wait, and later requests benefit.
        let refreshing = tokio::spawn({
            let (app, had) = (Arc::clone(app), Arc::clone(had));
            async move { refresh_unless_recent(&app, &had, found_at).await }
        });
        let _ = timeout_at(deadline.min(found_at + MAX_WAIT), refreshing).await;
    }
    served_if_changed(app, had).filter(|_| Instant::now() < deadline)
}

/// Refreshes the tables, unless that has happened since the stale file was found.
pub(super) async fn refresh_unless_recent(app: &App, had: &Arc<Served>, found_at: Instant) {
    let mut last_refresh = app.reloads.busy.lock().await;
    if served_if_changed(app, had).is_some() || last_refresh.is_some_and(|last_refresh| last_refresh > found_at) {
        return;
    }
    if let Some(last_refresh) = *last_refresh {
        sleep_until(last_refresh + TICK).await;
    }
    // The refresh itself records and logs a fault.
    let _ = refresh_locked(app, &mut last_refresh).await;
}

/// The served state, if it differs.
fn served_if_changed(app: &App, had: &Arc<Served>) -> Option<Arc<Served>> {
    Some(app.served()).filter(|served| !Arc::ptr_eq(served, had))
}
