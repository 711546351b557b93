//! `GET` and `POST /api/{endpoint}`: reads arguments from the query string and the body, and returns rows.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use lakegate_core::access::Presented;
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::Error;
use lakegate_core::format::Representation;
use lakegate_query::encode;
use lakegate_query::engine::{BatchStream, met_another_file};

use super::repeat::{Caller, Heads, Repeat};
use super::respond::{Failure, not_modified};
use super::{accept, answer, asked, body, repeat, token};
use crate::app::{App, Served};
use crate::audit::Trail;
use crate::limits;
use crate::observe::{CacheAnswer, Event, Said, method_name};
use crate::pipeline::{self, Prepared};
use crate::reload;
use crate::repeated::{Before, Found};
use crate::results::Claim;

/// The maximum number of runs of a request, the first included, if table files are replaced while it runs.
const MOST_RUNS: usize = 3;

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
    Extension(served): Extension<Arc<Served>>,
    Extension(trail): Extension<Trail>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    trail.asked(name(&endpoint));
    let (parts, _) = request.into_parts();
    let asked = Request::new(&app, served, name(&endpoint), &parts, trail);
    let caller = match again(&asked).await? {
        Again::Answered(response) => return Ok(response),
        Again::New(caller) => caller,
    };
    let raw = arguments(asked.uri.query())?;
    respond(asked, raw, caller).await
}

/// Handles `POST`: takes arguments from a JSON object, and from the query string as well.
pub(super) async fn by_body(
    State(app): State<Arc<App>>,
    endpoint: EndpointName,
    Extension(served): Extension<Arc<Served>>,
    Extension(trail): Extension<Trail>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    trail.asked(name(&endpoint));
    let (parts, body) = request.into_parts();
    let mut raw = arguments(parts.uri.query())?;
    trail.came(&raw);
    // The server reads no body for a caller without a token.
    token::presented(&parts.headers)?;
    let server = &served.config().server;
    let bytes = body::read(body, server.max_body_bytes, server.timeout).await?;
    let asked = Request { body: &bytes, ..Request::new(&app, served, name(&endpoint), &parts, trail) };
    let caller = match again(&asked).await? {
        Again::Answered(response) => return Ok(response),
        Again::New(caller) => caller,
    };
    raw.add_json(&bytes).map_err(|error| body::blame_media_type(error, &parts.headers))?;
    respond(asked, raw, caller).await
}

/// A request without its parsed arguments.
pub(super) struct Request<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) served: Arc<Served>,
    pub(super) endpoint: &'a str,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    /// The URI with the prefix that the router strips from `uri`.
    pub(super) whole_uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// The request body; empty where it does not matter.
    pub(super) body: &'a [u8],
    pub(super) trail: Trail,
}

impl<'a> Request<'a> {
    fn new(app: &'a Arc<App>, served: Arc<Served>, endpoint: &'a str, parts: &'a Parts, trail: Trail) -> Self {
        let Parts { method, uri, headers, extensions, .. } = parts;
        let whole_uri = extensions.get().unwrap_or(uri);
        Self { app, served, endpoint, method, uri, whole_uri, headers, body: &[], trail }
    }

    /// Parses the arguments from the query string and the body.
    fn arguments(&self) -> Result<RawArguments, Error> {
        let mut raw = arguments(self.uri.query())?;
        raw.add_json(self.body)?;
        Ok(raw)
    }
}

fn arguments(query: Option<&str>) -> Result<RawArguments, Error> {
    let mut raw = RawArguments::default();
    raw.add_query(body::pairs(query)?)?;
    Ok(raw)
}

/// Whether the response memo answered the request.
enum Again {
    Answered(Response),
    /// The memo has no response. Holds the caller if it was authenticated.
    New(Option<Caller>),
}

/// Answers from the response memo if possible.
async fn again(asked: &Request<'_>) -> Result<Again, Failure> {
    match repeat::answer(asked).await {
        Repeat::Answered(response) => Ok(Again::Answered(response)),
        Repeat::Refused(remembered, error) => {
            asked.trail.came(&asked.arguments()?);
            asked.trail.allowed(remembered.found.call.authorized());
            Err(error.into())
        }
        Repeat::New(caller) => Ok(Again::New(Some(caller))),
        Repeat::Unknown => Ok(Again::New(None)),
    }
}

/// The parts that stay the same across stale-file retries.
struct Constant {
    token: Presented,
    representation: Representation,
    came: Instant,
    /// The deadline that the first run determined; retries share it.
    deadline: OnceLock<Instant>,
}

