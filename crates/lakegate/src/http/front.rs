//! The fast path in front of the router: answers a repeated request of the same caller before routing. Everything else
//! goes to the router.
//!
//! The fast path returns only a response that was returned before for exactly the same request (see
//! [`crate::repeated`]), and only if nothing needs a decision or a wait: the access store is unchanged, the token and
//! the grants are still valid, no rate limit applies, the body is kept or the caller has it (304), and the audit log
//! has room for the record. The router would return the same response, and does so whenever one of these conditions
//! fails.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::{Method, Request};
use axum::response::Response;
use axum::{BoxError, Router};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use tower::ServiceExt;

use super::respond::{self, RequestId, not_modified};
use super::{answer, asked, bounds, token};
use crate::app::App;
use crate::audit::{self, Outcome};
use crate::clock;
use crate::observe::{CacheAnswer, Ended, Event, Stage, Stages, tells_timing};
use crate::repeated::Asking;

/// The result of a request.
type Answer = Result<Response, Infallible>;

/// The service of a listener. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    router: Router,
    /// `None` disables the fast path.
    app: Option<Arc<App>>,
}

impl Front {
    /// The front of the endpoint API, with the fast path.
    pub fn new(app: Arc<App>) -> Self {
        Self { router: super::router(Arc::clone(&app)), app: Some(app) }
    }

    /// A front that sends every request to the router.
    pub(super) fn of(router: Router) -> Self {
        Self { router, app: None }
    }

    /// Answers a request: immediately if the fast path can, otherwise through the router. The router's future is boxed
    /// because it is large, and the fast path must not carry it.
    ///
    /// # Errors
    /// None: every failure is a response.
    pub fn answer<B>(&self, request: Request<B>) -> Either<Ready<Answer>, BoxFuture<'static, Answer>>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match self.app.as_ref().and_then(|app| at_once(app, &request)) {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.router.clone().oneshot(request.map(Body::new)).boxed()),
        }
    }
}

/// The remembered response, or `None` if the router must answer.
fn at_once<B>(app: &App, request: &Request<B>) -> Option<Response> {
    let (headers, uri) = (request.headers(), request.uri());
    if *request.method() != Method::GET || app.observer.sends_traces() {
        return None;
    }
    let stages = Stages::begin();
    let served = app.served();
    let token = token::presented(headers).ok()?;
    let asking = Asking::of(&token, request.method(), uri, &[], headers)?;
    let remembered = served.repeated.find(&asking)?;
    let (call, now) = (&remembered.found.call, clock::now());
    let principal = call.authorized().principal();
    let stands = remembered.stands(&served, &token, now) && !remembered.found.is_limited;
    if !stands || tells_timing(&served.config().observe, principal) || !bounds::fit(request, &served.config().http) {
        return None;
    }
    stages.end(Stage::Authenticate);
    let has_already = asked::has_already(request.method(), headers, &remembered.found.validator);
    let kept = if has_already { None } else { Some(app.results.kept(&remembered.found.validator)?) };
    let place = app.audit.at_once(&remembered.found.findings)?;

    // From here on the response is certain.
    let id = RequestId::at(now);
    served.identity.note_use(&remembered.found.credential, now);
    let (mut response, coding, rows, bytes) = match &kept {
        Some(kept) => {
            let (response, coding) = answer::whole(kept);
            (response, coding, kept.answered.rows, kept.answered.body.len() as u64)
        }
        None => (not_modified(), None, 0, 0),
    };
    let head = response.headers_mut();
    remembered.found.heads.add(head, has_already, coding);
    respond::add_id(head, &id);

    let (status, duration) = (response.status().as_u16(), stages.begun().elapsed());
    let said = if has_already { CacheAnswer::NotModified } else { CacheAnswer::Hit };
    app.observer.notice(&Event::CacheAsked(said));
    let (request_id, endpoint) = (id.text(), call.endpoint().name.as_str());
    if let tables @ [_, ..] = remembered.found.findings.unfiltered() {
        app.observer.notice(&Event::AllRowsSeen { request_id, principal: principal.name(), endpoint, tables });
    }
    app.observer.notice(&Event::RequestEnded(&Ended {
        request_id,
        method: "GET",
        path: uri.path(),
        endpoint: Some(&remembered.found.series),
        outcome: Outcome::Answered,
        status: Some(status),
        code: None,
        error: None,
        rows,
        bytes,
        query: None,
        stages: &stages,
        duration,
        slow: None,
        trace: None,
        said: remembered.found.said.as_ref(),
    }));
    let answer = audit::Answer { time: now, request_id: id.id(), status, rows, bytes, duration };
    place.record(answer);
    Some(response)
}
