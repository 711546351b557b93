//! `GET` and `POST` of an endpoint: arguments from the query string and the body, rows back.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::Error;

use super::respond::{Failure, RequestId};
use super::{accept, answer, body, token};
use crate::app::{App, Served};
use crate::audit::Trail;
use crate::pipeline;

/// The name in the path; the other side is a name that is not UTF-8.
type EndpointName = Result<Path<String>, PathRejection>;

/// No endpoint has an empty name: what is not text is as unknown as any other name, to a known caller and an unknown one.
fn name(endpoint: &EndpointName) -> &str {
    endpoint.as_ref().map_or("", |Path(name)| name.as_str())
}

/// Arguments from the query string.
pub(super) async fn by_query(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    RawQuery(query): RawQuery,
    Extension(served): Extension<Arc<Served>>,
    Extension(id): Extension<RequestId>,
    Extension(trail): Extension<Trail>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    trail.asked(name(&endpoint));
    let raw = arguments(query.as_deref())?;
    respond(&app, &served, name(&endpoint), raw, &headers, id, trail).await
}

/// Arguments from a JSON object, and from the query string beside it.
pub(super) async fn by_body(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    RawQuery(query): RawQuery,
    Extension(served): Extension<Arc<Served>>,
    Extension(id): Extension<RequestId>,
    Extension(trail): Extension<Trail>,
    request: Request,
) -> Result<Response, Failure> {
    trail.asked(name(&endpoint));
    let (parts, body) = request.into_parts();
    let mut raw = arguments(query.as_deref())?;
    trail.came(&raw);
    // A caller without a token does not make the server read a body.
    token::presented(&parts.headers)?;
    let server = &served.config().server;
    let bytes = body::read(body, server.max_body_bytes, server.timeout).await?;
    raw.add_json(&bytes).map_err(|error| body::blame_media_type(error, &parts.headers))?;
    respond(&app, &served, name(&endpoint), raw, &parts.headers, id, trail).await
}

fn arguments(query: Option<&str>) -> Result<RawArguments, Error> {
    let mut raw = RawArguments::default();
    raw.add_query(body::pairs(query)?)?;
    Ok(raw)
}

async fn respond(
    app: &App,
    served: &Served,
    endpoint: &str,
    raw: RawArguments,
    headers: &HeaderMap,
    id: RequestId,
    trail: Trail,
) -> Result<Response, Failure> {
    trail.came(&raw);
    let token = token::presented(headers)?;
    let encoder = accept::encoder(raw.modifiers().format(), headers)?;
    let rows = pipeline::answer(app, served, &token, endpoint, raw, &trail).await?;
    Ok(answer::start(rows, encoder, id, trail).await?)
}
