//! Reloading while the server runs: picks up edited project files and changed files of the lake.
//!
//! Changes are read and checked in full, apart from the requests, and then take effect at once. A change with a fault
//! has no effect and is reported. A change that requires a restart is reported as well.

mod file_stamps;
mod stale_file_retry;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lakegate_core::project::Config;
use tokio::time::Instant;

use crate::app::App;
use crate::clock;
use crate::error_chain::display_chain;
use crate::observe::{Event, Reload};
use crate::project::ProjectError;

pub(crate) use file_stamps::{FileStamps, TrackedFiles};
pub use stale_file_retry::refresh_stale;
pub(crate) use watch::{HangupSignal, Watched, watch};

/// The interval at which schedules are checked.
const TICK: Duration = Duration::from_millis(500);

/// The interval at which unavailable tables are checked, if the project sets none.
const UNAVAILABLE_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The results of reloading, for operators.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Allows one reload at a time. Holds the time when the last check of the tables began.
    busy: tokio::sync::Mutex<Option<Instant>>,
    state: Mutex<ReloadState>,
}

/// A report of reloads.
#[derive(Clone, Debug, Default)]
pub struct ReloadState {
    /// When a changed project was last loaded and served.
    pub project_at: Option<DateTime<Utc>>,
    /// When changed table files were last served.
    pub tables_at: Option<DateTime<Utc>>,
    /// The number of reloads of the project.
    pub projects: u64,
    /// The number of refreshes of tables.
    pub tables: u64,
    /// The number of failures.
    pub failures: u64,
    /// The fault that keeps the current project files from being served.
    pub project_fault: Option<ReloadFault>,
    /// The fault that keeps the current table files from being served.
    pub tables_fault: Option<ReloadFault>,
    /// Changed settings that take effect at the next start.
    pub after_restart: Vec<&'static str>,
}

/// Why the current state is not served.
#[derive(Clone, Debug)]
pub struct ReloadFault {
    /// When it was first found.
    pub since: DateTime<Utc>,
    /// The fault, worded as in `lakegate check`; for operators only.
    pub text: String,
}

impl Reloads {
    /// The current report.
    pub fn state(&self) -> ReloadState {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a fault. Logs it only if it is new.
    fn failed(
        &self,
        what: &str,
        error: &ProjectError,
        fault: impl FnOnce(&mut ReloadState) -> &mut Option<ReloadFault>,
    ) {
        let text = display_chain(Some(error));
        let mut state = self.lock();
        state.failures += 1;
        let fault = fault(&mut state);
        if fault.as_ref().is_none_or(|fault| fault.text != text) {
            tracing::error!("{what} cannot be served, and what was served before stays: {text}");
            *fault = Some(ReloadFault { since: clock::now(), text });
        }
    }
}

/// Reloads the project, and serves it if it has no faults.
///
/// # Errors
/// The fault of the project, which is also recorded and logged.
pub async fn reload(app: &App) -> Result<(), ProjectError> {
    let mut last_refresh = app.reloads.busy.lock().await;
    let (before, began) = (app.served(), Instant::now());
    match app.reload_project().await {
        Ok(served) => {
            *last_refresh = Some(began);
            let after_restart = after_restart(before.config(), served.config());
            if !after_restart.is_empty() {
                tracing::warn!(settings = after_restart.join(", "), "settings that count from the next start on");
            }
            tracing::info!(endpoints = served.project.endpoints().count(), "the project was read again");
            app.observer.notice(&Event::Reloaded(Reload::Taken));
            let mut state = app.reloads.lock();
            state.project_at = Some(clock::now());
            (state.project_fault, state.tables_fault) = (None, None);
            state.projects += 1;
            for setting in after_restart {
                if !state.after_restart.contains(&setting) {
                    state.after_restart.push(setting);
                }
            }
            Ok(())
        }
        Err(error) => {
            app.observer.notice(&Event::Reloaded(Reload::Refused));
            app.reloads.failed("the project", &error, |state| &mut state.project_fault);
            Err(error)
        }
    }
}

/// Checks the files of all tables, and serves changed ones.
///
/// # Errors
/// If they are unreadable; that is also recorded and logged.
pub async fn refresh(app: &App) -> Result<(), ProjectError> {
    let mut last_refresh = app.reloads.busy.lock().await;
    refresh_locked(app, &mut last_refresh).await
}

/// Refreshes the tables for a caller that holds the lock.
async fn refresh_locked(app: &App, last_refresh: &mut Option<Instant>) -> Result<(), ProjectError> {
    *last_refresh = Some(Instant::now());
    let (changed, unlisted) = app.served().project.changed_tables().await;
    let refreshed = match changed.is_empty() {
        true => Ok(None),
        false => app.refresh_tables().await.map(Some),
    };
    // Tables that can be refreshed are, regardless of faults in others.
    let outcome = refreshed.and_then(|served| {
        let away = served.as_ref().map(|served| served.project.away());
        if let Some(away) = away
            && !away.keeps(&changed)
        {
            tracing::info!(
                tables = Vec::from_iter(&changed).iter().map(|table| table.as_str()).collect::<Vec<_>>().join(", "),
                "tables have new files"
            );
            app.observer.notice(&Event::Reloaded(Reload::TablesTaken));
            let mut state = app.reloads.lock();
            state.tables_at = Some(clock::now());
            state.tables += 1;
        }
        if let Some((table, error)) = unlisted {
            return Err(ProjectError::Unlisted(table, Box::new(error)));
        }
        // A table that has been broken and unchanged since the start was reported then.
        match away.map(|away| away.passing()) {
            Some(findings) if !findings.is_empty() => Err(ProjectError::StaleTables(findings)),
            _ => Ok(()),
        }
    });
    match outcome {
        Ok(()) => {
            app.reloads.lock().tables_fault = None;
            Ok(())
        }
        Err(error) => {
            app.observer.notice(&Event::Reloaded(Reload::TablesRefused));
            app.reloads.failed("the lake as it is now", &error, |state| &mut state.tables_fault);
            Err(error)
        }
    }
}

/// Settings of the listeners, the log and the store are read only at the start.
fn after_restart(before: &Config, now: &Config) -> Vec<&'static str> {
    let (old, new) = (&before.server, &now.server);
    [
        ("server.listen", old.listen != new.listen),
        ("server.base_path", old.base_path != new.base_path),
        ("server.max_concurrent_queries", old.max_concurrent_queries != new.max_concurrent_queries),
        ("server.memory_limit_mb", old.memory_limit_bytes != new.memory_limit_bytes),
        ("server.audit", old.audit != new.audit),
        ("limits.max_waiting", before.limits.waiting(old) != now.limits.waiting(new)),
        ("limits.spill_mb", before.limits.spill_bytes() != now.limits.spill_bytes()),
        ("limits.spill_folder", before.limits.spill_folder != now.limits.spill_folder),
        ("access.store", before.access_store != now.access_store),
        ("access.secret_attributes", before.secret_attributes != now.secret_attributes),
        ("cache", before.cache != now.cache),
        ("http", before.http != now.http),
        ("admin", before.admin != now.admin),
        ("observe.log", before.observe.log != now.observe.log),
        ("observe.traces", before.observe.traces != now.observe.traces),
    ]
    .into_iter()
    .filter_map(|(setting, has_changed)| has_changed.then_some(setting))
    .collect()
}
