//! Changes while a server runs: project files that were edited, and files of the lake that are others than before.
//!
//! What is new is read and checked whole, away from the requests, and then served in one step; what has a fault changes
//! nothing and is told. What can not change without a restart is told, too.

mod files;
mod met;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lakegate_core::project::Config;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::causes::chain;
use crate::clock;
use crate::observe::{Event, Reload};
use crate::project::ProjectError;

pub(crate) use files::{Files, Seen};
pub use met::look_for;

/// How often somebody looks whether it is time to look.
const TICK: Duration = Duration::from_millis(500);

/// How often tables are looked at that can not be read yet, where the project says never.
const WAITING: Duration = Duration::from_secs(10);

/// What came of looking for changes, for operators.
#[derive(Debug, Default)]
pub struct Reloads {
    /// One at a time; and when somebody last began to look at the tables.
    busy: tokio::sync::Mutex<Option<Instant>>,
    state: Mutex<ReloadState>,
}

/// What there is to tell about changes.
#[derive(Clone, Debug, Default)]
pub struct ReloadState {
    /// When the project was last read again and served.
    pub project_at: Option<DateTime<Utc>>,
    /// When other files of tables were last served.
    pub tables_at: Option<DateTime<Utc>>,
    /// How often the project was read again and served.
    pub projects: u64,
    /// How often other files of tables were served.
    pub tables: u64,
    /// How often something was found that could not be served.
    pub failures: u64,
    /// What is wrong with the project as it is now, and why it is not served.
    pub project_fault: Option<Fault>,
    /// The same for the tables.
    pub tables_fault: Option<Fault>,
    /// Settings that have changed and count from the next start on.
    pub after_restart: Vec<&'static str>,
}

/// Why what is there now is not served.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Since when.
    pub since: DateTime<Utc>,
    /// What is wrong, as `lakegate check` says it. For operators alone.
    pub text: String,
}

impl Reloads {
    /// What there is to tell now.
    pub fn state(&self) -> ReloadState {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a fault; one that is known already is not told again.
    fn failed(&self, what: &str, error: &ProjectError, fault: impl FnOnce(&mut ReloadState) -> &mut Option<Fault>) {
        let text = chain(Some(error));
        let mut state = self.lock();
        state.failures += 1;
        let fault = fault(&mut state);
        if fault.as_ref().is_none_or(|fault| fault.text != text) {
            tracing::error!("{what} can not be served, and what was served before stays: {text}");
            *fault = Some(Fault { since: clock::now(), text });
        }
    }
}

/// Reads the project again, and serves it if it is good.
///
/// # Errors
/// What is wrong with it; that is remembered and logged, too.
pub async fn reload(app: &App) -> Result<(), ProjectError> {
    let mut looked = app.reloads.busy.lock().await;
    let (before, began) = (app.served(), Instant::now());
    match app.load_again().await {
        Ok(served) => {
            *looked = Some(began);
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

/// Looks at the files of all tables, and serves other ones if there are such.
///
/// # Errors
/// When they can not be read; that is remembered and logged, too.
pub async fn refresh(app: &App) -> Result<(), ProjectError> {
    let mut looked = app.reloads.busy.lock().await;
    refresh_alone(app, &mut looked).await
}

/// The same for who holds the lock.
async fn refresh_alone(app: &App, looked: &mut Option<Instant>) -> Result<(), ProjectError> {
    *looked = Some(Instant::now());
    let (changed, unlisted) = app.served().project.changed_tables().await;
    let refreshed = match changed.is_empty() {
        true => Ok(None),
        false => app.refresh_tables().await.map(Some),
    };
    // What can be served anew is, whatever is the matter with other tables.
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
        // A table that is broken since the start, and is no other now, was told then.
        match away.map(|away| away.passing()) {
            Some(findings) if !findings.is_empty() => Err(ProjectError::Kept(findings)),
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

/// Looks for changes as often as the project says, and at once when told by SIGHUP. Dropping the handle ends it.
pub fn watch(app: Arc<App>) -> AbortOnDropHandle<()> {
    // From now on, and not when the task comes to it: without a handler the signal would end the process.
    let mut told = Told::new();
    AbortOnDropHandle::new(tokio::spawn(async move {
        // As they were before they were read: what was edited since then is seen.
        let mut files = Files::all(app.seen_at_start().clone());
        let mut looked = Looked::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let served = app.served();
            let is_told = tokio::select! {
                () = told.next() => true,
                _ = ticks.tick() => false,
                // A request has met a file that is not the one that is served, and may have looked itself.
                () = served.project.lake().changed() => {
                    met::look(&app, &served, Instant::now()).await;
                    continue;
                }
            };
            drop(served);
            let config = app.served().config().reload.clone();
            if is_told {
                files = Files::all(Files::look(app.folder()));
                let _ = reload(&app).await;
                let _ = refresh(&app).await;
                looked = Looked::now();
                continue;
            }
            if is_due(&mut looked.project, config.project) {
                let found = Files::look(app.folder());
                // An editor writes several files, or one in several steps: what still changes is looked at again later.
                if found != files.served && found == files.seen {
                    let _ = reload(&app).await;
                    files.served.clone_from(&found);
                }
                files.seen = found;
            }
            // Tables that can not be read yet are looked at in any case.
            let waits = !app.served().project.away().is_nothing();
            if is_due(&mut looked.tables, config.tables.or(waits.then_some(WAITING))) {
                // What failed for a passing reason, such as a lake that was away, is tried again.
                if app.reloads.state().project_fault.is_some() {
                    let _ = reload(&app).await;
                }
                let _ = refresh(&app).await;
            }
        }
    }))
}

/// When was last looked.
struct Looked {
    project: Instant,
    tables: Instant,
}

impl Looked {
    fn now() -> Self {
        let now = Instant::now();
        Self { project: now, tables: now }
    }
}

/// Whether it is time to look, and then it was looked just now.
fn is_due(last: &mut Instant, every: Option<Duration>) -> bool {
    let is_due = every.is_some_and(|every| last.elapsed() >= every);
    if is_due {
        *last = Instant::now();
    }
    is_due
}

/// SIGHUP, where there is such a thing.
pub(crate) struct Told {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Told {
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        return Self { signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok() };
        #[cfg(not(unix))]
        Self {}
    }

    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// What the listeners, the log and the store are made with is made once.
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
