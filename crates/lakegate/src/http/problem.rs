//! Turns errors into problem responses (RFC 9457), and is the one place that maps error codes to statuses.

use std::any::Any;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lakegate_core::error::{Code, Error, Kind};
use serde::Serialize;

use crate::clock;
use crate::request_id::RequestId;

/// An error on its way to the caller. [`super::service`] writes its body, because only the service knows the
/// request id.
pub(super) struct Failure(pub(super) Error);

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
    errors: Vec<ArgumentFault<'a>>,
    request_id: &'a str,
}

/// One fault of an argument.
#[derive(Serialize)]
struct ArgumentFault<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

fn problem<'a>(error: &'a Error, status: StatusCode, id: &'a RequestId) -> Problem<'a> {
    let fault = |error: &'a Error| ArgumentFault {
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

/// The whole response, headers included, to plain HTTP on a TLS port. It is built as text, because no HTTP server runs
/// on such a connection.
pub(super) fn not_encrypted() -> String {
    let error = Error::new(Code::RequestNotEncrypted, "this port takes encrypted connections only");
    let error = error.hint("call it with `https://`; a token that was sent without is to be replaced");
    let (status, id) = (status(error.code.kind()), RequestId::new(clock::now()));
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
pub(super) fn explain(response: &mut Response, id: &RequestId) -> Option<Arc<Error>> {
    let error = response.extensions_mut().remove::<Arc<Error>>()?;
    let body = serde_json::to_vec(&problem(&error, response.status(), id)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    Some(error)
}

/// Seconds after which the same request may succeed; `None` if retrying does not help.
pub(super) fn retry_after(error: &Error) -> Option<u64> {
    let unknown = matches!(error.code.kind(), Kind::Unavailable | Kind::RateLimited).then_some(1);
    error.retry_seconds().or(unknown)
}

/// Turns a panic into a 500 response. The panic message goes to the log only.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let error = Error::new(Code::Internal, "something went wrong; the operator finds the reason under the request id");
    Failure(error.source(said.unwrap_or_else(|| "a panic".to_owned()))).into_response()
}
