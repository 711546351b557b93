//! The request pipeline, from an authenticated caller to the rows. Each stage takes what only the previous stage can
//! create.
//!
//! It is independent of HTTP: [`crate::http`] handles headers and bodies.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Grant, Principal, authorize};
use lakegate_core::catalog::{AsOf, Call, RawArguments, call};
use lakegate_core::error::{Code, Error};
use lakegate_query::engine::{BatchStream, Engine, Limits};
use lakegate_query::govern::{GovernedPlan, govern, govern_count};
use lakegate_query::plan::{PastEndpoint, PlannedProject};

use crate::app::Served;
use crate::audit::Trail;
use crate::page::{Moments, Page};
use crate::seal::Seal;

/// A call that is authorized and governed, but has not run yet.
#[derive(Debug)]
pub struct Prepared {
    /// The plan to run.
    pub plan: GovernedPlan,
    /// Its limits.
    pub limits: Limits,
    /// The requested page, if any.
    pub page: Option<Page>,
    /// The value of `as_of` for the tables as they are read, if one of them supports time travel.
    pub state: Option<AsOf>,
    past: Option<Arc<PastEndpoint>>,
    call: Call,
    now: DateTime<Utc>,
}

/// The request of an authenticated principal.
pub struct Asked<'a> {
    /// The principal.
    pub principal: &'a Principal,
    /// The grants to the principal and its roles.
    pub grants: &'a [Grant],
    /// The name of the endpoint.
    pub endpoint: &'a str,
    /// The raw arguments.
    pub raw: RawArguments,
    /// The time of the request.
    pub now: DateTime<Utc>,
    /// The request's arrival on the monotonic clock, where the query's time limit starts.
    pub came: Instant,
}

/// Prepares a request of an authenticated caller: authorizes it, builds the call, and governs the plan. Records the
/// findings in the trail.
///
/// 404 and 403 are decided here, after the 401 of an unknown caller: a known caller learns whether an endpoint exists
/// (unless it is `hidden`), and then whether it may call it.
///
/// # Errors
/// The refusal of the first stage that refuses.
pub async fn prepare(
    project: &PlannedProject,
    seal: &Seal,
    asked: Asked<'_>,
    trail: &Trail,
) -> Result<Prepared, Error> {
    let Asked { principal, grants, endpoint, raw, now, came } = asked;
    let planned = project.find(endpoint);
    let declared = planned.map(|planned| planned.endpoint()).or(project.away().endpoint(endpoint));
    let declared = declared.ok_or_else(unknown_endpoint)?;
    let authorized = authorize(principal, endpoint, grants, now).map_err(|refusal| {
        trail.denied(refusal.reason());
        // A hidden endpoint returns the same response as a missing one.
        if declared.hidden { unknown_endpoint().source(refusal) } else { refusal.into() }
    })?;
    trail.allowed(&authorized);
    let config = &project.project().config;
    trail.standing().count_call(&authorized, declared, now)?;
    let planned = planned.ok_or_else(away)?;
    let mut call = call(authorized, Arc::clone(declared), raw, planned.rules())?;
    trail.called(&call, &config.secret_attributes);
    let page = Page::of(call.modifiers(), seal)?;
    if let Some(page) = &page {
        call = call.with_row_range(page.row_range());
    }
    // All pages of a response are computed for the time of the first.
    let now = page.as_ref().map_or(Ok(now), |page| page.moment(now))?;
    let mut past = match call.modifiers().as_of() {
        Some(as_of) => Some(project.as_of(call.endpoint(), not_to_come(as_of, now)?).await?),
        None => None,
    };
    let mut plan = govern(project, past.as_deref(), &call, now)?;
    if let Some(page) = &page {
        // The tables have changed since the first page; if they keep their old version, read that.
        if let Some(state) = page.past_to_ask(&plan, seal).filter(|_| past.is_none()) {
            past = project.as_of(call.endpoint(), state).await.map(Some).or_else(Page::gone_for)?;
            plan = govern(project, past.as_deref(), &call, now)?;
        }
        page.check(&plan, seal)?;
    }
    trail.governed(&plan);
    let state = match &past {
        Some(past) => past.state(),
        None => project.state(call.endpoint()),
    };
    trail.watch().sees_all_rows(principal, plan.unfiltered());
    let limits = Limits::of_call(&call.limits(config), came, principal.name(), endpoint);
    Ok(Prepared { plan, limits, page, state, past, call, now })
}

/// Refuses a time in the future, because the response to the same request would change.
fn not_to_come(as_of: AsOf, now: DateTime<Utc>) -> Result<AsOf, Error> {
    match as_of {
        AsOf::Time(time) if time > now => {
            let error = Error::new(Code::ArgumentConstraint, "`as_of` is in the future").parameter("as_of");
            Err(Error::arguments(vec![error.hint("leave it out to get the newest data")]))
        }
        as_of => Ok(as_of),
    }
}

/// Runs a prepared call. For a page, also returns the cursor of the next one, if there is one.
///
/// # Errors
/// If the query cannot start.
pub async fn run(engine: &dyn Engine, seal: &Seal, prepared: Prepared) -> Result<(BatchStream, Option<String>), Error> {
    let Prepared { plan, limits, page, state, now, .. } = prepared;
    match page {
        None => Ok((engine.run(plan, limits).await?.settled().await?, None)),
        Some(page) => page.read(engine, plan, limits, seal, Moments { now, state }).await,
    }
}

/// The number of all rows that the caller could get; the response may hold only a page of them.
///
/// # Errors
/// As for the response itself.
pub async fn count(served: &Served, engine: &dyn Engine, prepared: &Prepared) -> Result<u64, Error> {
    let plan = govern_count(&served.project, prepared.past.as_deref(), &prepared.call, prepared.now)?;
    engine.run(plan, Limits { max_rows: None, ..prepared.limits.clone() }).await?.number().await
}

fn unknown_endpoint() -> Error {
    Error::new(Code::EndpointUnknown, "there is no such endpoint")
        .hint("`GET /api` lists the endpoints that this token may call")
}

/// The error for an endpoint whose tables could not be read since the server started.
fn away() -> Error {
    Error::new(Code::LakeUnavailable, "files of the lake can not be read now").hint("try again later").retry_after(5)
}

impl Prepared {
    /// The call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Whether the same request always returns the same response while nothing else changes.
    pub fn is_lasting(&self) -> bool {
        !self.plan.depends_on_time()
    }

    /// Whether the response reads the current tables and is not paged.
    pub fn is_plain(&self) -> bool {
        self.page.is_none() && self.past.is_none()
    }
}
