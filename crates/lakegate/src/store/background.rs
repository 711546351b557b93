//! The background tasks of the access store: watch for changes by other processes, export changes, and write last uses
//! in batches.
//!
//! [`Background`] owns the tasks: shutting it down stops them after a last write, and dropping it aborts them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::access::{AccessInner, READ_TIMEOUT, now_millis};
use super::change_log::{ChangeSink, export_changes};
use super::error::StoreError;

/// The interval at which the store is checked for changes.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The interval at which last uses are written.
const LAST_USE_WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// The pause after a failed export.
const EXPORT_RETRY_DELAY: Duration = Duration::from_secs(5);
/// The timeout of the last write at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The background tasks of an [`super::Access`].
#[derive(Debug)]
#[must_use = "dropping it ends the watch over the store, and the access refuses everybody soon after"]
pub struct Background {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Background {
    pub(super) fn start(access: Arc<AccessInner>, version: i64, sink: Option<Arc<dyn ChangeSink>>) -> Self {
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let changed = Arc::new(Notify::new());
        tasks.spawn(watch(Arc::clone(&access), version, Arc::clone(&changed), cancel.clone()));
        if let Some(sink) = sink {
            tasks.spawn(export(Arc::clone(&access), sink, changed, cancel.clone()));
        }
        tasks.spawn(write(access, cancel.clone()));
        Self { cancel, tasks }
    }

    /// Stops the tasks and writes what is pending.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await.is_err() {
            tracing::warn!("the last uses of tokens and the last changes could not be written in time");
        }
    }
}

/// Compares the store's version with the last known one, and clears the cache when it differs.
async fn watch(access: Arc<AccessInner>, version: i64, changed: Arc<Notify>, cancel: CancellationToken) {
    // `None` after a failure, because the store may be another one afterwards.
    let mut seen = Some(version);
    let mut ticks = ticks(POLL_INTERVAL);
    let mut answers = true;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Taken before the query, so its answer holds at this moment or later.
        let polled_at = now_millis();
        match poll(&access).await {
            Ok((version, replaced)) => {
                if seen != Some(version) || replaced {
                    seen = Some(version);
                    access.invalidate_all();
                    changed.notify_one();
                }
                access.confirm(polled_at);
                if !answers {
                    tracing::info!(store = %access.store().location(), "the access store answers again");
                }
                answers = true;
            }
            Err(error) => {
                if answers {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::error!(store = %access.store().location(), error, "the access store cannot be read; callers are refused until it can");
                }
                answers = false;
                seen = None;
            }
        }
    }
}

/// The version of the store, and whether its file was replaced.
async fn poll(access: &AccessInner) -> Result<(i64, bool), StoreError> {
    let store = access.store();
    let replaced = store.identity().check();
    let replaced =
        replaced.map_err(|source| StoreError::Open { path: store.location().path().display().to_string(), source })?;
    let version = tokio::time::timeout(READ_TIMEOUT, store.access_version()).await.map_err(|_| StoreError::Slow)??;
    Ok((version, replaced))
}

/// Exports changes: earlier ones at the start, later ones when the watch task notices them, and once more at the end.
/// It is a separate task, because the watch task must not wait for a sink.
async fn export(access: Arc<AccessInner>, sink: Arc<dyn ChangeSink>, changed: Arc<Notify>, cancel: CancellationToken) {
    let mut fails = false;
    loop {
        match export_changes(access.store(), &*sink).await {
            Ok(_) => fails = false,
            // Logged once, not every few seconds while it lasts.
            Err(error) if !fails => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::error!(error, "changes of the access store could not be exported; they are kept");
                fails = true;
            }
            Err(_) => {}
        }
        if cancel.is_cancelled() {
            return;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = changed.notified() => {}
            () = tokio::time::sleep(EXPORT_RETRY_DELAY), if fails => {}
        }
    }
}

/// Writes last uses periodically, and once more at the end.
async fn write(access: Arc<AccessInner>, cancel: CancellationToken) {
    let mut ticks = ticks(LAST_USE_WRITE_INTERVAL);
    let mut fails = false;
    loop {
        let ends = tokio::select! {
            () = cancel.cancelled() => true,
            _ = ticks.tick() => false,
        };
        match access.write_last_use().await {
            Ok(()) => fails = false,
            // Logged once, not every few seconds while it lasts.
            Err(error) if !fails => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "the last uses of tokens could not be written; they are kept for the next time");
                fails = true;
            }
            Err(_) => {}
        }
        if ends {
            return;
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
