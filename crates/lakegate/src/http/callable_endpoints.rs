//! Finds the endpoints that a caller may call, with the columns that it may see, for `GET /api` and the OpenAPI
//! document.

use chrono::{DateTime, Utc};
use lakegate_core::access::{Authorized, Grant, Principal, authorize};
use lakegate_core::catalog::limits;
use lakegate_core::limits::EffectiveLimits;
use lakegate_query::plan::{OutputColumn, PlannedEndpoint, PlannedProject};

/// An endpoint as one caller sees it.
pub(super) struct CallableEndpoint<'a> {
    pub(super) planned: &'a PlannedEndpoint,
    pub(super) authorized: Authorized,
    /// The limits on its responses.
    pub(super) limits: EffectiveLimits,
    /// The columns that at least one grant shows; never empty.
    pub(super) columns: Vec<OutputColumn>,
}

/// The endpoints for which a grant shows at least one column, ordered by name.
pub(super) fn callable_endpoints<'a>(
    project: &'a PlannedProject,
    principal: &Principal,
    grants: &[Grant],
    now: DateTime<Utc>,
) -> Vec<CallableEndpoint<'a>> {
    let of = |planned: &'a PlannedEndpoint| {
        let authorized = authorize(principal, &planned.endpoint().name, grants, now).ok()?;
        let granted_access = authorized.granted_access(authorized.grants());
        let limits = limits(&project.project().config, planned.endpoint(), granted_access.limits());
        let mut columns = planned.columns();
        columns.retain(|column| granted_access.shows(&column.name));
        (!columns.is_empty()).then_some(CallableEndpoint { planned, authorized, limits, columns })
    };
    project.endpoints().filter_map(of).collect()
}
