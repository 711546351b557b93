//! Finds the token in a request's headers. [`crate::identity`] decides whether it is valid.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use lakegate_core::access::Presented;
use lakegate_core::error::{Code, Error};

/// The API token or JWT from `Authorization: Bearer`, `X-API-Key` or `token`.
pub(crate) fn presented(headers: &HeaderMap) -> Result<Presented, Error> {
    let mut tokens = bearer_tokens(headers);
    for name in ["x-api-key", "token"] {
        tokens.extend(headers.get_all(name).iter().map(HeaderValue::as_bytes));
    }
    let Some((first, others)) = tokens.split_first() else {
        return Err(Error::new(Code::AccessTokenMissing, "this request has no token")
            .hint("send it as `Authorization: Bearer TOKEN`, or in the header `X-API-Key` or `token`"));
    };
    if others.iter().any(|other| other != first) {
        return Err(Error::new(Code::AccessTokenConflict, "the headers hold different tokens").hint("send one"));
    }
    Ok(Presented::from_bytes(first)?)
}

/// All token texts in the headers, unknown ones included, for redacting them elsewhere.
pub(crate) fn texts(headers: &HeaderMap) -> Vec<String> {
    let others = ["x-api-key", "token"].into_iter().flat_map(|name| headers.get_all(name));
    let tokens = bearer_tokens(headers).into_iter().chain(others.map(HeaderValue::as_bytes));
    // Shorter texts are never looked up as tokens, and would match other texts by chance.
    tokens.filter(|token| token.len() >= 8).map(|token| String::from_utf8_lossy(token).into_owned()).collect()
}

fn bearer_tokens(headers: &HeaderMap) -> Vec<&[u8]> {
    let values = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let token = |value: &'_ [u8]| -> Option<usize> {
        let scheme = value.get(..7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(7)
    };
    values.filter_map(|value| Some(value[token(value)?..].trim_ascii())).collect()
}
