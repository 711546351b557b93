//! Reads the parts of a request to an endpoint: query string and body as untyped arguments. Types and rules are checked
//! later, in [`super::stages`].

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::{Code, Error};
use percent_encoding::percent_decode_str;

/// A request to an endpoint as it arrived.
#[derive(Clone, Copy)]
pub struct EndpointRequest<'a> {
    /// The name in the path; no endpoint may have it.
    pub endpoint: &'a str,
    /// The HTTP method: `GET`, `HEAD` or `POST`.
    pub method: &'a Method,
    /// The URI.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body; empty for `GET`.
    pub body: &'a [u8],
}

impl EndpointRequest<'_> {
    /// The arguments of the query string and the body.
    ///
    /// # Errors
    /// If one of them is malformed.
    pub fn arguments(&self) -> Result<RawArguments, Error> {
        let mut raw = query_arguments(self.uri.query())?;
        if *self.method == Method::POST {
            raw.add_json(self.body)?;
        }
        Ok(raw)
    }
}

/// The arguments of a query string.
///
/// # Errors
/// If it is not percent-encoded UTF-8, or holds a token.
pub fn query_arguments(query: Option<&str>) -> Result<RawArguments, Error> {
    let mut raw = RawArguments::default();
    raw.add_query(pairs(query)?)?;
    Ok(raw)
}

/// The decoded name and value pairs of a query string.
pub fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String, Error> {
    let malformed = || {
        Error::new(Code::RequestQueryMalformed, "the query string is not percent-encoded UTF-8")
            .hint("encode every byte that is not a letter, digit, `-`, `.`, `_` or `~` as `%XX`")
    };
    let mut after_percents = text.split('%').skip(1);
    if !after_percents.all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())) {
        return Err(malformed());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|error| malformed().source(error))?;
    Ok(decoded.into_owned())
}

/// Reads the whole body. Fails if it exceeds `limit` bytes or takes longer than `patience`, so that a silent client
/// cannot hold a connection forever.
pub async fn body(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Error> {
    let Ok(read) = tokio::time::timeout(patience, Limited::new(body, limit).collect()).await else {
        let detail = format!("the body did not come whole within {} seconds", patience.as_secs());
        return Err(Error::new(Code::RequestBodyMalformed, detail));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::new(Code::RequestBodyTooLarge, format!("the body is larger than {limit} bytes")))
        }
        Err(error) => Err(Error::new(Code::RequestBodyMalformed, "the body did not come whole").source(error)),
    }
}

/// Reports the media type instead of the malformed body, if the body is not JSON and was not declared as JSON.
pub fn blame_media_type(error: Error, headers: &HeaderMap) -> Error {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = |declared: &str| {
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    };
    match declared {
        Some(declared) if error.code == Code::RequestBodyMalformed && !is_json(declared) => {
            Error::new(Code::RequestMediaType, "the body must be a JSON object")
                .hint("send it as `application/json`")
                .source(error)
        }
        _ => error,
    }
}
