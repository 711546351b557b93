//! Answers a repeated request of the same caller from the response memo, see [`crate::repeated`].

use std::sync::Arc;

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use chrono::{DateTime, Utc};
use lakegate_core::access::{Credential, Presented, Principal};
use lakegate_core::error::Error;
use lakegate_core::format::Coding;

use super::query::Request;
use super::respond::{self, not_modified};
use super::{accept, answer, asked, token};
use crate::app::Served;
use crate::audit::Trail;
use crate::clock;
use crate::observe::{CacheAnswer, Event};
use crate::repeated::{Asking, Before, Found, Remembered};

/// The caller of a request, authenticated at `now`.
pub(super) struct Caller {
    pub(super) now: DateTime<Utc>,
    /// The generation of the access store before authentication.
    pub(super) generation: u64,
    /// The caller, or why authentication failed.
    pub(super) known: Result<(Principal, Arc<Credential>), Error>,
}

impl Caller {
    /// Authenticates the caller and counts the request.
    pub(super) async fn look(trail: &Trail, served: &Served, token: &Presented) -> Self {
        let (now, generation) = (clock::now(), served.identity.generation());
        Self { now, generation, known: trail.authenticate(served, token, now).await }
    }

    /// Authenticates again for a retry, without counting the request again.
    pub(super) async fn look_again(trail: &Trail, served: &Served, token: &Presented) -> Self {
        let (now, generation) = (clock::now(), served.identity.generation());
        Self { now, generation, known: trail.authenticate_again(served, token, now).await }
    }
}

/// The result of looking for a remembered response.
pub(super) enum Repeat {
    /// The memo answered the request.
    Answered(Response),
    /// The request exceeds a rate limit. The call is otherwise as remembered.
    Refused(Arc<Remembered>, Error),
    /// The request must run as a new one, for this caller.
    New(Caller),
    /// Nothing is remembered, and the caller is not authenticated yet.
    Unknown,
}

/// Answers the request from the memo if possible.
pub(super) async fn answer(request: &Request<'_>) -> Repeat {
    let Request { app, served, trail, method, headers, .. } = request;
    // A missing or malformed token is reported after the arguments are checked.
    let Ok(token) = token::presented(headers) else { return Repeat::Unknown };
    let found = asking(request, &token).and_then(|asking| served.repeated.find(&asking));
    let Some(remembered) = found else { return Repeat::Unknown };
    let caller = Caller::look(trail, served, &token).await;
    let counts = match &caller.known {
        Ok((_, credential)) => remembered.counts_for(credential, &served.project, caller.now),
        Err(_) => false,
    };
    if !counts {
        return Repeat::New(caller);
    }
    let has_already = asked::has_already(method, headers, &remembered.found.validator);
    let kept = if has_already { None } else { app.results.kept(&remembered.found.validator) };
    if !has_already && kept.is_none() {
        return Repeat::New(caller);
    }
    let call = &remembered.found.call;
    if let Err(error) = trail.standing().count_call(call.authorized(), call.endpoint(), caller.now) {
        return Repeat::Refused(remembered, error);
    }
    trail.found(&remembered.found.findings, call);
    let said = if has_already { CacheAnswer::NotModified } else { CacheAnswer::Hit };
    app.observer.notice(&Event::CacheAsked(said));
    let (mut response, coding) = match kept {
        Some(kept) => answer::kept(&kept, trail),
        None => (not_modified(), None),
    };
    remembered.found.heads.add(response.headers_mut(), has_already, coding);
    Repeat::Answered(response)
}

/// The stored response headers of a request, without those that change each time.
#[derive(Debug)]
pub struct Heads {
    with_body: HeaderMap,
    not_modified: HeaderMap,
}

impl Heads {
    /// Builds the stored headers from those that describe the response.
    pub(super) fn of(mut described: HeaderMap) -> Self {
        respond::add_to_all(&mut described);
        // A placeholder for the request id, so that a copy need not grow.
        described.insert(respond::REQUEST_ID, HeaderValue::from_static(""));
        let mut not_modified = described.clone();
        // A 304 response does not describe a body.
        not_modified.remove(CONTENT_TYPE);
        not_modified.remove(CONTENT_DISPOSITION);
        Self { with_body: described, not_modified }
    }

    /// Adds the headers of a 304 response if the caller has it already, and otherwise those of a full response.
    pub(super) fn add(&self, head: &mut HeaderMap, has_already: bool, coding: Option<Coding>) {
        let known = if has_already { &self.not_modified } else { &self.with_body };
        match head.is_empty() {
            true => known.clone_into(head),
            false => head.extend(known.clone()),
        }
        accept::encoded(head, coding);
    }
}

/// Remembers a request that was answered from a kept response.
pub(super) fn remember(request: &Request<'_>, token: &Presented, before: Before, found: Found) {
    if let Some(asking) = asking(request, token) {
        request.served.repeated.remember(&asking, &request.served.project, before, found);
    }
}

/// The memo key of a request; `None` if such a request is not remembered.
fn asking<'a>(request: &'a Request<'_>, token: &Presented) -> Option<Asking<'a>> {
    Asking::of(token, request.method, request.whole_uri, request.body, request.headers)
}

/// Whether responses to this method have a validator.
pub(super) fn has_validator(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
