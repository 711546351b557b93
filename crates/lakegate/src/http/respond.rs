//! Turns errors into problem responses (RFC 9457), and is the one place that maps error codes to statuses. Its
//! middleware gives every request an id, a timer, an audit trail and the common response headers.

use std::any::Any;
use std::sync::Arc;

use axum::Json;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use lakegate_core::access::looks_like_token;
use lakegate_core::catalog::token_in_url;
use lakegate_core::error::{Code, Error, Kind};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use uuid::fmt::Hyphenated;
use uuid::{NoContext, Timestamp, Uuid};

use super::{docs, token};
use crate::app::App;
use crate::audit::{Opening, Trail};
use crate::clock;
use crate::limits::Standing;
use crate::observe::Opened;

/// An error on its way to the caller. [`observe`] writes its body, because only the middleware knows the request id.
pub(super) struct Failure(pub(super) Error);

/// The id of a request, in its response and in the log. It never comes from the caller, who could forge another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId(Uuid, [u8; Hyphenated::LENGTH]);

impl RequestId {
    /// A new id for a request that arrived at `time`. Ids sort by time.
    pub(super) fn at(time: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos()));
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(id, text)
    }

    pub(super) fn id(&self) -> Uuid {
        self.0
    }

    pub(super) fn text(&self) -> &str {
        // The text is hexadecimal digits and hyphens, so it is UTF-8.
        std::str::from_utf8(&self.1).unwrap_or_default()
    }

    fn to_value(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.1).ok()
    }
}

/// The header with the request id, which every response has.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The request headers that a response depends on.
const VARIES: HeaderValue = HeaderValue::from_static("authorization, x-api-key, token, accept, accept-encoding");

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status(self.0.code.kind()).into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// The HTTP status for a code, for code that only reports it.
pub fn status_of(code: Code) -> u16 {
    status(code.kind()).as_u16()
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Gone => StatusCode::GONE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UrlTooLong => StatusCode::URI_TOO_LONG,
        Kind::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A 201 response.
pub(super) fn created(body: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

/// A 304 response.
pub(super) fn not_modified() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// The JSON body of a problem.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault<'a>>,
    request_id: &'a str,
}

/// One fault of an argument.
#[derive(Serialize)]
struct Fault<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

fn problem<'a>(error: &'a Error, status: StatusCode, id: &'a RequestId) -> Problem<'a> {
    let fault = |error: &'a Error| Fault {
        parameter: error.parameter.as_deref(),
        code: error.code.name(),
        detail: &error.detail,
        hint: error.hint.as_deref(),
    };
    Problem {
        r#type: format!("urn:lakegate:problem:{}", error.code.name()),
        title: error.code.title(),
        status: status.as_u16(),
        code: error.code.name(),
        detail: &error.detail,
        parameter: error.parameter.as_deref(),
        hint: error.hint.as_deref(),
        errors: error.errors.iter().map(fault).collect(),
        request_id: id.text(),
    }
}

/// The middleware around every request: sets the id, problem bodies and common headers, and writes one log event and
/// one audit record.
pub(super) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::at(clock::now());
    let method = request.method().clone();
    // Only the path is logged, because a query string holds arguments. Neither may hold a token, and a log never may.
    let path = request.uri().path();
    let path = if holds_token(path) { "(a path with a token)".to_owned() } else { path.to_owned() };
    let in_url = request.uri().path_and_query().is_some_and(|url| holds_token(url.as_str()));
    let served = app.served();
    let opened = Opened { request_id: id.text().to_owned(), method: method.clone(), path };
    let watch = app.observer.begin(&served, opened, request.headers());
    let trail = trail(&app, &request, &id).watched(watch.clone());
    // The router strips a prefix from the URI.
    let whole_uri = request.uri().clone();
    request.extensions_mut().insert(whole_uri);
    request.extensions_mut().insert(served);
    request.extensions_mut().insert(trail.clone());
    let mut response = if in_url { Failure(token_in_url()).into_response() } else { next.run(request).await };

    let mut error = explain(&mut response, &id);
    let bytes = response.body().size_hint().exact();
    let has_body = method != Method::HEAD;
    if let Err(unrecorded) = trail.answered(response.status().as_u16(), error.as_deref(), bytes, has_body).await {
        response = Failure(unrecorded).into_response();
        error = explain(&mut response, &id);
    }
    let status = response.status();
    watch.answered(status.as_u16(), error.as_deref(), response.body().size_hint().exact(), has_body);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let headers = response.headers_mut();
    if let Some(seconds) = error.as_ref().and_then(|error| retry_after(error)) {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    for (name, value) in trail.standing().headers() {
        headers.insert(name, value);
    }
    add_to_all(headers);
    add_id(headers, &id);
    watch.add_headers(headers);
    response
}

/// Adds the headers of every response, except the request id.
pub(super) fn add_to_all(headers: &mut HeaderMap) {
    // A response with a validator sets its own `Cache-Control`.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    headers.insert(VARY, VARIES);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Sets the request id, replacing a placeholder if present.
pub(super) fn add_id(headers: &mut HeaderMap, id: &RequestId) {
    if let Some(value) = id.to_value() {
        headers.insert(REQUEST_ID, value);
    }
}

/// The whole response, headers included, to plain HTTP on a TLS port. It is built as text, because no HTTP server runs
/// on such a connection.
pub(super) fn not_encrypted() -> String {
    let error = Error::new(Code::RequestNotEncrypted, "this port takes encrypted connections only");
    let error = error.hint("call it with `https://`; a token that was sent without is to be replaced");
    let (status, id) = (status(error.code.kind()), RequestId::at(clock::now()));
    let body = serde_json::to_string(&problem(&error, status, &id)).unwrap_or_default();
    let (code, length) = (status.as_u16(), body.len());
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {code} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         connection: close\r\ncache-control: private, no-store\r\nx-request-id: {}\r\n\r\n{body}",
        id.text()
    )
}

/// Writes the problem body. Returns the error if the response is a refusal.
fn explain(response: &mut Response, id: &RequestId) -> Option<Arc<Error>> {
    let error = response.extensions_mut().remove::<Arc<Error>>()?;
    *response.body_mut() = Json(problem(&error, response.status(), id)).into_response().into_body();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Some(error)
}

/// Seconds after which the same request may succeed; `None` if retrying does not help.
fn retry_after(error: &Error) -> Option<u64> {
    let unknown = matches!(error.code.kind(), Kind::Unavailable | Kind::RateLimited).then_some(1);
    error.retry_seconds().or(unknown)
}

/// The audit trail of a request. `/health` and the files of `/docs` have none: they are polled often and reveal
/// nothing.
fn trail(app: &App, request: &Request, id: &RequestId) -> Trail {
    let path = request.uri().path();
    if path.starts_with("/health/") || docs::is_of_page(path) {
        return Trail::default();
    }
    Trail::begin(&app.audit, || Opening {
        request_id: id.text().to_owned(),
        method: request.method().as_str().to_owned(),
        path: percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned(),
        tokens: token::texts(request.headers()),
    })
    .counted(Standing::new(&app.rates))
}

/// Whether a part of a URL holds a token, as it is or percent-encoded.
fn holds_token(part: &str) -> bool {
    looks_like_token(part) || part.contains('%') && looks_like_token(&percent_decode_str(part).decode_utf8_lossy())
}

/// Turns a panic into a 500 response. The panic message goes to the log only.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let error = Error::new(Code::Internal, "something went wrong; the operator finds the reason under the request id");
    Failure(error.source(said.unwrap_or_else(|| "a panic".to_owned()))).into_response()
}
