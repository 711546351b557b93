//! `/admin/status`: the state of the server, with everything that `/health` hides because it takes no token.

use std::sync::Arc;

use axum::{Extension, Json, extract};
use lakegate_query::lake::Skipped;
use serde::Serialize;

use super::AdminState;
use crate::admin::{AdminService, time};
use crate::app::{App, EngineLoad, Served};
use crate::context::RequestContext;
use crate::http::health;
use crate::reload::{ReloadFault, ReloadState};

/// The state of a server. The process is described at the top level, the served project in `project`.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    started_at: String,
    uptime_seconds: u64,
    ready: bool,
    /// The reasons why the server is not ready; empty if it is.
    not_ready: Vec<Reason>,
    draining: bool,
    connections: usize,
    /// Running and queued queries, and the memory that they hold.
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
    /// Tables that could not be read since the server started. Endpoints that need them return 503.
    unavailable: Vec<UnavailableTable>,
    /// Environment variables that have no effect.
    warnings: Vec<String>,
}

/// The results of reloading while the server runs.
#[derive(Serialize)]
struct ReloadStatus {
    /// When a changed project was last loaded and served, and how often that has happened.
    project_at: Option<String>,
    projects: u64,
    /// When changed table files were last taken up, and how often.
    tables_at: Option<String>,
    tables: u64,
    failures: u64,
    /// Why the current files are not served.
    project_fault: Option<FaultStatus>,
    tables_fault: Option<FaultStatus>,
    /// Changed settings that take effect at the next start.
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
    /// The fault, worded as in `lakegate check`.
    reason: String,
}

#[derive(Serialize)]
struct TableStatus {
    name: String,
    version: String,
    /// `None` if the files do not record their row count.
    rows: Option<usize>,
    files: usize,
    /// `None` if nothing is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<SkippedStatus>,
}

#[derive(Serialize)]
struct SkippedStatus {
    rows: u64,
    values: u64,
    files: u64,
}

/// Returns the current status.
pub(super) async fn show(
    _: AdminService,
    extract::State(state): extract::State<Arc<AdminState>>,
    Extension(context): Extension<Arc<RequestContext>>,
) -> Json<Status> {
    Json(status(&state.app, &context.served).await)
}

async fn status(app: &App, served: &Arc<Served>) -> Status {
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
        project: ProjectStatus::new(served),
        reload: ReloadStatus::new(app.reloads.state()),
    }
}

impl ProjectStatus {
    fn new(served: &Served) -> Self {
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
    fn new(state: ReloadState) -> Self {
        let fault = |fault: ReloadFault| FaultStatus { since: time(fault.since), detail: fault.text };
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
