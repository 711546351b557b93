//! `GET` and `POST /api/{endpoint}`: hands requests to endpoints to the pipeline. `HEAD` is a `GET` whose body the router
//! drops.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::Response;

use super::problem::Failure;
use crate::app::App;
use crate::context::RequestContext;
use crate::pipeline::receive::{self, EndpointRequest};
use crate::{pipeline, token};

/// The endpoint name in the path, or the rejection of a name that is not UTF-8.
type EndpointName = Result<Path<String>, PathRejection>;

/// The endpoint name; empty if it is not UTF-8. No endpoint has an empty name, so a name that is not text looks unknown
/// to every caller.
fn name(endpoint: &EndpointName) -> &str {
    endpoint.as_ref().map_or("", |Path(name)| name.as_str())
}

/// Handles `GET`: takes arguments from the query string.
pub(super) async fn by_query(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    Extension(context): Extension<Arc<RequestContext>>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let endpoint = name(&endpoint);
    context.endpoint_named(endpoint);
    let (parts, _) = request.into_parts();
    let raw = receive::query_arguments(parts.uri.query())?;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let request = EndpointRequest { endpoint, method, uri, headers, body: &[] };
    Ok(pipeline::answer(&app, &context, request, raw).await?)
}

/// Handles `POST`: takes arguments from a JSON object, and from the query string as well.
pub(super) async fn by_body(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    Extension(context): Extension<Arc<RequestContext>>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let endpoint = name(&endpoint);
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
    let request = EndpointRequest { endpoint, method, uri, headers, body: &bytes };
    Ok(pipeline::answer(&app, &context, request, raw).await?)
}
