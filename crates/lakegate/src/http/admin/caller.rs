//! Authenticates callers of the admin API: only an admin token yields a [`AdminService`], and requests of web pages are refused
//! before the token is checked.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, Request};
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::Response;
use lakegate_core::catalog::refuse_token;
use lakegate_core::error::{Code, Error};

use super::AdminState;
use crate::admin::AdminService;
use crate::context::RequestContext;
use crate::http::problem::Failure;
use crate::pipeline::{self, receive};
use crate::store::ChangeAuthor;
use crate::token;

impl FromRequestParts<Arc<AdminState>> for AdminService {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Failure> {
        let Extension(context) = Extension::<Arc<RequestContext>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Error::new(Code::Internal, "something went wrong").source(rejection))?;
        let token = token::presented(&parts.headers)?;
        let admin = pipeline::authenticate_admin(&state.app, &context, &token).await?;
        Ok(AdminService::new(state.app.access.store().clone(), ChangeAuthor::admin(&admin), state.secret.clone()))
    }
}

/// Refuses requests that no operator's tool sends: those of a web page, and those with a token in the URL.
pub(super) async fn guard(request: Request, next: Next) -> Result<Response, Failure> {
    if is_from_web_page(request.headers(), request.uri()) {
        return Err(Error::new(Code::AdminOriginRefused, "a web page of another site made this request")
            .hint("call the admin API from a program, not from a page")
            .into());
    }
    for (name, value) in receive::pairs(request.uri().query())? {
        refuse_token(&name, &value)?;
    }
    Ok(next.run(request).await)
}

/// Whether a browser sent this request for a page of another origin. A page passes only if its origin is the called
/// host and that host is an IP address or `localhost`, because the owner of a DNS name could point it at this server.
fn is_from_web_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    let called = headers.get(HOST).and_then(|host| host.to_str().ok()).or(uri.authority().map(Authority::as_str));
    let mut origins = headers.get_all(ORIGIN).iter();
    // A page behind such a DNS name sends no `Origin` with plain reads.
    let Some(origin) = origins.next() else { return site.is_some() && !called.is_some_and(is_address) };
    let (Ok(origin), Some(called), None) = (origin.to_str(), called, origins.next()) else { return true };
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page != Some(called) || !is_address(called)
}

fn is_address(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}
