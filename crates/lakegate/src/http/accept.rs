//! Chooses the format of an answer: by `?format=`, else by `Accept`, else JSON.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use lakegate_core::error::{Code, Error};
use lakegate_query::encode::{Encoder, JsonArray};

/// The encoder for a request.
pub(super) fn encoder(format: Option<&str>, headers: &HeaderMap) -> Result<Box<dyn Encoder>, Error> {
    let acceptable = match format {
        Some(format) => format == "json",
        None => {
            headers.get(ACCEPT).is_none()
                || headers.get_all(ACCEPT).iter().any(|value| takes_json(value.to_str().unwrap_or_default()))
        }
    };
    if acceptable {
        return Ok(Box::new(JsonArray::new()));
    }
    Err(Error::new(Code::RequestFormatUnknown, "the answer can be made as JSON only")
        .hint("accept `application/json`, or use `format=json`"))
}

/// Whether a list of media ranges has one that JSON fits, and that is not excluded with `q=0`. An empty list asks for nothing.
fn takes_json(accept: &str) -> bool {
    accept.trim().is_empty()
        || accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
            let excluded = parts.any(|part| part.strip_prefix("q=").and_then(|q| q.parse::<f64>().ok()) == Some(0.0));
            matches!(essence.as_str(), "application/json" | "application/*" | "*/*" | "*") && !excluded
        })
}
