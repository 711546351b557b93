//! The endpoints that a caller may call, as it may know them: what `GET /api` lists and the OpenAPI document describes.

use chrono::{DateTime, Utc};
use lakegate_core::access::{Authorized, Grant, Principal, authorize};
use lakegate_core::catalog::limits;
use lakegate_core::limits::InForce;
use lakegate_query::plan::{OutputColumn, PlannedEndpoint, PlannedProject};

/// An endpoint for one caller.
pub(super) struct Offered<'a> {
    pub(super) planned: &'a PlannedEndpoint,
    pub(super) authorized: Authorized,
    /// What bounds its answers.
    pub(super) limits: InForce,
    /// The columns that some grant of it shows; never empty.
    pub(super) columns: Vec<OutputColumn>,
}

/// Those with a grant that shows at least one column, in the order of their names.
pub(super) fn offered<'a>(
    project: &'a PlannedProject,
    principal: &Principal,
    grants: &[Grant],
    now: DateTime<Utc>,
) -> Vec<Offered<'a>> {
    let of = |planned: &'a PlannedEndpoint| {
        let authorized = authorize(principal, &planned.endpoint().name, grants, now).ok()?;
        let allowance = authorized.allowance(authorized.grants());
        let limits = limits(&project.project().config, planned.endpoint(), allowance.limits());
        let mut columns = planned.columns();
        columns.retain(|column| allowance.shows(&column.name));
        (!columns.is_empty()).then_some(Offered { planned, authorized, limits, columns })
    };
    project.endpoints().filter_map(of).collect()
}
