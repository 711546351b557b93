//! The HTTP server: routes, middleware, and draining at shutdown.

mod accept;
mod admin;
mod answer;
mod asked;
mod body;
mod bounds;
mod docs;
mod front;
mod health;
mod list;
mod offered;
mod openapi;
mod query;
mod repeat;
mod respond;
mod serve;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::http::{Extensions, Method};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use lakegate_core::error::{Code, Error};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::{App, Served};
use respond::Failure;

pub use admin::admin_router;
pub use front::Front;
pub use openapi::openapi;
pub(crate) use repeat::Heads;
pub use respond::status_of;
pub use serve::{CertificateError, Certificates, Drained, Server, ServerError, interrupted};

/// The routes of the endpoint API.
pub fn router(app: Arc<App>) -> Router {
    let endpoints = || Router::new().route("/{endpoint}", get(query::by_query).post(query::by_body));
    let mut router = Router::new()
        .route("/api", get(list::endpoints))
        .route("/api/openapi.json", get(openapi::document))
        .nest("/api", endpoints())
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready));
    for path in docs::paths() {
        router = router.route(path, get(docs::file));
    }
    router = match app.served().config().server.base_path.as_deref() {
        None => router,
        Some("/") => router.merge(endpoints()),
        Some(path) => router.nest(path, endpoints()),
    };
    let routes = router.fallback(unknown_path).method_not_allowed_fallback(method_not_allowed);
    layered(routes, &app).with_state(app)
}

/// Adds the middleware that every request passes: observation, panic handling, and size limits.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>, app: &Arc<App>) -> Router<S> {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(Arc::clone(app), respond::observe))
        .layer(CatchPanicLayer::custom(respond::panicked))
        .layer(from_fn_with_state(Arc::clone(app), bounds::check));
    router.layer(layers)
}

/// The project that was served when the request arrived.
fn served(extensions: &Extensions, app: &App) -> Arc<Served> {
    extensions.get::<Arc<Served>>().map_or_else(|| app.served(), Arc::clone)
}

async fn unknown_path() -> Failure {
    let error = Error::new(Code::RequestPathUnknown, "there is nothing at this path");
    Failure(error.hint("endpoints are at `/api/{endpoint}`, and `GET /api` lists them"))
}

async fn method_not_allowed(method: Method) -> Failure {
    let error = Error::new(Code::RequestMethodNotAllowed, format!("this path does not take {method}"));
    Failure(error.hint("use GET with a query string, or POST with a JSON object for an endpoint"))
}
