//! `GET /metrics`: the metrics for Prometheus. For admin tokens, and for principals with a role that the project names, so
//! that whoever collects metrics needs no token that can do more.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lakegate_core::access::Presented;
use lakegate_core::error::{Code, Error};

use crate::app::Served;
use crate::audit::Trail;
use crate::clock;
use crate::http::respond::Failure;
use crate::http::token;

/// The format OpenMetrics, which Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as they are now.
pub(super) async fn metrics(
    State(state): State<Arc<super::State>>,
    Extension(served): Extension<Arc<Served>>,
    Extension(trail): Extension<Trail>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token = token::presented(&headers)?;
    admit(&state, &served, &trail, &token).await?;
    let text = state.app.observer.exposition(&state.app, &served);
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Whether whoever has this token may read metrics.
async fn admit(state: &super::State, served: &Served, trail: &Trail, token: &Presented) -> Result<(), Error> {
    let now = clock::now();
    let refused = match trail.authenticate_admin(&state.app, served, token, now).await {
        Ok(_) => return Ok(()),
        Err(refused) => refused,
    };
    let roles = &served.config().observe.metrics_for;
    if refused.code != Code::AccessNotAdmin || roles.is_empty() {
        return Err(refused);
    }
    let (principal, _) = trail.authenticate(served, token, now).await?;
    if !roles.iter().any(|role| principal.has_role(role)) {
        return Err(refused);
    }
    // A token for some endpoints is for them and for nothing else.
    if principal.scope().endpoints.is_some() {
        return Err(Error::new(Code::AccessOutOfScope, "this token is for some endpoints only, and not for metrics")
            .hint("issue one without a scope"));
    }
    Ok(())
}
