//! Conditional requests and row counts: reads `If-None-Match` and `Prefer: count=exact`, and writes the response
//! headers for validators, totals, data versions and paging.

use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, LINK};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use headers::{ETag, Header, IfNoneMatch};
use lakegate_core::catalog::AsOf;
use percent_encoding::percent_decode_str;

use super::stages::Governed;
use crate::signer::Signer;

/// The total number of rows; the response may hold only a page of them.
const TOTAL: HeaderName = HeaderName::from_static("lakegate-total");
/// The cursor of the next page, which is also in `Link`.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("lakegate-next-cursor");
/// Names the version of the tables that the response was computed from.
const DATA_VERSION: HeaderName = HeaderName::from_static("lakegate-data-version");
/// The value to send as `as_of` to read the same version again.
const AS_OF: HeaderName = HeaderName::from_static("lakegate-as-of");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Whether the caller already has the response with this validator. Call it after authorisation: a caller without
/// access must not learn whether a response exists.
pub fn has_already(method: &Method, headers: &HeaderMap, validator: &str) -> bool {
    if !has_validator(method) {
        return false;
    }
    let Some(first) = headers.get(IF_NONE_MATCH) else { return false };
    // Most callers send the one validator exactly as it was returned.
    if first == validator {
        return true;
    }
    let Ok(validator) = validator.parse::<ETag>() else { return false };
    let asked = IfNoneMatch::decode(&mut headers.get_all(IF_NONE_MATCH).iter());
    asked.is_ok_and(|asked| !asked.precondition_passes(&validator))
}

/// Whether responses to this method have a validator.
pub fn has_validator(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// A 304 response.
pub fn not_modified() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// Whether the caller sent `Prefer: count=exact` (RFC 7240).
pub fn prefers_count(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("count") && value.trim().trim_matches('"').eq_ignore_ascii_case("exact")
    })
}

/// Sets `ETag`, and a `Cache-Control` that lets the caller keep the response but revalidate it each time.
pub fn add_validator(headers: &mut HeaderMap, validator: &str) {
    if let Ok(value) = HeaderValue::from_str(validator) {
        headers.insert(ETAG, value);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}

/// The version of the tables that a response was computed from.
#[derive(Debug)]
pub struct DataState {
    version: String,
    as_of: Option<AsOf>,
}

impl DataState {
    /// The data state of a governed request. Only endpoints with `as_of` report a value for it.
    pub fn new(governed: &Governed, signer: &Signer) -> Self {
        let as_of = governed.state.filter(|_| governed.call().endpoint().as_of);
        Self { version: signer.data_version(governed.plan.versions()), as_of }
    }

    /// Sets the headers.
    pub fn add(&self, headers: &mut HeaderMap) {
        if let Ok(version) = HeaderValue::from_str(&self.version) {
            headers.insert(DATA_VERSION, version);
        }
        let as_of = self.as_of.map(|as_of| match as_of {
            AsOf::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            AsOf::Snapshot(snapshot) => snapshot.to_string(),
        });
        if let Some(as_of) = as_of.and_then(|as_of| HeaderValue::from_str(&as_of).ok()) {
            headers.insert(AS_OF, as_of);
        }
    }
}

/// Sets the total number of rows.
pub fn add_total(response: &mut Response, total: u64) {
    let headers = response.headers_mut();
    headers.insert(TOTAL, HeaderValue::from(total));
    headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static("count=exact"));
}

/// Sets `Link` to the next page: the same request with another cursor. The link is relative, so it holds behind every
/// proxy.
pub fn add_next(response: &mut Response, query: Option<&str>, cursor: &str) {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let is_cursor = |part: &str| {
        let name = part.split('=').next().unwrap_or_default();
        percent_decode_str(name).eq(b"cursor".iter().copied())
    };
    let mut others = parts.filter(|part| !is_cursor(part)).collect::<Vec<_>>();
    let cursor_part = format!("cursor={cursor}");
    others.push(&cursor_part);
    let link = format!("<?{}>; rel=\"next\"", others.join("&"));
    let headers = response.headers_mut();
    if let (Ok(link), Ok(cursor)) = (HeaderValue::from_str(&link), HeaderValue::from_str(cursor)) {
        headers.insert(LINK, link);
        headers.insert(NEXT_CURSOR, cursor);
    }
}
