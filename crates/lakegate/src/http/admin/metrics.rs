//! `GET /metrics`: metrics for Prometheus. Takes admin tokens, and tokens of principals with a role in `metrics_for`,
//! so that a metrics collector needs no token with more rights.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lakegate_core::access::Presented;
use lakegate_core::error::{Code, Error};

use crate::context::RequestContext;
use crate::http::problem::Failure;
use crate::{pipeline, token};

/// The OpenMetrics content type, which Prometheus prefers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns all metrics as they are now.
pub(super) async fn metrics(
    State(state): State<Arc<super::AdminState>>,
    Extension(context): Extension<Arc<RequestContext>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token = token::presented(&headers)?;
    admit(&state, &context, &token).await?;
    let text = state.app.observer.exposition(&state.app, &context.served);
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Checks that the token may read metrics.
async fn admit(state: &super::AdminState, context: &RequestContext, token: &Presented) -> Result<(), Error> {
    let refused = match pipeline::authenticate_admin(&state.app, context, token).await {
        Ok(_) => return Ok(()),
        Err(refused) => refused,
    };
    let served = &context.served;
    let roles = &served.config().observe.metrics_for;
    if refused.code != Code::AccessNotAdmin || roles.is_empty() {
        return Err(refused);
    }
    let principal = pipeline::authenticate(context, served, token).await?.principal;
    if !roles.iter().any(|role| principal.has_role(role)) {
        return Err(refused);
    }
    // A token that is scoped to endpoints is good for those endpoints and nothing else.
    if principal.scope().endpoints.is_some() {
        return Err(Error::new(Code::AccessOutOfScope, "this token is for some endpoints only, and not for metrics")
            .hint("issue one without a scope"));
    }
    Ok(())
}
