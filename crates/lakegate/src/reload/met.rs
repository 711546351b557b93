//! Looking at the tables because a request has met a file that is not the one that was listed: the tables have gone on, and
//! the request need not fail for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{TICK, refresh_alone};
use crate::app::{App, Served};

/// How long a request waits for other tables, at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is served once the tables were looked at again, if that is something else than what the request `had`. Requests
/// that meet the same look once, and nobody looks more often than a tick.
///
/// `None` where nothing else is to be expected: it is not there by `deadline`, the store is away, or tables are served as they
/// were or cannot be read for a passing reason, and are looked at in their own time.
pub async fn look_for(app: &Arc<App>, had: &Arc<Served>, deadline: Instant) -> Option<Arc<Served>> {
    let (met, project) = (Instant::now(), &had.project);
    let has_fault = || !project.away().passing().is_empty() || app.reloads.state().tables_fault.is_some();
    if !project.lake().is_lost() && !has_fault() {
        // To its end, whether this request waits so long or not: others may, and what is found counts for the next ones.
        let looking = tokio::spawn({
            let (app, had) = (Arc::clone(app), Arc::clone(had));
            async move { look(&app, &had, met).await }
        });
        let _ = timeout_at(deadline.min(met + PATIENCE), looking).await;
    }
    other(app, had).filter(|_| Instant::now() < deadline)
}

/// Looks at the tables, unless somebody has since a file was met.
pub(super) async fn look(app: &App, had: &Arc<Served>, met: Instant) {
    let mut looked = app.reloads.busy.lock().await;
    if other(app, had).is_some() || looked.is_some_and(|looked| looked > met) {
        return;
    }
    if let Some(looked) = *looked {
        sleep_until(looked + TICK).await;
    }
    // What is wrong is remembered and logged there.
    let _ = refresh_alone(app, &mut looked).await;
}

/// What is served now, if it is something else.
fn other(app: &App, had: &Arc<Served>) -> Option<Arc<Served>> {
    Some(app.served()).filter(|served| !Arc::ptr_eq(served, had))
}
