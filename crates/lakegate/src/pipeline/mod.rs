//! The way of a request to an endpoint, from its bytes to its response: [`answer_once`] shows all stages in order.
//!
//! receive → authenticate → authorize → admit → (memo) → arguments → govern → claim → run → encode
//!
//! Each stage takes the type that only the stage before it makes. Stages decide; the audit record and the timer in the
//! [`RequestContext`] only listen. Routing, error bodies and the headers of every response are in [`crate::http`].

pub mod body;
pub mod conditional;
pub mod negotiation;
pub mod receive;
pub mod stages;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use lakegate_core::access::{
    Admin, Authorized, Credential, Presented, Principal, authenticate_admin as authenticate_admin_of,
};
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::{Code, Error, Kind};
use lakegate_core::format::Representation;
use lakegate_core::project::Endpoint;
use lakegate_query::encode;
use lakegate_query::engine::{BatchStream, met_another_file};

use crate::app::{App, Served};
use crate::clock;
use crate::context::RequestContext;
use crate::memo::{MemoEntry, MemoStart, Recalled, RequestKey, StoredHeaders};
use crate::observe::{CacheLookup, Event, Stage};
use crate::reload;
use crate::response_cache::Claim;
use receive::EndpointRequest;
use stages::Governed;

/// The maximum number of runs of a request, the first included, if table files are replaced while it runs.
const MAX_RUNS: usize = 3;

/// An authenticated caller.
pub struct Caller {
    /// The principal.
    pub principal: Principal,
    /// The token, and all grants to the principal and its roles.
    pub credential: Arc<Credential>,
    /// When it was authenticated, which is the time of the request.
    pub now: DateTime<Utc>,
}

/// A request whose parts are read: nothing of it is checked yet.
struct Received<'a> {
    app: &'a Arc<App>,
    context: &'a Arc<RequestContext>,
    request: EndpointRequest<'a>,
    token: Presented,
    representation: Representation,
    came: Instant,
    /// The deadline that the first run determined; retries share it.
    deadline: OnceLock<Instant>,
}

/// Answers a request to an endpoint. If a table file was replaced before the response started, refreshes the lake and
/// retries the request.
///
/// # Errors
/// That of the first stage that refuses or fails.
pub async fn answer(
    app: &Arc<App>,
    context: &Arc<RequestContext>,
    request: EndpointRequest<'_>,
    raw: RawArguments,
) -> Result<Response, Error> {
    context.audit.arguments_named(&raw);
    let token = crate::token::presented(request.headers)?;
    let representation = negotiation::representation(raw.modifiers(), request.headers)?;
    let deadline = OnceLock::new();
    let received = Received { app, context, request, token, representation, came: Instant::now(), deadline };
    let answered = answer_once(&received, &context.served, raw).await;
    match received.deadline.get() {
        Some(deadline) if answered.as_ref().is_err_and(met_another_file) => {
            retry(&received, *deadline, answered).boxed().await
        }
        _ => answered,
    }
}

/// Runs the request again against refreshed tables, for as long as its files are replaced.
async fn retry(
    received: &Received<'_>,
    deadline: Instant,
    mut answered: Result<Response, Error>,
) -> Result<Response, Error> {
    let mut served = Arc::clone(&received.context.served);
    for _ in 1..MAX_RUNS {
        if !answered.as_ref().is_err_and(met_another_file) {
            break;
        }
        let Some(refreshed) = reload::refresh_stale(received.app, &served, deadline.into()).await else { break };
        served = refreshed;
        // The caller and its grants may have changed along with the tables, so every stage runs again.
        received.context.audit.restarted();
        answered = answer_once(received, &served, received.request.arguments()?).await;
    }
    answered
}

/// All stages of a request, in order.
async fn answer_once(received: &Received<'_>, served: &Arc<Served>, raw: RawArguments) -> Result<Response, Error> {
    let caller = authenticate(received.context, served, &received.token).await?;
    let (authorized, endpoint) = authorize(received, served, &caller)?;
    admit(received, &authorized, &endpoint, &caller)?;
    if let Some(response) = recall(received, served, &caller) {
        return Ok(response);
    }
    // The rest is boxed: most requests that the memo answers need not carry its large future.
    answer_anew(received, served, &caller, authorized, endpoint, raw).boxed().await
}

