//! `/admin/changes` and `/admin/endpoints`: the change log, and the endpoints that can be granted.

use std::sync::Arc;

use axum::{Extension, Json};

use super::refusal::refusal;
use super::request::Filter;
use crate::admin::{AdminService, ChangesFilter, EndpointAnswer};
use crate::context::RequestContext;
use crate::http::problem::Failure;
use crate::store::ChangeRecord;

/// The changes of principals, tokens and grants, newest first.
pub(super) async fn changes(
    admin: AdminService,
    Filter(filter): Filter<ChangesFilter>,
) -> Result<Json<Vec<ChangeRecord>>, Failure> {
    Ok(Json(admin.change_log(&filter).await.map_err(refusal)?))
}

/// All endpoints of the served project, hidden ones included.
pub(super) async fn endpoints(
    _: AdminService,
    Extension(context): Extension<Arc<RequestContext>>,
) -> Result<Json<Vec<EndpointAnswer>>, Failure> {
    Ok(Json(context.served.project.endpoints().map(EndpointAnswer::new).collect()))
}
