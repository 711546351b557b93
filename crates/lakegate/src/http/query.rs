//! `GET` and `POST` of an endpoint: arguments from the query string and the body, rows back.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::Error;
use lakegate_query::encode;
use lakegate_query::engine::BatchStream;

use super::respond::{Failure, not_modified};
use super::{accept, answer, asked, body, token};
use crate::app::{App, Served};
use crate::audit::Trail;
use crate::observe::{CacheAnswer, Event};
use crate::pipeline;
use crate::results::Claim;

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
    Extension(trail): Extension<Trail>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    trail.asked(name(&endpoint));
    let raw = arguments(query.as_deref())?;
    let (parts, _) = request.into_parts();
    let (method, query, headers) = (&parts.method, query.as_deref(), &parts.headers);
    let asked = Request { app: &app, served: &served, endpoint: name(&endpoint), method, query, headers, trail };
    respond(asked, raw).await
}

/// Arguments from a JSON object, and from the query string beside it.
pub(super) async fn by_body(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    RawQuery(query): RawQuery,
    Extension(served): Extension<Arc<Served>>,
    Extension(trail): Extension<Trail>,
    request: axum::extract::Request,
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
    let (method, query, headers) = (&parts.method, query.as_deref(), &parts.headers);
    let asked = Request { app: &app, served: &served, endpoint: name(&endpoint), method, query, headers, trail };
    respond(asked, raw).await
}

/// What came, apart from the arguments.
struct Request<'a> {
    app: &'a App,
    served: &'a Served,
    endpoint: &'a str,
    method: &'a Method,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    trail: Trail,
}

fn arguments(query: Option<&str>) -> Result<RawArguments, Error> {
    let mut raw = RawArguments::default();
    raw.add_query(body::pairs(query)?)?;
    Ok(raw)
}

async fn respond(asked: Request<'_>, raw: RawArguments) -> Result<Response, Failure> {
    let Request { app, served, endpoint, method, query, headers, trail } = asked;
    trail.came(&raw);
    let token = token::presented(headers)?;
    let representation = accept::representation(raw.modifiers(), headers)?;
    let prepared = pipeline::prepare(app, served, &token, endpoint, raw, &trail).await?;
    let (engine, seal) = (trail.watch().over(app.engine.as_ref()), app.access.seal());
    let state = asked::DataState::of(&prepared, seal);

    // What depends on the time of the request is another answer each time.
    let is_lasting = !prepared.plan.depends_on_time();
    let validator = is_lasting.then(|| seal.validator(prepared.plan.fingerprint(), &representation.to_string()));
    // A count is asked for anew: who has the answer does not have the number.
    let counts = asked::prefers_count(headers);
    let known = validator.as_ref().filter(|validator| !counts && asked::has_already(method, headers, validator));
    if let Some(validator) = known {
        app.observer.notice(&Event::CacheAsked(CacheAnswer::NotModified));
        let mut response = not_modified();
        asked::add_validator(&mut response, validator);
        state.add(&mut response);
        return Ok(response);
    }
    let total = match counts {
        true => Some(pipeline::count(served, &engine, &prepared).await?),
        false => None,
    };
    let claim = match &validator {
        Some(validator) => {
            let keep_for = prepared.call().endpoint().cache_for;
            app.results.claim(validator.clone(), keep_for, prepared.limits.deadline).await
        }
        None => Claim::Alone,
    };
    if let Some(said) = claim.said() {
        app.observer.notice(&Event::CacheAsked(said));
    }
    let encoder = |rows: &BatchStream| {
        let (formats, most) = (&served.config().formats, rows.max_result_bytes());
        encode::bounded_encoder(&representation, rows.schema(), formats, most)
    };
    let ((mut response, coding), next) = match claim {
        Claim::Kept(kept) | Claim::Joined(kept) => (answer::kept(&kept, &trail), kept.answered.next),
        Claim::Alone => {
            let (rows, next) = pipeline::run(&engine, seal, prepared).await?;
            let encoder = encoder(&rows)?;
            (answer::start(rows, encoder, trail, None).await?, next)
        }
        Claim::First(flight) => {
            let (rows, next) = pipeline::run(&engine, seal, prepared).await?;
            flight.runs();
            let shared = answer::Shared { flight, next: next.clone() };
            let encoder = encoder(&rows)?;
            (answer::start(rows, encoder, trail, Some(shared)).await?, next)
        }
    };
    accept::describe(response.headers_mut(), &representation, coding, endpoint);
    if let Some(validator) = validator.filter(|_| matches!(*method, Method::GET | Method::HEAD)) {
        asked::add_validator(&mut response, &validator);
    }
    state.add(&mut response);
    if let Some(total) = total {
        asked::add_total(&mut response, total);
    }
    if let Some(cursor) = next {
        asked::add_next(&mut response, query, &cursor);
    }
    Ok(response)
}