/// Answers a request that the response memo does not hold. If a table file was replaced before the response started,
/// refreshes the lake and retries the request.
async fn respond(mut asked: Request<'_>, raw: RawArguments, caller: Option<Caller>) -> Result<Response, Failure> {
    asked.trail.came(&raw);
    let token = token::presented(asked.headers)?;
    let representation = accept::representation(raw.modifiers(), asked.headers)?;
    let caller = match caller {
        Some(caller) => caller,
        None => Caller::look(&asked.trail, &asked.served, &token).await,
    };
    let constant = Constant { token, representation, came: Instant::now(), deadline: OnceLock::new() };
    let mut answered = run(&asked, raw, caller, &constant).await;
    for _ in 1..MOST_RUNS {
        let Some(deadline) = constant.deadline.get() else { break };
        if !answered.as_ref().is_err_and(met_another_file) {
            break;
        }
        let Some(served) = reload::look_for(asked.app, &asked.served, (*deadline).into()).await else { break };
        asked.served = served;
        // The caller and its grants may have changed along with the tables.
        let caller = Caller::look_again(&asked.trail, &asked.served, &constant.token).await;
        answered = run(&asked, asked.arguments()?, caller, &constant).await;
    }
    Ok(answered?)
}

/// Runs the request once against the served project.
async fn run(asked: &Request<'_>, raw: RawArguments, caller: Caller, constant: &Constant) -> Result<Response, Error> {
    let Request { app, served, endpoint, method, uri, headers, trail, .. } = asked;
    let Constant { token, representation, came, deadline } = constant;
    let Caller { now, generation, known } = caller;
    let (principal, credential) = known?;
    let (endpoint, came) = (*endpoint, *came);
    let (engine, seal) = (trail.watch().over(app.engine.as_ref()), app.access.seal());
    let before = Before::govern(&served.project, now);
    let asks = pipeline::Asked { principal: &principal, grants: &credential.grants, endpoint, raw, now, came };
    let prepared = pipeline::prepare(&served.project, seal, asks, trail).await?;
    let _ = deadline.set(prepared.limits.deadline);
    let state = asked::DataState::of(&prepared, seal);

    // A response that depends on the time of the request has no validator.
    let is_lasting = prepared.is_lasting();
    let validator = is_lasting.then(|| seal.validator(prepared.plan.fingerprint(), &representation.to_string()));
    // A count is always computed, because a caller with the response does not have the number.
    let counts = asked::prefers_count(headers);
    // The response headers that do not depend on compression.
    let head = || {
        let mut head = HeaderMap::with_capacity(16);
        accept::describe(&mut head, representation, None, endpoint);
        if let Some(validator) = validator.as_ref().filter(|_| repeat::has_validator(method)) {
            asked::add_validator(&mut head, validator);
        }
        state.add(&mut head);
        head
    };
    let remember = |prepared: &Prepared, validator: &str| {
        if counts || !prepared.is_plain() {
            return;
        }
        let (call, findings) = (prepared.call().clone(), trail.findings(&prepared.plan));
        let found = Found {
            credential: Arc::clone(&credential),
            generation,
            is_limited: limits::are_counted(served.config(), &call),
            call,
            findings,
            validator: validator.to_owned(),
            heads: Heads::of(head()),
            series: app.observer.endpoint(endpoint),
            said: Said::of(method_name(method), asked.whole_uri.path(), endpoint),
        };
        repeat::remember(asked, token, before, found);
    };
    let known = validator.as_ref().filter(|validator| !counts && asked::has_already(method, headers, validator));
    if let Some(validator) = known {
        app.observer.notice(&Event::CacheAsked(CacheAnswer::NotModified));
        let mut response = not_modified();
        asked::add_validator(response.headers_mut(), validator);
        state.add(response.headers_mut());
        remember(&prepared, validator);
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
        encode::bounded_encoder(representation, rows.schema(), formats, most)
    };
    let ((mut response, coding), next) = match claim {
        Claim::Kept(kept) | Claim::Joined(kept) => {
            if let Some(validator) = &validator {
                remember(&prepared, validator);
            }
            (answer::kept(&kept, trail), kept.answered.next)
        }
        Claim::Alone => {
            let (rows, next) = pipeline::run(&engine, seal, prepared).await?;
            let encoder = encoder(&rows)?;
            (answer::start(rows, encoder, trail.clone(), None).await?, next)
        }
        Claim::First(flight) => {
            let (rows, next) = pipeline::run(&engine, seal, prepared).await?;
            flight.runs();
            let shared = answer::Shared { flight, next: next.clone() };
            let encoder = encoder(&rows)?;
            (answer::start(rows, encoder, trail.clone(), Some(shared)).await?, next)
        }
    };
    let answered = response.headers_mut();
    answered.extend(head());
    accept::encoded(answered, coding);
    if let Some(total) = total {
        asked::add_total(&mut response, total);
    }
    if let Some(cursor) = next {
        asked::add_next(&mut response, uri.query(), &cursor);
    }
    Ok(response)
}
