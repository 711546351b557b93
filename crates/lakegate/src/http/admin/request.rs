//! Strict extractors for admin requests: a JSON object, a query string, and a name in the path.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use lakegate_core::access::looks_like_token;
use lakegate_core::error::{Code, Error};
use serde::de::DeserializeOwned;

use super::AdminState;
use crate::http::problem::Failure;
use crate::pipeline::receive;

/// The JSON object in the body. An empty body counts as an empty object.
pub(super) struct Body<T>(pub(super) T);

/// The query string. Names that are not fields of `T` are refused.
pub(super) struct Filter<T>(pub(super) T);

/// The name or id in the path.
pub(super) struct Named(pub(super) String);

impl<T: DeserializeOwned> FromRequest<Arc<AdminState>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Arc<AdminState>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(malformed("this request takes no query string").into());
        }
        let served = state.app.served();
        let server = &served.config().server;
        let bytes = receive::body(body, server.max_body_bytes, server.timeout).await?;
        if bytes.is_empty() {
            return Ok(Self(read(b"{}")?));
        }
        if !declares_json(&parts.headers) {
            return Err(Error::new(Code::RequestMediaType, "the body must be a JSON object")
                .hint("send it as `application/json`")
                .into());
        }
        Ok(Self(read(&bytes)?))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<AdminState>> for Filter<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<AdminState>) -> Result<Self, Failure> {
        let Query(filter) = Query::try_from_uri(&parts.uri).map_err(|error| {
            let text = error.body_text();
            let what = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, what)| what);
            malformed(&format!("the query string does not fit: {what}"))
        })?;
        Ok(Self(filter))
    }
}

impl FromRequestParts<Arc<AdminState>> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(malformed("the path is not percent-encoded UTF-8").into()),
        }
    }
}

/// Parses a JSON object. serde would accept an array for a struct, so this checks the first byte.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let broken = |detail: String| Error::new(Code::RequestBodyMalformed, detail);
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(broken("the body is not a JSON object".to_owned()));
    }
    serde_json::from_slice(text).map_err(|error| {
        // serde's message can quote what was sent, and that can be a token.
        let message = error.to_string();
        let message =
            if looks_like_token(&message) { "it holds a token where none belongs".to_owned() } else { message };
        match error.is_data() {
            true => malformed(&format!("the body does not fit: {message}")),
            false => broken(format!("the body is not valid JSON: {message}")),
        }
    })
}

fn malformed(detail: &str) -> Error {
    Error::new(Code::AdminRequestMalformed, detail).hint("docs/admin.md has every path with what it takes")
}

fn declares_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
