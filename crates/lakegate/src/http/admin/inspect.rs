//! `/admin/explain` and `/admin/audit`: explains what decides a call, and searches the audit log.

use std::path::PathBuf;
use std::sync::Arc;

use axum::{Extension, Json, extract};
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::{Code, Error};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::AdminState;
use super::refusal::refusal;
use super::request::{Body, Filter};
use crate::admin::{AdminService, parse_time};
use crate::audit::Search;
use crate::clock;
use crate::context::RequestContext;
use crate::explain::{Explanation, explain as explained};
use crate::http::problem::Failure;

/// The maximum number of records in one response.
const MAX_RECORDS: usize = 10_000;

/// The call to explain: principal, endpoint, arguments and modifiers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    principal: String,
    endpoint: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    #[serde(default)]
    select: Option<String>,
    #[serde(default)]
    order: Option<String>,
}

/// Explains what decides a call, without running it.
pub(super) async fn explain(
    admin: AdminService,
    Extension(context): Extension<Arc<RequestContext>>,
    Body(call): Body<ExplainRequest>,
) -> Result<Json<Explanation>, Failure> {
    let details = admin.principal(&call.principal).await.map_err(refusal)?;
    let grants = details.grants.into_iter().map(|listing| listing.grant).collect();
    let planned = context.served.project.find(&call.endpoint).ok_or_else(|| {
        Error::new(Code::AdminUnknown, "there is no such endpoint").hint("`GET /admin/endpoints` lists what is there")
    })?;
    let mut raw = RawArguments::default();
    let modifiers = [("select", call.select), ("order", call.order)];
    raw.add_query(modifiers.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))))?;
    raw.add_json(Value::Object(call.arguments).to_string().as_bytes())?;
    Ok(Json(explained(&context.served.project, planned, details.principal, grants, raw, clock::now()).await))
}

/// The filter of an audit search.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditFilter {
    principal: Option<String>,
    endpoint: Option<String>,
    outcome: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    request_id: Option<String>,
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
}

/// The latest audit records that match the filter, oldest first.
pub(super) async fn audit(
    _: AdminService,
    extract::State(state): extract::State<Arc<AdminState>>,
    Filter(filter): Filter<AuditFilter>,
) -> Result<Json<Vec<Value>>, Failure> {
    let Some(folder) = state.app.audit.folder().map(PathBuf::from) else {
        let error = Error::new(Code::AdminUnknown, "this server keeps no audit log");
        return Err(error.hint("set `audit` in `[server]` to `on` or `strict`").into());
    };
    let time = |name: &str, text: Option<String>| {
        let refused = |fault| Error::new(Code::AdminRequestMalformed, format!("`{name}` is {fault}"));
        text.map(|text| parse_time(&text).map_err(refused)).transpose()
    };
    let (since, until) = (time("since", filter.since)?, time("until", filter.until)?);
    let search = Search {
        principal: filter.principal,
        endpoint: filter.endpoint,
        outcome: filter.outcome,
        status: filter.status,
        code: filter.code,
        request_id: filter.request_id,
        kind: filter.kind,
        since,
        until,
        limit: filter.limit.unwrap_or(100).clamp(1, MAX_RECORDS),
    };
    let unreadable = |error| Error::new(Code::AuditUnavailable, "the audit log cannot be read").source(error);
    let found = tokio::task::spawn_blocking(move || search.run(&folder)).await;
    let found =
        found.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(format!("{error:#}")))?;
    Ok(Json(found.records.into()))
}
