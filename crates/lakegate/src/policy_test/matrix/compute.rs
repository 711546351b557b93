//! Computes an access matrix from grants and policies.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lakegate_core::access::{EndpointPattern, Grant, Grantee, Principal, PrincipalRecord, Terms, authorize};
use lakegate_core::project::RowPolicy;
use lakegate_query::govern::explain::{Rows, TableView, columns, tables};
use lakegate_query::plan::{PlannedEndpoint, PlannedProject};

use super::{Cell, FILTERED, Matrix, SHARED, SubjectKind, UNFILTERED, denial};
use crate::impersonation;
use crate::policy_test::TestAccess;

/// The subjects with their names.
pub fn subjects(project: &PlannedProject, by: SubjectKind, access: &TestAccess) -> Vec<(String, PrincipalRecord)> {
    if by == SubjectKind::Principal {
        return access.principals.iter().map(|(name, record)| (name.clone(), record.clone())).collect();
    }
    let mut roles = BTreeSet::new();
    roles.extend(access.principals.values().flat_map(|record| record.roles.iter().cloned()));
    roles.extend(access.grants.iter().filter_map(|grant| match &grant.to {
        Grantee::Role(role) => Some(role.clone()),
        Grantee::Principal(_) => None,
    }));
    for table in project.project().config.tables.values() {
        if let RowPolicy::Filtered { unfiltered_for, .. } = &table.policy {
            roles.extend(unfiltered_for.iter().cloned());
        }
    }
    let of = |role: String| {
        // No principal has a name with a space, so no grant to a principal matches this one.
        let record = PrincipalRecord::new("", format!("role {role}"), DateTime::UNIX_EPOCH).with_role(role.as_str());
        (role, record)
    };
    roles.into_iter().map(of).collect()
}

/// The matrix of the subjects that the principals and grants name.
pub fn compute(project: &PlannedProject, by: SubjectKind, access: &TestAccess, now: DateTime<Utc>) -> Matrix {
    let row = |(name, record): (String, PrincipalRecord)| {
        let grants = access.grants_of(&record);
        // A disabled principal has no access.
        let cells = match impersonation::impersonate(record, grants, now) {
            Ok((who, grants)) => {
                let cells = project.endpoints().filter_map(|planned| {
                    let cell = cell(project, planned, by, &who, &grants, now)?;
                    Some((planned.endpoint().name.clone(), cell))
                });
                cells.collect()
            }
            Err(_) => BTreeMap::new(),
        };
        (name, cells)
    };
    let denials = if by == SubjectKind::Role { denial::denials(&access.grants, now) } else { Vec::new() };
    Matrix { by, subjects: subjects(project, by, access).into_iter().map(row).collect(), denials }
}

fn cell(
    project: &PlannedProject,
    planned: &PlannedEndpoint,
    by: SubjectKind,
    who: &Principal,
    grants: &[Grant],
    now: DateTime<Utc>,
) -> Option<Cell> {
    let authorized = authorize(who, &planned.endpoint().name, grants, now).ok()?;
    let granted_access = authorized.granted_access(authorized.grants());
    let views = tables(project, planned, who, &granted_access);
    let shown = columns(project, planned, &granted_access).into_iter().filter(|view| view.shown).collect::<Vec<_>>();
    if shown.is_empty() {
        return None;
    }
    let masked = shown.iter().filter(|view| !view.masked.is_empty());
    let masked = masked.map(|view| (view.column.name.clone(), masks(&view.masked, &views)));
    let mut lacks = BTreeSet::new();
    if by == SubjectKind::Principal {
        for view in &views {
            if let Rows::Filtered { missing, .. } = &view.rows {
                lacks.extend(missing.iter().cloned());
            }
        }
    }
    Some(Cell {
        columns: shown.iter().map(|view| view.column.name.clone()).collect(),
        masked: masked.collect(),
        rows: views.iter().map(|view| (view.table.clone(), rows(view))).collect(),
        max_rows: granted_access.limits().max_rows,
        min_group_size: planned.endpoint().small_groups.as_ref().map(|groups| groups.least),
        rules: rules(planned, authorized.grants()),
        lacks,
    })
}

/// The masked columns of the lake, each with its masks.
fn masks(sources: &BTreeSet<String>, views: &[TableView]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for source in sources {
        let before = named.len();
        for view in views {
            let is_source =
                |column: &str| source.strip_prefix(&view.table).and_then(|rest| rest.strip_prefix('.')) == Some(column);
            // The mask may be on a field of the column.
            let own = view.masks.iter().filter(|mask| !mask.unmasked && is_source(&mask.of));
            named.extend(own.map(|mask| format!("{}.{}: {}", view.table, mask.column, mask.mask)));
            let demanded = view.catalog.iter().flat_map(|catalog| &catalog.columns);
            let demanded = demanded.filter(|(column, _)| is_source(column));
            named.extend(demanded.map(|(column, action)| format!("{}.{column}: {action} (catalog)", view.table)));
        }
        if named.len() == before {
            named.insert(source.clone());
        }
    }
    named
}

fn rows(view: &TableView) -> String {
    // Line breaks in the filter do not matter.
    let own = match &view.rows {
        Rows::Filtered { filter, .. } => Some(filter.split_whitespace().collect::<Vec<_>>().join(" ")),
        Rows::Shared | Rows::Unfiltered(_) => None,
    };
    let of_catalog = view.catalog.as_ref().and_then(|catalog| catalog.rows.as_deref());
    match (own, of_catalog, &view.rows) {
        (Some(own), Some(of_catalog), _) => format!("{FILTERED}{own}; by the catalog: {of_catalog}"),
        (Some(own), None, _) => format!("{FILTERED}{own}"),
        (None, Some(of_catalog), _) => format!("{FILTERED}by the catalog: {of_catalog}"),
        (None, None, Rows::Unfiltered(_)) => UNFILTERED.to_owned(),
        (None, None, _) => SHARED.to_owned(),
    }
}

/// The distinct terms of the grants, sorted; empty if none of them has rules.
fn rules(planned: &PlannedEndpoint, grants: &[Grant]) -> Vec<Terms> {
    let mut rules = Vec::<(String, Terms)>::new();
    for grant in grants {
        let mut terms = grant.terms.clone();
        if grant.endpoint == EndpointPattern::All {
            // A grant for every endpoint may name parameters that this endpoint lacks.
            let has = |name: &String| planned.endpoint().param(name).is_some();
            terms.parameters.retain(|name, _| has(name));
            terms.distance_limits.retain(|term| has(&term.from) && has(&term.to));
        }
        let text = serde_json::to_string(&terms).unwrap_or_default();
        if rules.iter().all(|(other, _)| *other != text) {
            rules.push((text, terms));
        }
    }
    if rules.iter().all(|(_, terms)| terms.parameters.is_empty() && terms.distance_limits.is_empty()) {
        return Vec::new();
    }
    rules.sort_by(|(one, _), (other, _)| one.cmp(other));
    rules.into_iter().map(|(_, terms)| terms).collect()
}
