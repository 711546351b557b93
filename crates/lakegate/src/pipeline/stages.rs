//! The stages of a request that know no HTTP: authorize, type the arguments, govern, run. Each takes what only the stage
//! before it makes. [`super::answer`] calls them in order and reports their results; policy tests call them through
//! [`prepare`].

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Authorized, Grant, Principal, Reason, authorize as decide};
use lakegate_core::catalog::{AsOf, Call, RawArguments, call};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Config, Endpoint};
use lakegate_query::engine::{BatchStream, Engine, Limits};
use lakegate_query::govern::{GovernedPlan, govern as govern_plan, govern_count};
use lakegate_query::plan::{PastEndpoint, PlannedProject};

use crate::page::{Page, PageTimes};
use crate::signer::Signer;

/// A refusal of access.
#[derive(Debug)]
pub struct Denial {
    /// The reason; `None` if there is no such endpoint.
    pub reason: Option<Reason>,
    /// The error for the caller, which tells less.
    pub error: Error,
}

/// A governed call that has not run yet.
#[derive(Debug)]
pub struct Governed {
    /// The plan to run.
    pub plan: GovernedPlan,
    /// The page, if the caller asked for pages.
    pub page: Option<Page>,
    /// The `as_of` that asks for the tables as they are read, if one of them keeps its past.
    pub state: Option<AsOf>,
    past: Option<Arc<PastEndpoint>>,
    call: Call,
    now: DateTime<Utc>,
}

/// Checks that the caller may call the endpoint.
///
/// # Errors
/// 404 if there is no such endpoint, or a hidden one that the caller may not call; 403 if no grant allows the call. A
/// caller must be authenticated before, so that only known callers learn which endpoints exist.
pub fn authorize(
    project: &PlannedProject,
    principal: &Principal,
    grants: &[Grant],
    endpoint: &str,
    now: DateTime<Utc>,
) -> Result<(Authorized, Arc<Endpoint>), Denial> {
    let planned = project.find(endpoint).map(|planned| planned.endpoint());
    let Some(declared) = planned.or(project.away().endpoint(endpoint)) else {
        return Err(Denial { reason: None, error: unknown_endpoint() });
    };
    match decide(principal, endpoint, grants, now) {
        Ok(authorized) => Ok((authorized, Arc::clone(declared))),
        Err(refusal) => {
            let reason = Some(refusal.reason().clone());
            let error = if declared.hidden { unknown_endpoint().source(refusal) } else { refusal.into() };
            Err(Denial { reason, error })
        }
    }
}

/// Types the arguments, and checks the endpoint's rules and the terms of the grants.
///
/// # Errors
/// 400 and 403 for arguments that do not fit; 503 if a table of the endpoint is unavailable.
pub fn type_arguments(
    project: &PlannedProject,
    authorized: Authorized,
    endpoint: Arc<Endpoint>,
    raw: RawArguments,
) -> Result<Call, Error> {
    let planned = project.find(&endpoint.name).ok_or_else(unavailable)?;
    call(authorized, endpoint, raw, planned.rules())
}

/// Puts the policies into the plan of the endpoint, binds the values, and finds the page and the version of the tables.
///
/// # Errors
/// If the cursor is not of this response, the version is gone, or the plan cannot be governed.
pub async fn govern(
    project: &PlannedProject,
    signer: &Signer,
    mut call: Call,
    now: DateTime<Utc>,
) -> Result<Governed, Error> {
    let page = Page::from_modifiers(call.modifiers(), signer)?;
    if let Some(page) = &page {
        call = call.with_row_range(page.row_range());
    }
    // All pages of a response are for one moment, that of the first.
    let now = page.as_ref().map_or(Ok(now), |page| page.query_time(now))?;
    let mut past = match call.modifiers().as_of() {
        Some(as_of) => Some(project.as_of(call.endpoint(), not_in_the_future(as_of, now)?).await?),
        None => None,
    };
    let mut plan = govern_plan(project, past.as_deref(), &call, now)?;
    if let Some(page) = &page {
        // The tables may have changed since the first page. If they keep their past, this page reads it.
        if let Some(state) = page.as_of_for_page(&plan, signer).filter(|_| past.is_none()) {
            past = project.as_of(call.endpoint(), state).await.map(Some).or_else(Page::map_gone)?;
            plan = govern_plan(project, past.as_deref(), &call, now)?;
        }
        page.check_continues(&plan, signer)?;
    }
    let state = match &past {
        Some(past) => past.state(),
        None => project.state(call.endpoint()),
    };
    Ok(Governed { plan, page, state, past, call, now })
}

