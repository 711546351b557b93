//! The HTTP server: listeners, the service around every request, and the routes. The way of a request to an endpoint is in
//! [`crate::pipeline`].

mod serve;
mod service;

mod problem;
mod query;
mod size_limits;

mod callable_endpoints;
mod docs;
mod endpoint_list;
mod health;
mod openapi;

mod admin;

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

const LIST: &str = "/api";
const OPENAPI: &str = "/api/openapi.json";

/// Whether a path with the prefix of endpoints belongs to a page about them.
fn is_about_endpoints(path: &str) -> bool {
    path == LIST || path == OPENAPI || docs::is_docs_path(path)
}

/// The routes of the endpoint API, without the endpoints: [`service`] hands requests to them to the pipeline.
fn routes(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route(LIST, get(endpoint_list::endpoints))
        .route(OPENAPI, get(openapi::document))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready));
    for path in docs::paths() {
        router = router.route(path, get(docs::file));
    }
    router.fallback(unknown_path).method_not_allowed_fallback(refuse_method).with_state(app)
}

async fn unknown_path() -> Failure {
    let error = Error::new(Code::RequestPathUnknown, "there is nothing at this path");
    Failure(error.hint("endpoints are at `/api/{endpoint}`, and `GET /api` lists them"))
}

async fn refuse_method(method: Method) -> Failure {
    method_not_allowed(&method)
}

fn method_not_allowed(method: &Method) -> Failure {
    let error = Error::new(Code::RequestMethodNotAllowed, format!("this path does not take {method}"));
    Failure(error.hint("use GET with a query string, or POST with a JSON object for an endpoint"))
}
