//! Limits the size of a request's URL and headers. The connection itself refuses heads far beyond the limits, without a
//! response body.

use axum::http::Request;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Http;

/// Checks the URL and the headers.
///
/// # Errors
/// If one of them exceeds its limit.
pub(super) fn check<B>(request: &Request<B>, http: &Http) -> Result<(), Error> {
    let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if url > http.max_url_bytes {
        let detail = format!("the URL has {url} bytes; at most {} are taken", http.max_url_bytes);
        let hint = "send arguments in the body of a POST, which may be much larger";
        return Err(Error::new(Code::RequestUrlTooLong, detail).hint(hint));
    }
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    if headers > http.max_header_bytes {
        let detail = format!("the headers have {headers} bytes; at most {} are taken", http.max_header_bytes);
        return Err(Error::new(Code::RequestHeadersTooLarge, detail).hint("send fewer or shorter headers"));
    }
    Ok(())
}
