//! Runs policy tests. Each test is a call by its principal that passes the same stages as a request after
//! authentication.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use lakegate_core::access::{Grant, Principal, PrincipalRecord, authorize};
use lakegate_core::catalog::{RawArguments, call};
use lakegate_core::error::Error;
use lakegate_core::project::PolicyTest;
use lakegate_query::answer::Answer;
use lakegate_query::engine::Engine;
use lakegate_query::govern::explain::{ColumnView, columns};
use lakegate_query::plan::PlannedProject;
use serde_json::Value as Json;

use super::expectations::{CallResult, FailedExpectation, check_expectations};
use super::test_access::Test;
use crate::http::status_of;
use crate::impersonation;
use crate::pipeline::stages::{self, PrincipalCall};
use crate::signer::Signer;

/// The number of tests that run at once.
const CONCURRENT_TESTS: usize = 4;

/// The result of a test.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// The test.
    pub test: Test,
    /// The status that a caller would get.
    pub status: u16,
    /// The code of the refusal.
    pub code: Option<&'static str>,
    /// The number of rows in the response.
    pub rows: Option<usize>,
    /// The failed expectations; empty if the test passed.
    pub failures: Vec<FailedExpectation>,
}

/// Runs the tests, a few at once. The outcomes are in the order of the tests.
pub async fn run(
    project: &PlannedProject,
    engine: &dyn Engine,
    tests: Vec<Test>,
    now: DateTime<Utc>,
) -> Vec<TestOutcome> {
    let running = tests.into_iter().map(|test| run_one(project, engine, test, now));
    futures::stream::iter(running).buffered(CONCURRENT_TESTS).collect().await
}

async fn run_one(project: &PlannedProject, engine: &dyn Engine, test: Test, now: DateTime<Utc>) -> TestOutcome {
    let came = match asked(project, engine, &test, now).await {
        Ok((answer, columns)) => CallResult::Answered(answer, columns),
        Err(error) => CallResult::Refused(error),
    };
    let failures = check_expectations(&test.test.expect, &came, project);
    let (status, code, rows) = match &came {
        CallResult::Answered(answer, _) => (200, None, Some(answer.rows())),
        CallResult::Refused(error) => (status_of(error.code), Some(error.code.name()), None),
    };
    TestOutcome { test, status, code, rows, failures }
}

async fn asked(
    project: &PlannedProject,
    engine: &dyn Engine,
    test: &Test,
    now: DateTime<Utc>,
) -> Result<(Answer, Vec<ColumnView>), Error> {
    let Test { test, access, .. } = test;
    // The existence of the principal was checked before; a missing one would have no grants.
    let record = access.principals.get(&test.principal.text).cloned();
    let record = record.unwrap_or_else(|| PrincipalRecord::new("", test.principal.text.as_str(), now));
    let grants = access.grants_of(&record);
    let (who, grants) = impersonation::impersonate(record, grants, now)?;
    let endpoint = test.endpoint.text.as_str();
    let raw = arguments(test)?;
    let asked = PrincipalCall { principal: &who, grants: &grants, endpoint, raw: raw.clone(), now };
    // A test uses no cursor from elsewhere, so any key will do.
    let signer = Signer::new([0; 32]);
    let (governed, limits) = stages::prepare(project, &signer, asked).await?;
    let (stream, _) = stages::run(engine, &signer, governed, limits).await?;
    let answer = Answer::collect(stream).await?;
    let columns = match test.expect.masked.is_empty() && test.expect.unmasked.is_empty() {
        true => Vec::new(),
        false => lineage(project, &who, endpoint, &grants, raw, now)?,
    };
    Ok((answer, columns))
}

fn arguments(test: &PolicyTest) -> Result<RawArguments, Error> {
    let mut raw = RawArguments::default();
    let select = test.select.iter().map(|text| ("select".to_owned(), text.clone()));
    raw.add_query(select.chain(test.order.iter().map(|text| ("order".to_owned(), text.clone()))))?;
    raw.add_json(Json::Object(test.arguments.clone()).to_string().as_bytes())?;
    Ok(raw)
}

/// The lineage of the columns, for the grants that admit these arguments.
fn lineage(
    project: &PlannedProject,
    who: &Principal,
    endpoint: &str,
    grants: &[Grant],
    raw: RawArguments,
    now: DateTime<Utc>,
) -> Result<Vec<ColumnView>, Error> {
    let Some(planned) = project.find(endpoint) else { return Ok(Vec::new()) };
    let authorized = authorize(who, endpoint, grants, now)?;
    let call = call(authorized, Arc::clone(planned.endpoint()), raw, planned.rules())?;
    Ok(columns(project, planned, call.granted_access()))
}
