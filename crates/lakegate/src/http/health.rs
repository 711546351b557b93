//! `/health/live` and `/health/ready`: liveness and readiness. Neither needs a token, so neither names anything of the
//! project.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use lakegate_core::error::{Code, Error};
use serde_json::{Value, json};

use super::problem::Failure;
use crate::app::{App, Served};
use crate::context::RequestContext;

/// Liveness: returns 200 whenever the process can respond.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Readiness: the project is loaded, the access store and the lake are reachable, and the server is not draining.
pub(super) async fn ready(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Arc<RequestContext>>,
) -> Result<Json<Value>, Failure> {
    let errors = not_ready(&app, &context.served).await;
    if errors.is_empty() {
        let warnings = warnings(&app, &context.served);
        return Ok(Json(match warnings.is_empty() {
            true => json!({ "status": "ready" }),
            false => json!({ "status": "ready", "warnings": warnings }),
        }));
    }
    let detail = errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; ");
    Err(Failure(Error { errors, ..Error::new(Code::HealthNotReady, detail) }))
}

/// Problems that an operator should look at, although requests still succeed.
fn warnings(app: &App, served: &Served) -> Vec<&'static str> {
    let state = app.reloads.state();
    let project = state.project_fault.is_some().then_some("project_not_reloaded");
    let tables = state.tables_fault.is_some().then_some("tables_not_refreshed");
    let away = (!served.project.away().is_nothing()).then_some("tables_away");
    [project, tables, away].into_iter().flatten().collect()
}

/// The reasons why the server is not ready; empty if it is.
pub(super) async fn not_ready(app: &App, served: &Arc<Served>) -> Vec<Error> {
    let mut errors = Vec::new();
    if app.status.is_draining() {
        errors.push(Error::new(Code::HealthDraining, "the server is about to stop"));
    }
    errors.extend(app.access.ready().err());
    if !served.project.lake().is_reachable().await {
        errors.push(Error::new(Code::LakeUnavailable, "the lake cannot be reached"));
    }
    errors
}
