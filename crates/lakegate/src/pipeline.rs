//! A whole request, from a token to the rows. Each stage takes what only the stage before it can make.
//!
//! Knows no HTTP: headers and bodies are `http`'s business.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Grant, Presented, Principal, authorize};
use lakegate_core::catalog::{RawArguments, call};
use lakegate_core::error::{Code, Error};
use lakegate_query::engine::{BatchStream, Engine, Limits};
use lakegate_query::govern::govern;
use lakegate_query::plan::PlannedProject;

use crate::app::{App, Served};
use crate::audit::Trail;
use crate::clock;

/// Runs one request: principal, authorized, call, governed plan, rows. What is found out goes into the trail.
///
/// 401, 404 and 403 are decided here, in this order: an unknown caller learns nothing, a known one learns whether an
/// endpoint exists (unless it is `hidden`), and then whether it is theirs.
///
/// # Errors
/// The first stage that refuses says why.
pub async fn answer(
    app: &App,
    served: &Served,
    token: &Presented,
    endpoint: &str,
    raw: RawArguments,
    trail: &Trail,
) -> Result<BatchStream, Error> {
    let now = clock::now();
    let (principal, credential) = trail.authenticate(served, token, now).await?;
    let asked = Asked { principal: &principal, grants: &credential.grants, endpoint, raw, now };
    answer_as(&served.project, app.engine.as_ref(), asked, trail).await
}

/// What a known principal asks for.
pub struct Asked<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The grants to it and to its roles.
    pub grants: &'a [Grant],
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// The arguments as they came.
    pub raw: RawArguments,
    /// When.
    pub now: DateTime<Utc>,
}

/// The same from the moment on at which it is known who asks.
///
/// # Errors
/// The first stage that refuses says why.
pub async fn answer_as(
    project: &PlannedProject,
    engine: &dyn Engine,
    asked: Asked<'_>,
    trail: &Trail,
) -> Result<BatchStream, Error> {
    let Asked { principal, grants, endpoint, raw, now } = asked;
    let planned = project.find(endpoint).ok_or_else(unknown_endpoint)?;
    let authorized = authorize(principal, endpoint, grants, now).map_err(|refusal| {
        trail.denied(refusal.reason());
        // A hidden endpoint and one that is not there give the same answer.
        if planned.endpoint().hidden { unknown_endpoint().source(refusal) } else { refusal.into() }
    })?;
    trail.allowed(&authorized);
    let config = &project.project().config;
    let call = call(authorized, Arc::clone(planned.endpoint()), raw, planned.rules())?;
    trail.called(&call, &config.secret_attributes);
    let plan = govern(project, &call, now)?;
    trail.governed(&plan);
    if !plan.unfiltered().is_empty() {
        tracing::info!(principal = principal.name(), endpoint, tables = ?plan.unfiltered(), "all rows are seen by a role");
    }
    let deadline = Instant::now() + config.server.timeout;
    let limits = Limits { deadline, max_rows: call.allowance().max_rows() };
    engine.run(plan, limits).await
}

fn unknown_endpoint() -> Error {
    Error::new(Code::EndpointUnknown, "there is no such endpoint")
        .hint("`GET /api` lists the endpoints that this token may call")
}
