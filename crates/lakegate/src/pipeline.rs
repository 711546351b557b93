//! A whole request, from a token to the rows. Each stage takes what only the stage before it can make.
//!
//! Knows no HTTP: headers and bodies are `http`'s business.

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

/// A call that was allowed and governed, and has not run yet.
#[derive(Debug)]
pub struct Prepared {
    /// What runs.
    pub plan: GovernedPlan,
    /// Under which limits.
    pub limits: Limits,
    /// The page that it is, if pages were asked for.
    pub page: Option<Page>,
    /// What asks for the tables as they are read, where one of them keeps its past.
    pub state: Option<AsOf>,
    past: Option<Arc<PastEndpoint>>,
    call: Call,
    now: DateTime<Utc>,
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
    /// The same by a clock that nobody sets: the time that a query may take begins here.
    pub came: Instant,
}

/// Prepares one request from the moment on at which it is known who asks: authorized, call, governed plan. What is found out
/// goes into the trail.
///
/// 404 and 403 are decided here, after the 401 of whoever is not known: a known caller learns whether an endpoint exists
/// (unless it is `hidden`), and then whether it is theirs.
///
/// # Errors
/// The first stage that refuses says why.
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
        // A hidden endpoint and one that is not there give the same answer.
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
        call = call.for_window(page.window());
    }
    // Pages of one answer are asked for one moment, that of the first.
    let now = page.as_ref().map_or(Ok(now), |page| page.moment(now))?;
    let mut past = match call.modifiers().as_of() {
        Some(as_of) => Some(project.as_of(call.endpoint(), not_to_come(as_of, now)?).await?),
        None => None,
    };
    let mut plan = govern(project, past.as_deref(), &call, now)?;
    if let Some(page) = &page {
        // The tables have gone on since the first page; where they keep their past, this page is of it.
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

/// What is to come is not known: the same question would have another answer then.
fn not_to_come(as_of: AsOf, now: DateTime<Utc>) -> Result<AsOf, Error> {
    match as_of {
        AsOf::Time(time) if time > now => {
            let error = Error::new(Code::ArgumentConstraint, "`as_of` is in the future").parameter("as_of");
            Err(Error::arguments(vec![error.hint("leave it out to get the newest data")]))
        }
        as_of => Ok(as_of),
    }
}

/// Runs what was prepared. With the rows of a page comes the cursor of the next one, if there is one.
///
/// # Errors
/// With the code that says why it could not start.
pub async fn run(engine: &dyn Engine, seal: &Seal, prepared: Prepared) -> Result<(BatchStream, Option<String>), Error> {
    let Prepared { plan, limits, page, state, now, .. } = prepared;
    match page {
        None => Ok((engine.run(plan, limits).await?.settled().await?, None)),
        Some(page) => page.read(engine, plan, limits, seal, Moments { now, state }).await,
    }
}

/// The number of all rows that the caller could have, of which the answer may be a part.
///
/// # Errors
/// As for the answer itself.
pub async fn count(served: &Served, engine: &dyn Engine, prepared: &Prepared) -> Result<u64, Error> {
    let plan = govern_count(&served.project, prepared.past.as_deref(), &prepared.call, prepared.now)?;
    engine.run(plan, Limits { max_rows: None, ..prepared.limits.clone() }).await?.number().await
}

fn unknown_endpoint() -> Error {
    Error::new(Code::EndpointUnknown, "there is no such endpoint")
        .hint("`GET /api` lists the endpoints that this token may call")
}

/// Tables that the endpoint reads could not be read since the server started.
fn away() -> Error {
    Error::new(Code::LakeUnavailable, "files of the lake can not be read now").hint("try again later").retry_after(5)
}

impl Prepared {
    /// The endpoint.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Whether the same request gives the same answer whenever it comes, as long as nothing else changes.
    pub fn is_lasting(&self) -> bool {
        !self.plan.depends_on_time()
    }

    /// Whether it is of the tables as they are, and no page of an answer.
    pub fn is_plain(&self) -> bool {
        self.page.is_none() && self.past.is_none()
    }
}
