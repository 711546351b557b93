//! The file watcher of a server: one task that looks at the project's files and at all other files that are loaded again
//! when they change, such as certificates and the mask key.
//!
//! The task itself never waits for a file or a reload. Due reloads run beside it, one at a time for each group of files,
//! so that a slow lake does not delay a certificate.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::{TICK, TrackedFiles, UNAVAILABLE_RETRY_INTERVAL, refresh, reload, stale_file_retry};
use crate::app::App;
use crate::mask_key::KeyFile;

/// A group of files that can be loaded again.
pub(crate) trait Watched: Send + Sync + 'static {
    /// The interval of the checks.
    fn every(&self) -> Duration;

    /// Loads the files if they have changed, and logs the result. May block.
    fn check(&self);
}

/// SIGHUP, on systems that have it.
pub(crate) struct HangupSignal {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl HangupSignal {
    /// Handles the signal from now on; without a handler, it ends the process.
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        return Self { signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok() };
        #[cfg(not(unix))]
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Checks all files on their schedules, and immediately on SIGHUP. Dropping the handle stops it.
pub(crate) fn watch(app: Arc<App>, mut hangup: HangupSignal, others: Vec<Arc<dyn Watched>>) -> AbortOnDropHandle<()> {
    let key: Arc<dyn Watched> = Arc::new(KeyFile::new(Arc::clone(&app)));
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut others = others.into_iter().chain([key]).map(OtherFiles::new).collect::<Vec<_>>();
        let mut project = ProjectFiles::new(Arc::clone(&app));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let served = app.served();
            let is_asked = tokio::select! {
                () = hangup.next() => true,
                _ = ticks.tick() => false,
                () = project.run.ended() => false,
                // A request has found a stale file, and may have refreshed the tables itself.
                () = served.project.lake().changed(), if !project.run.is_on() => {
                    let (app, served, found_at) = (Arc::clone(&app), Arc::clone(&served), Instant::now());
                    project.run.start(async move { stale_file_retry::refresh_unless_recent(&app, &served, found_at).await });
                    continue;
                }
            };
            others.iter_mut().for_each(|other| other.start_due(is_asked));
            project.start_due(is_asked);
        }
    }))
}

/// A schedule of checks.
struct Schedule {
    /// The time of the last check; `None` before the first.
    last: Option<Instant>,
    /// Whether a check was asked for and has not begun.
    is_asked: bool,
}

impl Schedule {
    /// Whether a check is due, to the nearest tick. If so, sets its time to now.
    fn is_due(&mut self, every: Option<Duration>) -> bool {
        let is_over = |every: Duration| self.last.is_none_or(|last| last.elapsed() + TICK / 2 >= every);
        let is_due = self.is_asked || every.is_some_and(is_over);
        if is_due {
            *self = Self { last: Some(Instant::now()), is_asked: false };
        }
        is_due
    }
}

/// A run beside the task, at most one at a time.
#[derive(Default)]
struct BackgroundRun(Option<AbortOnDropHandle<()>>);

impl BackgroundRun {
    fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|run| !run.is_finished())
    }

    fn start(&mut self, run: impl Future<Output = ()> + Send + 'static) {
        self.0 = Some(AbortOnDropHandle::new(tokio::spawn(run)));
    }

    /// Completes once when the run has ended.
    async fn ended(&mut self) {
        match &mut self.0 {
            Some(run) => _ = run.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

/// The state of a group of files.
struct OtherFiles {
    files: Arc<dyn Watched>,
    schedule: Schedule,
    run: BackgroundRun,
}

impl OtherFiles {
    fn new(files: Arc<dyn Watched>) -> Self {
        Self { files, schedule: Schedule { last: None, is_asked: false }, run: BackgroundRun::default() }
    }

    fn start_due(&mut self, is_asked: bool) {
        self.schedule.is_asked |= is_asked;
        if !self.run.is_on() && self.schedule.is_due(Some(self.files.every())) {
            let files = Arc::clone(&self.files);
            self.run.start(async move {
                // The files may be on a slow disk.
                if tokio::task::spawn_blocking(move || files.check()).await.is_err() {
                    tracing::error!("watched files cannot be checked");
                }
            });
        }
    }
}

/// The state of the project's files and tables.
struct ProjectFiles {
    app: Arc<App>,
    files: TrackedFiles,
    project: Schedule,
    tables: Schedule,
    run: BackgroundRun,
}

impl ProjectFiles {
    fn new(app: Arc<App>) -> Self {
        // The state before the first read, so that later edits are noticed.
        let files = TrackedFiles::new(app.stamps_at_start().clone());
        let now = || Schedule { last: Some(Instant::now()), is_asked: false };
        Self { app, files, project: now(), tables: now(), run: BackgroundRun::default() }
    }

    fn start_due(&mut self, is_asked: bool) {
        self.project.is_asked |= is_asked;
        self.tables.is_asked |= is_asked;
        if self.run.is_on() {
            return;
        }
        let is_asked = self.project.is_asked;
        let config = self.app.served().config().reload.clone();
        let mut loads = is_asked;
        if self.project.is_due(config.project) {
            let found = TrackedFiles::scan(self.app.folder());
            // An editor may write several files, or one in several steps, so files that still change are checked later.
            loads |= found != self.files.served && found == self.files.checked;
            if loads {
                self.files.served.clone_from(&found);
            }
            self.files.checked = found;
        }
        // Tables that are unavailable are checked in any case.
        let waits = !self.app.served().project.away().is_nothing();
        let refreshes = self.tables.is_due(config.tables.or(waits.then_some(UNAVAILABLE_RETRY_INTERVAL)));
        // Retry a project that failed for a passing reason, such as an unreachable lake.
        loads |= refreshes && self.app.reloads.state().project_fault.is_some();
        if loads || refreshes {
            let app = Arc::clone(&self.app);
            self.run.start(async move {
                // Both record and log their faults.
                if loads {
                    let _ = reload(&app).await;
                }
                if refreshes {
                    let _ = refresh(&app).await;
                }
            });
        }
    }
}
