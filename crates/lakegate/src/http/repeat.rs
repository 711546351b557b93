//! The same request of the same caller again: answered from what is remembered of the first, see [`crate::repeated`].

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

/// Who calls, as was found out at this moment.
pub(super) struct Caller {
    pub(super) now: DateTime<Utc>,
    /// How often the access store had changed before.
    pub(super) generation: u64,
    /// The caller; or that it is nobody.
    pub(super) known: Result<(Principal, Arc<Credential>), Error>,
}

impl Caller {
    /// Looks who it is, and counts the request.
    pub(super) async fn look(trail: &Trail, served: &Served, token: &Presented) -> Self {
        let (now, generation) = (clock::now(), served.identity.generation());
        Self { now, generation, known: trail.authenticate(served, token, now).await }
    }

    /// The same for a request that was counted and begins anew.
    pub(super) async fn look_again(trail: &Trail, served: &Served, token: &Presented) -> Self {
        let (now, generation) = (clock::now(), served.identity.generation());
        Self { now, generation, known: trail.authenticate_again(served, token, now).await }
    }
}

/// What came of looking.
pub(super) enum Repeat {
    /// It is answered.
    Answered(Response),
    /// It is one too many. The call is as it was.
    Refused(Arc<Remembered>, Error),
    /// It is to be answered as if it were new, to this caller.
    New(Caller),
    /// Nobody was looked at yet.
    Unknown,
}

/// Answers a request that was answered before, if it can be.
pub(super) async fn answer(request: &Request<'_>) -> Repeat {
    let Request { app, served, trail, method, headers, .. } = request;
    // Who sends no good token is told so after the arguments were looked at.
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

/// The heads of the answers to a request, but for what is another one each time.
#[derive(Debug)]
pub struct Heads {
    with_body: HeaderMap,
    not_modified: HeaderMap,
}

impl Heads {
    /// Those of answers that are described so.
    pub(super) fn of(mut described: HeaderMap) -> Self {
        respond::add_to_all(&mut described);
        // A place for the id, so that a copy does not have to grow.
        described.insert(respond::REQUEST_ID, HeaderValue::from_static(""));
        let mut not_modified = described.clone();
        // What the body is like is told with a body.
        not_modified.remove(CONTENT_TYPE);
        not_modified.remove(CONTENT_DISPOSITION);
        Self { with_body: described, not_modified }
    }

    /// Adds the head of the answer to who has it already, or has not.
    pub(super) fn add(&self, head: &mut HeaderMap, has_already: bool, coding: Option<Coding>) {
        let known = if has_already { &self.not_modified } else { &self.with_body };
        match head.is_empty() {
            true => known.clone_into(head),
            false => head.extend(known.clone()),
        }
        accept::encoded(head, coding);
    }
}

/// Remembers a request that was answered from what is kept, for the next time.
pub(super) fn remember(request: &Request<'_>, token: &Presented, before: Before, found: Found) {
    if let Some(asking) = asking(request, token) {
        request.served.repeated.remember(&asking, &request.served.project, before, found);
    }
}

/// What came, in words that can be looked up; `None` where it is not one that is remembered.
fn asking<'a>(request: &'a Request<'_>, token: &Presented) -> Option<Asking<'a>> {
    Asking::of(token, request.method, request.whole_uri, request.body, request.headers)
}

/// Whether answers to this method have a validator.
pub(super) fn has_validator(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
