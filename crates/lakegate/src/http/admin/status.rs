//! How the server is: everything that health does not tell to those without a token.

use std::sync::Arc;

use axum::{Extension, Json, extract};
use lakegate_query::lake::Skipped;
use serde::Serialize;

use super::State;
use crate::admin::{Desk, time};
use crate::app::{App, EngineLoad, Served};
use crate::http::health;
use crate::reload::{Fault, ReloadState};

/// The state of a server. What is of the process stands above, what is of the project that is served now in `project`.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    started_at: String,
    uptime_seconds: u64,
    ready: bool,
    /// Why it is not ready; empty where it is.
    not_ready: Vec<Reason>,
    draining: bool,
    connections: usize,
    /// How many queries run and wait, and the memory that they have.
    engine: EngineLoad,
    project: ProjectStatus,
    reload: ReloadStatus,
}

#[derive(Serialize)]
struct Reason {
    code: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct ProjectStatus {
    endpoints: usize,
    tables: Vec<TableStatus>,
    /// Tables that could not be read since the server started. Endpoints that need them answer 503.
    unavailable: Vec<UnavailableTable>,
    /// Environment variables that have no effect.
    warnings: Vec<String>,
}

/// What came of looking for changes while the server runs.
#[derive(Serialize)]
struct ReloadStatus {
    /// When the project was last read again and served, and how often.
    project_at: Option<String>,
    projects: u64,
    /// The same for other files of tables.
    tables_at: Option<String>,
    tables: u64,
    failures: u64,
    /// Why what is there now is not served.
    project_fault: Option<FaultStatus>,
    tables_fault: Option<FaultStatus>,
    /// Settings that count from the next start on.
    after_restart: Vec<&'static str>,
}

#[derive(Serialize)]
struct FaultStatus {
    since: String,
    detail: String,
}

#[derive(Serialize)]
struct UnavailableTable {
    name: String,
    /// What is wrong, as `lakegate check` says it.
    reason: String,
}

#[derive(Serialize)]
struct TableStatus {
    name: String,
    version: String,
    /// `None` where the files do not tell.
    rows: Option<usize>,
    files: usize,
    /// `None` where everything is served as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<SkippedStatus>,
}

#[derive(Serialize)]
struct SkippedStatus {
    rows: u64,
    values: u64,
    files: u64,
}

/// The status now.
pub(super) async fn show(
    _: Desk,
    extract::State(state): extract::State<Arc<State>>,
    Extension(served): Extension<Arc<Served>>,
) -> Json<Status> {
    Json(of(&state.app, &served).await)
}

async fn of(app: &App, served: &Arc<Served>) -> Status {
    let reasons = health::not_ready(app, served).await;
    let not_ready = reasons.into_iter().map(|error| Reason { code: error.code.name(), detail: error.detail });
    let not_ready = not_ready.collect::<Vec<_>>();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: time(app.status.started_at()),
        uptime_seconds: app.status.uptime().as_secs(),
        ready: not_ready.is_empty(),
        not_ready,
        draining: app.status.is_draining(),
        connections: app.status.connections(),
        engine: app.engine_load(),
        project: ProjectStatus::of(served),
        reload: ReloadStatus::of(app.reloads.state()),
    }
}

impl ProjectStatus {
    fn of(served: &Served) -> Self {
        let tables = served.project.tables().iter().map(|table| TableStatus {
            name: table.name().to_owned(),
            version: table.version_name(),
            rows: table.rows(),
            files: table.file_count(),
            skipped: skipped(table.skipped()),
        });
        let unavailable = served.project.away().unavailable().map(|(name, reason)| {
            let (name, reason) = (name.to_owned(), reason.to_string());
            UnavailableTable { name, reason }
        });
        Self {
            endpoints: served.project.endpoints().count(),
            tables: tables.collect(),
            unavailable: unavailable.collect(),
            warnings: served.config().warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

fn skipped(skipped: Skipped) -> Option<SkippedStatus> {
    let Skipped { rows, values, files } = skipped;
    (!skipped.is_nothing()).then_some(SkippedStatus { rows, values, files })
}

impl ReloadStatus {
    fn of(state: ReloadState) -> Self {
        let fault = |fault: Fault| FaultStatus { since: time(fault.since), detail: fault.text };
        Self {
            project_at: state.project_at.map(time),
            projects: state.projects,
            tables_at: state.tables_at.map(time),
            tables: state.tables,
            failures: state.failures,
            project_fault: state.project_fault.map(fault),
            tables_fault: state.tables_fault.map(fault),
            after_restart: state.after_restart,
        }
    }
}
