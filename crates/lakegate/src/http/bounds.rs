//! Limits the size of a request's URL and headers. The connection itself refuses heads far beyond the limits, without a
//! response body.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Http;

use super::respond::Failure;
use super::served;
use crate::app::App;

/// Whether the URL and headers are within the limits.
pub(super) fn fit<B>(request: &axum::http::Request<B>, http: &Http) -> bool {
    url_bytes(request) <= http.max_url_bytes && header_bytes(request) <= http.max_header_bytes
}

fn url_bytes<B>(request: &axum::http::Request<B>) -> usize {
    request.uri().path_and_query().map_or(0, |url| url.as_str().len())
}

fn header_bytes<B>(request: &axum::http::Request<B>) -> usize {
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Middleware that refuses a request whose URL or headers exceed the limits.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Failure> {
    let served = served(request.extensions(), &app);
    let http = &served.config().http;
    let url = url_bytes(&request);
    if url > http.max_url_bytes {
        let detail = format!("the URL has {url} bytes; at most {} are taken", http.max_url_bytes);
        let hint = "send arguments in the body of a POST, which may be much larger";
        return Err(Error::new(Code::RequestUrlTooLong, detail).hint(hint).into());
    }
    let headers = header_bytes(&request);
    if headers > http.max_header_bytes {
        let detail = format!("the headers have {headers} bytes; at most {} are taken", http.max_header_bytes);
        return Err(Error::new(Code::RequestHeadersTooLarge, detail).hint("send fewer or shorter headers").into());
    }
    Ok(next.run(request).await)
}
