//! Liveness and readiness: two questions. Neither needs a token, so neither tells anything about the project.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use lakegate_core::error::{Code, Error};
use serde_json::{Value, json};

use super::respond::Failure;
use crate::app::{App, Served};

/// The process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// The project is loaded, and the access store and the lake can be reached.
pub(super) async fn ready(
    State(app): State<Arc<App>>,
    Extension(served): Extension<Arc<Served>>,
) -> Result<Json<Value>, Failure> {
    app.access.ready()?;
    if !served.project.lake().is_reachable() {
        return Err(Error::new(Code::LakeUnavailable, "the lake can not be reached").into());
    }
    Ok(Json(json!({ "status": "ready" })))
}
