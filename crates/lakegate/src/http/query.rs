//! `GET` and `POST /api/{endpoint}`: hands requests to endpoints to the pipeline. `HEAD` is a `GET` whose body the service
//! drops.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use lakegate_core::error::Error;

use crate::app::App;
use crate::context::RequestContext;
use crate::pipeline::receive::{self, EndpointRequest};
use crate::{pipeline, token};

/// Answers `GET`: takes arguments from the query string.
pub(super) async fn by_query(
    app: &Arc<App>,
    context: &Arc<RequestContext>,
    endpoint: &str,
    request: Request<Body>,
) -> Result<Response, Error> {
    context.endpoint_named(endpoint);
    let raw = receive::query_arguments(request.uri().query())?;
    let (parts, _) = request.into_parts();
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    pipeline::answer(app, context, EndpointRequest { endpoint, method, uri, headers, body: &[] }, raw).await
}

/// Answers `POST`: takes arguments from a JSON object, and from the query string as well.
pub(super) async fn by_body(
    app: &Arc<App>,
    context: &Arc<RequestContext>,
    endpoint: &str,
    request: Request<Body>,
) -> Result<Response, Error> {
    context.endpoint_named(endpoint);
    let (parts, body) = request.into_parts();
    let mut raw = receive::query_arguments(parts.uri.query())?;
    context.audit.arguments_named(&raw);
    // The server reads no body for a caller without a token.
    token::presented(&parts.headers)?;
    let server = &context.served.config().server;
    let bytes = receive::body(body, server.max_body_bytes, server.timeout).await?;
    raw.add_json(&bytes).map_err(|error| receive::blame_media_type(error, &parts.headers))?;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    pipeline::answer(app, context, EndpointRequest { endpoint, method, uri, headers, body: &bytes }, raw).await
}