/// The stages of a request that the memo did not answer.
async fn answer_anew(
    received: &Received<'_>,
    served: &Arc<Served>,
    caller: &Caller,
    authorized: Authorized,
    endpoint: Arc<Endpoint>,
    raw: RawArguments,
) -> Result<Response, Error> {
    let Received { app, context, .. } = received;
    let start = MemoStart::new(&served.project, caller.now);
    let call = stages::type_arguments(&served.project, authorized, endpoint, raw)?;
    context.called(&call, served);
    let governed = stages::govern(&served.project, app.access.signer(), call, caller.now).await?;
    context.governed(&caller.principal, &governed.plan);
    claim_and_run(received, served, caller, start, governed).await
}

/// Authenticates the caller, and counts the request against the rate limits of its principal.
///
/// # Errors
/// If the token is invalid, or the principal exceeds a rate limit.
pub async fn authenticate(context: &RequestContext, served: &Served, token: &Presented) -> Result<Caller, Error> {
    let now = clock::now();
    context.timer.start_stage();
    let known = served.identity.authenticate(token, now).await;
    context.timer.end_stage(Stage::Authenticate);
    let (principal, credential) = match known {
        Ok(known) => known,
        Err(error) => {
            identify(context, served, token, Some(&error)).await;
            return Err(error);
        }
    };
    context.timer.authenticated(&principal);
    context.audit.identified(&credential, &served.project);
    context.rate_limits.count_principal(served.config(), &principal, now)?;
    Ok(Caller { principal, credential, now })
}

/// Authenticates an administrator.
///
/// # Errors
/// If the token is invalid, or is not an admin token.
pub async fn authenticate_admin(app: &App, context: &RequestContext, token: &Presented) -> Result<Admin, Error> {
    let (now, served) = (clock::now(), &context.served);
    context.timer.start_stage();
    let known = match token {
        Presented::Token(token) => app.access.authenticate_admin(token, now).await,
        // A JWT never grants administration; the refusal comes from the same function as all others.
        Presented::Jwt(_) => {
            served.identity.credential(token).await.and_then(|known| authenticate_admin_of(&known, now))
        }
    };
    context.timer.end_stage(Stage::Authenticate);
    identify(context, served, token, known.as_ref().err()).await;
    known
}

/// Reports the principal of a token that the access store knows, even if the token was refused.
async fn identify(context: &RequestContext, served: &Served, token: &Presented, refusal: Option<&Error>) {
    let is_known = refusal.is_none_or(|refusal| {
        refusal.code != Code::AccessTokenUnknown
            && matches!(refusal.code.kind(), Kind::Unauthenticated | Kind::Forbidden)
    });
    if is_known
        && context.audit.is_on()
        && let Ok(credential) = served.identity.credential(token).await
    {
        context.audit.identified(&credential, &served.project);
    }
}

/// Checks that the caller may call the endpoint.
fn authorize(received: &Received<'_>, served: &Served, caller: &Caller) -> Result<(Authorized, Arc<Endpoint>), Error> {
    let Caller { principal, credential, now } = caller;
    let authorized = stages::authorize(&served.project, principal, &credential.grants, received.request.endpoint, *now);
    let (authorized, endpoint) = authorized.map_err(|denial| {
        if let Some(reason) = &denial.reason {
            received.context.denied(reason);
        }
        denial.error
    })?;
    received.context.allowed(&authorized);
    Ok((authorized, endpoint))
}

/// Counts the call against the rate limits of the endpoint and the grants.
fn admit(received: &Received<'_>, authorized: &Authorized, endpoint: &Endpoint, caller: &Caller) -> Result<(), Error> {
    received.context.rate_limits.count_call(authorized, endpoint, caller.now)
}

/// The response to a request that the memo knows, if the response cache still has it or the caller does.
fn recall(received: &Received<'_>, served: &Served, caller: &Caller) -> Option<Response> {
    let Received { app, context, request, .. } = received;
    let key = memo_key(received)?;
    let entry = served.memo.find(&key, &caller.credential, &served.project, caller.now)?;
    let MemoEntry { validator, headers, recalled, .. } = entry.as_ref();
    let is_not_modified = conditional::has_already(request.method, request.headers, validator);
    let cached = if is_not_modified { None } else { Some(app.response_cache.get(validator)?) };
    context.recalled(&caller.principal, recalled);
    let claimed = if is_not_modified { CacheLookup::NotModified } else { CacheLookup::Hit };
    app.observer.notice(&Event::CacheLookedUp(claimed));
    let (mut response, coding) = match &cached {
        Some(cached) => body::cached_response(cached, context),
        None => (conditional::not_modified(), None),
    };
    headers.add(response.headers_mut(), is_not_modified);
    negotiation::encoded(response.headers_mut(), coding);
    Some(response)
}

