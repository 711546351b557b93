//! Content negotiation: from request headers to the response representation, and from there to the response headers.
//!
//! [`lakegate_core::format`] ranks formats and codings by their quality values.

use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lakegate_core::catalog::Modifiers;
use lakegate_core::error::Error;
use lakegate_core::format::{Coding, Representation, choose_compression, choose_format};

/// The representation of the response: format, compression and CSV guard.
pub fn representation(modifiers: &Modifiers, headers: &HeaderMap) -> Result<Representation, Error> {
    let format = choose_format(modifiers.format(), fields(headers, &ACCEPT))?;
    let compression = choose_compression(format, fields(headers, &ACCEPT_ENCODING))?;
    Ok(Representation { format, compression, csv_guard: modifiers.csv_guard() })
}

/// All values of a header. A value that is not text counts as empty.
fn fields<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default())
}

/// Sets the headers that describe the body. `coding` is the compression that the encoder applied.
pub fn describe(headers: &mut HeaderMap, representation: &Representation, coding: Option<Coding>, endpoint: &str) {
    let format = representation.format;
    if let Ok(value) = HeaderValue::from_str(&format.content_type()) {
        headers.insert(CONTENT_TYPE, value);
    }
    encoded(headers, coding);
    if format.is_file()
        && let Some(value) = attachment(endpoint, format.extension())
    {
        headers.insert(CONTENT_DISPOSITION, value);
    }
}

/// Sets `Content-Encoding`.
pub fn encoded(headers: &mut HeaderMap, coding: Option<Coding>) {
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

/// The `Content-Disposition` file name. Endpoint names hold only lower case letters, digits, `_` and `-`; any other
/// character is dropped.
fn attachment(endpoint: &str, extension: &str) -> Option<HeaderValue> {
    let is_safe = |each: &char| each.is_ascii_alphanumeric() || matches!(each, '_' | '-');
    let name = endpoint.chars().filter(is_safe).collect::<String>();
    HeaderValue::from_str(&format!("attachment; filename=\"{name}.{extension}\"")).ok()
}