/// Runs the query. With the rows of a page comes the cursor of the next one, if there is one.
///
/// # Errors
/// If the query cannot start, or fails before its first rows.
pub async fn run(
    engine: &dyn Engine,
    signer: &Signer,
    governed: Governed,
    limits: Limits,
) -> Result<(BatchStream, Option<String>), Error> {
    let Governed { plan, page, state, now, .. } = governed;
    match page {
        None => Ok((engine.run(plan, limits).await?.settled().await?, None)),
        Some(page) => page.read(engine, plan, limits, signer, PageTimes { now, as_of: state }).await,
    }
}

/// The number of all rows of the result, of which the response may be a part.
///
/// # Errors
/// As for [`run`].
pub async fn count(
    project: &PlannedProject,
    engine: &dyn Engine,
    governed: &Governed,
    limits: &Limits,
) -> Result<u64, Error> {
    let plan = govern_count(project, governed.past.as_deref(), &governed.call, governed.now)?;
    engine.run(plan, Limits { max_rows: None, ..limits.clone() }).await?.number().await
}

/// A call of an authenticated principal, for [`prepare`].
pub struct PrincipalCall<'a> {
    /// The caller.
    pub principal: &'a Principal,
    /// The grants to it and to its roles.
    pub grants: &'a [Grant],
    /// The name of the endpoint.
    pub endpoint: &'a str,
    /// The arguments as the caller gave them.
    pub raw: RawArguments,
    /// The time of the request.
    pub now: DateTime<Utc>,
}

/// All stages between authentication and the run, for callers that are no HTTP requests.
///
/// # Errors
/// That of the first stage that refuses.
pub async fn prepare(
    project: &PlannedProject,
    signer: &Signer,
    asked: PrincipalCall<'_>,
) -> Result<(Governed, Limits), Error> {
    let PrincipalCall { principal, grants, endpoint, raw, now } = asked;
    let came = Instant::now();
    let authorized = authorize(project, principal, grants, endpoint, now);
    let (authorized, declared) = authorized.map_err(|denial| denial.error)?;
    let call = type_arguments(project, authorized, declared, raw)?;
    let governed = govern(project, signer, call, now).await?;
    let limits = governed.limits(&project.project().config, came);
    Ok((governed, limits))
}

/// A version in the future is refused, because the same request would have another response later.
fn not_in_the_future(as_of: AsOf, now: DateTime<Utc>) -> Result<AsOf, Error> {
    match as_of {
        AsOf::Time(time) if time > now => {
            let error = Error::new(Code::ArgumentConstraint, "`as_of` is in the future").parameter("as_of");
            Err(Error::arguments(vec![error.hint("leave it out to get the newest data")]))
        }
        as_of => Ok(as_of),
    }
}

fn unknown_endpoint() -> Error {
    Error::new(Code::EndpointUnknown, "there is no such endpoint")
        .hint("`GET /api` lists the endpoints that this token may call")
}

/// A table of the endpoint has been unreadable since the server started.
fn unavailable() -> Error {
    Error::new(Code::LakeUnavailable, "files of the lake cannot be read now").hint("try again later").retry_after(5)
}

impl Governed {
    /// The call, for [`govern`]'s endpoint and principal.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The limits of the query. Its time limit begins at `came`.
    pub fn limits(&self, config: &Config, came: Instant) -> Limits {
        let authorized = self.call.authorized();
        Limits::of_call(&self.call.limits(config), came, authorized.principal().name(), authorized.endpoint())
    }

    /// Whether equal requests have equal responses whenever they arrive, as long as nothing else changes.
    pub fn is_deterministic(&self) -> bool {
        !self.plan.depends_on_time()
    }

    /// Whether it reads the current tables, and is not a page.
    pub fn is_current_and_unpaged(&self) -> bool {
        self.page.is_none() && self.past.is_none()
    }
}
