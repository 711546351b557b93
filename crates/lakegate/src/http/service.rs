//! The service of a listener: begins a request (id, context), routes it, and ends it (problem body, common headers, audit
//! record, log).
//!
//! Everything that concerns each request, whatever its path, is here and not in middleware, because each layer of
//! middleware costs allocations and a boxed future. Routes are in [`super::routes`], the way of a request to an endpoint
//! in [`crate::pipeline`].

use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lakegate_core::access::looks_like_token;
use lakegate_core::catalog::token_in_url;
use lakegate_core::error::Kind;
use percent_encoding::percent_decode_str;
use tower::ServiceExt;

use super::problem::{Failure, explain, panicked, retry_after};
use super::{admin_routes, docs, is_about_endpoints, method_not_allowed, query, routes, size_limits};
use crate::app::App;
use crate::audit::{AuditStart, RequestAudit};
use crate::context::RequestContext;
use crate::limits::RateLimitState;
use crate::observe::RequestStart;
use crate::request_id::RequestId;
use crate::store::SecretAttributes;
use crate::{clock, token};

/// The header with the request id, which every response has.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The request headers that a response depends on.
const VARIES: HeaderValue = HeaderValue::from_static("authorization, x-api-key, token, accept, accept-encoding");

/// The service of a listener. Cheap to clone.
#[derive(Clone)]
pub struct HttpService {
    app: Arc<App>,
    router: Router,
    /// The prefixes of the paths of endpoints; empty for the admin API.
    prefixes: Arc<[String]>,
}

impl HttpService {
    /// The service of the endpoint API.
    pub fn endpoints(app: Arc<App>) -> Self {
        let base = app.served().config().server.base_path.clone();
        let base = base.map(|base| format!("{}/", base.trim_end_matches('/')));
        let prefixes = std::iter::once("/api/".to_owned()).chain(base).collect();
        Self { router: routes(Arc::clone(&app)), app, prefixes }
    }

    /// The service of the admin API.
    pub fn admin(app: Arc<App>, secret: SecretAttributes) -> Self {
        Self { router: admin_routes(Arc::clone(&app), secret), app, prefixes: Arc::new([]) }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// None: every failure is a response.
    pub fn answer<B>(&self, request: Request<B>) -> BoxFuture<'static, Result<Response, Infallible>>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = self.clone();
        let request = request.map(Body::new);
        async move { Ok(service.begin_and_end(request).await) }.boxed()
    }

    async fn begin_and_end(self, request: Request<Body>) -> Response {
        let context = begin(&self.app, &request);
        let has_body = *request.method() != Method::HEAD;
        let response = match refusal(&request, &context) {
            Some(refusal) => refusal.into_response(),
            None => match AssertUnwindSafe(self.route(&context, request)).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => panicked(panic),
            },
        };
        end(&context, response, has_body).await
    }

    /// Requests to endpoints go to the pipeline without the router, which would allocate as often as the whole pipeline does for a
    /// request that the memo knows.
    async fn route(self, context: &Arc<RequestContext>, mut request: Request<Body>) -> Response {
        let Some(name) = self.endpoint(request.uri().path()) else {
            request.extensions_mut().insert(Arc::clone(context));
            return match self.router.oneshot(request).boxed().await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        };
        // A name that is not UTF-8 is that of no endpoint, as is the empty one.
        let name = percent_decode_str(name).decode_utf8().map(Cow::into_owned).unwrap_or_default();
        let answered = match *request.method() {
            Method::GET | Method::HEAD => query::by_query(&self.app, context, &name, request).await,
            Method::POST => query::by_body(&self.app, context, &name, request).boxed().await,
            _ => return ([(ALLOW, "GET,HEAD,POST")], method_not_allowed(request.method())).into_response(),
        };
        answered.unwrap_or_else(|error| Failure(error).into_response())
    }

    /// The name of the endpoint in a path; `None` if the path is not that of an endpoint.
    fn endpoint<'a>(&self, path: &'a str) -> Option<&'a str> {
        let name = self.prefixes.iter().find_map(|prefix| path.strip_prefix(prefix.as_str()))?;
        (!name.is_empty() && !name.contains('/') && !is_about_endpoints(path)).then_some(name)
    }
}

/// The context of a new request.
fn begin(app: &App, request: &Request<Body>) -> Arc<RequestContext> {
    let id = RequestId::new(clock::now());
    let served = app.served();
    // Only the path is logged, because a query string holds arguments. Neither may hold a token, and a log never may.
    let path = request.uri().path();
    let path = if holds_token(path) { "(a path with a token)".to_owned() } else { path.to_owned() };
    let start = RequestStart { request_id: id, method: request.method().clone(), path };
    let timer = app.observer.begin(&served, start, request.headers());
    let (audit, rate_limits) = match is_recorded(request.uri().path()) {
        true => (audit(app, request, &id), RateLimitState::new(&app.rates)),
        false => Default::default(),
    };
    Arc::new(RequestContext { id, served, audit, timer, rate_limits })
}

/// Whether requests of this path have an audit record. `/health` and the files of `/docs` have none: they are polled often
/// and reveal nothing.
fn is_recorded(path: &str) -> bool {
    !path.starts_with("/health/") && !docs::is_docs_path(path)
}

fn audit(app: &App, request: &Request<Body>, id: &RequestId) -> RequestAudit {
    RequestAudit::begin(&app.audit, || AuditStart {
        request_id: *id,
        method: request.method().as_str().to_owned(),
        path: percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned(),
        tokens: token::texts(request.headers()),
    })
}

/// The refusal of a request that no route may see: a token in its URL, or a URL or headers beyond the limits.
fn refusal(request: &Request<Body>, context: &RequestContext) -> Option<Failure> {
    if request.uri().path_and_query().is_some_and(|url| holds_token(url.as_str())) {
        return Some(Failure(token_in_url()));
    }
    size_limits::check(request, &context.served.config().http).err().map(Failure)
}

/// Ends a request: writes the problem body and the common headers, and tells the audit record and the timer.
async fn end(context: &RequestContext, mut response: Response, has_body: bool) -> Response {
    let mut error = explain(&mut response, &context.id);
    let bytes = response.body().size_hint().exact();
    let status = response.status().as_u16();
    if let Err(unrecorded) = context.audit.answered(status, error.as_deref(), bytes, has_body).await {
        response = Failure(unrecorded).into_response();
        error = explain(&mut response, &context.id);
    }
    let (status, bytes) = (response.status(), response.body().size_hint().exact());
    context.timer.answered(status.as_u16(), error.as_deref(), bytes, has_body);
    if !has_body {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    // A 304 has no length: it would be that of the response that the caller has.
    if let Some(bytes) = bytes.filter(|_| !status.is_redirection()) {
        headers.entry(CONTENT_LENGTH).or_insert(bytes.into());
    }
    if error.as_ref().is_some_and(|error| error.code.kind() == Kind::Unauthenticated) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = error.as_ref().and_then(|error| retry_after(error)) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    for (name, value) in context.rate_limits.headers() {
        headers.insert(name, value);
    }
    add_common(headers, &context.id);
    context.timer.add_headers(headers);
    response
}

/// Adds the headers of every response.
fn add_common(headers: &mut HeaderMap, id: &RequestId) {
    // A response with a validator sets its own `Cache-Control`.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    headers.insert(VARY, VARIES);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(id.text()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Whether a part of a URL holds a token, as it is or percent-encoded.
fn holds_token(part: &str) -> bool {
    looks_like_token(part) || part.contains('%') && looks_like_token(&percent_decode_str(part).decode_utf8_lossy())
}
