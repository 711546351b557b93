//! The admin API: the routes under `/admin` on a listener of their own, and `/metrics` beside them. Takes admin tokens
//! only and refuses requests of web pages.
//!
//! Request and response bodies are defined in [`crate::admin`]; this module has paths and statuses.

mod caller;
mod grants;
mod inspect;
mod metrics;
mod overview;
mod principals;
mod refusal;
mod request;
mod status;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use lakegate_core::error::{Code, Error};

use super::problem::Failure;
use crate::app::App;
use crate::store::SecretAttributes;

/// The state of the admin routes. Handlers reach the store only through a [`crate::admin::AdminService`], which requires an
/// admin token.
struct AdminState {
    app: Arc<App>,
    secret: SecretAttributes,
}

/// The routes of the admin API.
pub(super) fn admin_routes(app: Arc<App>, secret: SecretAttributes) -> Router {
    Router::new()
        .route("/admin/principals", get(principals::list).post(principals::add))
        .route("/admin/principals/{name}", get(principals::show).patch(principals::change))
        .route("/admin/principals/{name}/disable", post(principals::disable))
        .route("/admin/principals/{name}/enable", post(principals::enable))
        .route("/admin/tokens", get(tokens::list).post(tokens::issue))
        .route("/admin/tokens/{id}/rotate", post(tokens::rotate))
        .route("/admin/tokens/{id}/revoke", post(tokens::revoke))
        .route("/admin/grants", get(grants::list).post(grants::add))
        .route("/admin/grants/{id}", get(grants::show))
        .route("/admin/grants/{id}/revoke", post(grants::revoke))
        .route("/admin/changes", get(overview::changes))
        .route("/admin/endpoints", get(overview::endpoints))
        .route("/admin/explain", post(inspect::explain))
        .route("/admin/audit", get(inspect::audit))
        .route("/metrics", get(metrics::metrics))
        .route("/admin/status", get(status::show))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(caller::guard))
        .with_state(Arc::new(AdminState { app, secret }))
}

async fn unknown_path() -> Failure {
    let error = Error::new(Code::RequestPathUnknown, "there is nothing at this path");
    Failure(error.hint(
        "the admin API has `/admin/principals`, `tokens`, `grants`, `changes`, `endpoints`, `explain`, `audit` and \
         `status`; metrics are at `/metrics`",
    ))
}

async fn method_not_allowed(method: Method) -> Failure {
    let error = Error::new(Code::RequestMethodNotAllowed, format!("this path does not take {method}"));
    Failure(error.hint("the header `Allow` lists what it takes"))
}