fn memo_key<'a>(received: &Received<'a>) -> Option<RequestKey<'a>> {
    let EndpointRequest { method, uri, headers, body, .. } = received.request;
    RequestKey::new(&received.token, method, uri, body, headers)
}

/// Claims the response: the caller has it, the response cache has it, another request is computing it, or this request
/// runs the query and encodes its rows.
async fn claim_and_run(
    received: &Received<'_>,
    served: &Arc<Served>,
    caller: &Caller,
    start: MemoStart,
    governed: Governed,
) -> Result<Response, Error> {
    let Received { app, context, request, representation, .. } = received;
    let (engine, signer) = (context.timer.timed(app.engine.as_ref()), app.access.signer());
    let limits = governed.limits(served.config(), received.came);
    let _ = received.deadline.set(limits.deadline);
    let state = conditional::DataState::new(&governed, signer);
    // A response that depends on the time of the request has no validator.
    let validator =
        governed.is_deterministic().then(|| signer.validator(governed.plan.fingerprint(), &representation.to_string()));
    // A count is always computed, because a caller with the response does not have the number.
    let counts = conditional::prefers_count(request.headers);
    // The response headers that do not depend on compression.
    let described = || {
        let mut headers = HeaderMap::with_capacity(16);
        negotiation::describe(&mut headers, representation, None, request.endpoint);
        if let Some(validator) = validator.as_ref().filter(|_| conditional::has_validator(request.method)) {
            conditional::add_validator(&mut headers, validator);
        }
        state.add(&mut headers);
        headers
    };
    let remember = |governed: &Governed, validator: &str| {
        if counts || !governed.is_current_and_unpaged() {
            return;
        }
        let Some(key) = memo_key(received) else { return };
        let recalled = Recalled {
            record: context.audit.serialized(),
            policy: context.audit.policy(),
            outline: governed.plan.outline(),
            unfiltered: governed.plan.unfiltered().to_vec(),
        };
        // Without its record, an entry would leave a gap in the audit log.
        if recalled.record.is_some() == context.audit.is_on() {
            let content = (validator.to_owned(), StoredHeaders::new(described()), recalled);
            served.memo.add(&key, start, &caller.credential, &served.project, content);
        }
    };
    let has_already =
        |validator: &&String| !counts && conditional::has_already(request.method, request.headers, validator);
    if let Some(validator) = validator.as_ref().filter(has_already) {
        app.observer.notice(&Event::CacheLookedUp(CacheLookup::NotModified));
        let mut response = conditional::not_modified();
        conditional::add_validator(response.headers_mut(), validator);
        state.add(response.headers_mut());
        remember(&governed, validator);
        return Ok(response);
    }
    let total = match counts {
        true => Some(stages::count(&served.project, &engine, &governed, &limits).await?),
        false => None,
    };
    let claim = match &validator {
        Some(validator) => {
            let keep_for = governed.call().endpoint().cache_for;
            app.response_cache.claim(validator.clone(), keep_for, limits.deadline).await
        }
        None => Claim::Uncacheable,
    };
    if let Some(claimed) = claim.event() {
        app.observer.notice(&Event::CacheLookedUp(claimed));
    }
    let encoder = |rows: &BatchStream| {
        let (formats, most) = (&served.config().formats, rows.max_result_bytes());
        encode::bounded_encoder(representation, rows.schema(), formats, most)
    };
    let ((mut response, coding), next) = match claim {
        Claim::Hit(cached) | Claim::Shared(cached) => {
            if let Some(validator) = &validator {
                remember(&governed, validator);
            }
            (body::cached_response(&cached, context), cached.response.next)
        }
        Claim::Uncacheable => {
            let (rows, next) = stages::run(&engine, signer, governed, limits).await?;
            let encoder = encoder(&rows)?;
            (body::start(rows, encoder, Arc::clone(context), None).await?, next)
        }
        Claim::Leader(flight) => {
            let (rows, next) = stages::run(&engine, signer, governed, limits).await?;
            flight.started();
            let shared = body::SharedFlight { flight, next: next.clone() };
            let encoder = encoder(&rows)?;
            (body::start(rows, encoder, Arc::clone(context), Some(shared)).await?, next)
        }
    };
    let headers = response.headers_mut();
    headers.extend(described());
    negotiation::encoded(headers, coding);
    if let Some(total) = total {
        conditional::add_total(&mut response, total);
    }
    if let Some(cursor) = next {
        conditional::add_next(&mut response, request.uri.query(), &cursor);
    }
    Ok(response)
}
