//! The HTTP server: listeners, the service around every request, and the routes. The way of a request to an endpoint is in
//! [`crate::pipeline`].

mod admin;
mod bounds;
mod docs;
mod health;
mod list;
mod offered;
mod openapi;
mod problem;
mod query;
mod serve;
mod service;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::get;
use lakegate_core::error::{Code, Error};

use crate::app::App;
use problem::Failure;

use admin::admin_routes;
pub use openapi::openapi;
pub use problem::status_of;
pub use serve::{CertificateError, Certificates, Drained, Server, ServerError, shutdown_signal};
pub use service::HttpService;

/// The routes of the endpoint API.
fn routes(app: Arc<App>) -> Router {
    let endpoint = || get(query::by_query).post(query::by_body);
    let mut router = Router::new()
        .route("/api", get(list::endpoints))
        .route("/api/openapi.json", get(openapi::document))
        .route("/api/{endpoint}", endpoint())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready));
    for path in docs::paths() {
        router = router.route(path, get(docs::file));
    }
    if let Some(base) = app.served().config().server.base_path.as_deref() {
        router = router.route(&format!("{}/{{endpoint}}", base.trim_end_matches('/')), endpoint());
    }
    router.fallback(unknown_path).method_not_allowed_fallback(method_not_allowed).with_state(app)
}

async fn unknown_path() -> Failure {
    let error = Error::new(Code::RequestPathUnknown, "there is nothing at this path");
    Failure(error.hint("endpoints are at `/api/{endpoint}`, and `GET /api` lists them"))
}

async fn method_not_allowed(method: Method) -> Failure {
    let error = Error::new(Code::RequestMethodNotAllowed, format!("this path does not take {method}"));
    Failure(error.hint("use GET with a query string, or POST with a JSON object for an endpoint"))
}
