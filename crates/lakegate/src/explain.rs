//! Explains what decides a call without running it: the grants, the row filters with their values, the masks, columns,
//! argument rules, limits and the governed plan.
//!
//! `lakegate explain` and the admin API print the result. It omits the values of secret attributes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lakegate_core::access::{
    Authorized, Effect, Grant, GrantedAccess, Grantee, Principal, PrincipalRecord, Terms, authorize,
};
use lakegate_core::catalog::{self, Call, RawArguments, call};
use lakegate_core::error::Error;
use lakegate_core::limits::{self, Limit, LimitSource};
use lakegate_core::project::{Endpoint, OnMaxRows};
use lakegate_query::govern::explain::{ColumnView, MaskView, Rows, TableView, columns, tables};
use lakegate_query::govern::govern;
use lakegate_query::plan::{PlannedEndpoint, PlannedProject};
use serde::Serialize;
use serde_json::Value as Json;
use std::sync::Arc;

use crate::impersonation;

/// The decision on a call, and what the response would hold.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The endpoint.
    pub endpoint: String,
    /// The principal.
    pub principal: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its attributes; `***` for a secret one.
    pub attributes: BTreeMap<String, Json>,
    /// Whether the call is allowed.
    pub allowed: bool,
    /// The reason, as a sentence.
    pub reason: String,
    /// The refusal that the caller would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// The grants and denials that apply to this principal and this endpoint.
    pub grants: Vec<GrantPart>,
    /// The effective arguments, including defaults and fixed values.
    pub arguments: BTreeMap<String, Json>,
    /// The visible rows of each table.
    pub tables: Vec<TablePart>,
    /// The columns of the endpoint.
    pub columns: Vec<ColumnPart>,
    /// The limits on the response.
    pub limits: Limits,
    /// The policy fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The prepared plan over resident tables, with `value()` in place of values; `None` if the query reads files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<String>,
    /// The governed and optimised plan, with the names of attributes and arguments in place of their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// A refusal, as the caller would get it.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// The stable code.
    pub code: String,
    /// The fault.
    pub detail: String,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The individual faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// A grant's part in the decision.
#[derive(Debug, Serialize)]
pub struct GrantPart {
    /// Its id.
    pub id: String,
    /// The principal or role.
    pub to: String,
    /// The endpoint.
    pub endpoint: String,
    /// `allow` or `deny`.
    pub effect: &'static str,
    /// The columns, unmasking and rules that it allows or denies.
    pub terms: Terms,
    /// Its effect on this call.
    pub part: &'static str,
}

/// The restrictions that a table's catalog imposes.
#[derive(Debug, Serialize)]
pub struct CatalogPart {
    /// The row filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The action on each restricted column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, &'static str>,
}

/// The visible part of a table.
#[derive(Debug, Serialize)]
pub struct TablePart {
    /// The table.
    pub table: String,
    /// `shared`, `unfiltered` or `filtered`.
    pub rows: &'static str,
    /// The roles that make every row visible, if that is the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because_of_roles: Vec<String>,
    /// The row filter, as the project defines it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The values of the filter's attributes for this principal; null if it lacks one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Json>,
    /// The restrictions of its catalog, which apply to every caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogPart>,
    /// The masks on its columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<MaskPart>,
}

/// A mask.
#[derive(Debug, Serialize)]
pub struct MaskPart {
    /// The column.
    pub column: String,
    /// The mask, such as `partial(prefix 2, suffix 2)`.
    pub mask: String,
    /// The tag that the mask comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether it applies to this principal.
    pub on: bool,
}

/// A column of the response.
#[derive(Debug, Serialize)]
pub struct ColumnPart {
    /// The name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether the response includes it.
    pub granted: bool,
    /// The masked columns of the lake from which it is computed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
}

/// The limits on a call.
#[derive(Debug, Default, Serialize)]
pub struct Limits {
    /// The tightest value of each limit, by its name in project files.
    #[serde(flatten)]
    pub bounds: limits::Limits,
    /// `truncate`, if a response with too many rows is truncated and marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_max_rows: Option<&'static str>,
    /// The minimum number of subjects in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_group_size: Option<u64>,
    /// The source of each limit: `server`, `endpoint` or `grants`.
    pub from: BTreeMap<&'static str, &'static str>,
    /// Limits that count over many calls, separately for each source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<CountedLimit>,
}

/// A limit that counts over many calls.
#[derive(Debug, Serialize)]
pub struct CountedLimit {
    /// Its name.
    pub limit: &'static str,
    /// The maximum.
    pub bound: u64,
    /// Its source.
    pub from: &'static str,
    /// The requests that it counts.
    pub of: &'static str,
}

/// Replaces a secret value.
pub const SECRET_MASK: &str = "***";

/// Explains a call of an endpoint by a principal with these grants, without running it.
pub async fn explain(
    project: &PlannedProject,
    planned: &PlannedEndpoint,
    record: PrincipalRecord,
    grants: Vec<Grant>,
    raw: RawArguments,
    now: DateTime<Utc>,
) -> Explanation {
    let endpoint = planned.endpoint();
    let mut explanation = Explanation {
        endpoint: endpoint.name.clone(),
        principal: record.name.clone(),
        roles: record.roles.iter().cloned().collect(),
        attributes: attributes(project, &record),
        allowed: false,
        reason: String::new(),
        refusal: None,
        grants: Vec::new(),
        arguments: BTreeMap::new(),
        tables: Vec::new(),
        columns: Vec::new(),
        limits: limits_part(project, endpoint, limits::Limits::default()),
        fingerprint: None,
        plan: None,
        shortcut: None,
    };
    let (who, grants) = match impersonation::impersonate(record, grants, now) {
        Ok(impersonated) => impersonated,
        Err(error) => return explanation.refused(&error),
    };
    let authorized = match authorize(&who, &endpoint.name, &grants, now) {
        Ok(authorized) => authorized,
        Err(refusal) => {
            explanation.reason = refusal.reason().to_string();
            explanation.grants = parts(&who, endpoint, &grants, None, now);
            return explanation.refused(&refusal.into());
        }
    };
    explanation.reason = authorized.reason().to_string();
    // If the arguments are refused, show the union of what all grants allow.
    let possible = authorized.granted_access(authorized.grants());
    let outcome = call(authorized.clone(), Arc::clone(endpoint), raw, planned.rules());
    let granted_access = outcome.as_ref().map_or(&possible, Call::granted_access);
    explanation.show(project, planned, &authorized, granted_access);
    explanation.grants = parts(&who, endpoint, &grants, outcome.as_ref().ok().map(Call::granted_access), now);
    let call = match outcome {
        Ok(call) => call,
        Err(error) => return explanation.refused(&error),
    };
    explanation.arguments = arguments(project, &call);
    match govern(project, None, &call, now) {
        Ok(plan) => {
            explanation.allowed = true;
            // The fingerprint is a digest of the values too, and would confirm a guess of a short secret.
            let tells = explanation
                .attributes
                .values()
                .chain(explanation.arguments.values())
                .any(|value| *value == SECRET_MASK);
            explanation.fingerprint = (!tells).then(|| plan.fingerprint().to_owned());
            explanation.plan = Some(plan.display_without_values());
            explanation.shortcut = plan.display_shortcut().await;
            explanation
        }
        Err(error) => explanation.refused(&error),
    }
}

impl Explanation {
    fn refused(mut self, error: &Error) -> Self {
        let said = |error: &Error| match &error.hint {
            Some(hint) => format!("{}; {hint}", error.detail),
            None => error.detail.clone(),
        };
        if self.reason.is_empty() {
            self.reason = error.detail.clone();
        }
        self.refusal = Some(Refused {
            code: error.code.name().to_owned(),
            detail: error.detail.clone(),
            hint: error.hint.clone(),
            errors: error.errors.iter().map(said).collect(),
        });
        self
    }

    fn show(
        &mut self,
        project: &PlannedProject,
        planned: &PlannedEndpoint,
        authorized: &Authorized,
        granted_access: &GrantedAccess,
    ) {
        let who = authorized.principal();
        let views = tables(project, planned, who, granted_access);
        self.tables = views.into_iter().map(|view| table_part(project, view, who)).collect();
        self.columns = columns(project, planned, granted_access).into_iter().map(column_part).collect();
        self.limits = limits_part(project, planned.endpoint(), granted_access.limits());
    }
}

/// The limits on calls of an endpoint, with these limits from the grants.
fn limits_part(project: &PlannedProject, endpoint: &Endpoint, grants: limits::Limits) -> Limits {
    let in_force = catalog::limits(&project.project().config, endpoint, grants);
    let mut part = Limits {
        on_max_rows: (in_force.on_max_rows() == OnMaxRows::Truncate).then(|| in_force.on_max_rows().name()),
        min_group_size: endpoint.small_groups.as_ref().map(|groups| groups.least),
        ..Limits::default()
    };
    for limit in Limit::ALL {
        let Some(bound) = in_force.bound(*limit) else { continue };
        part.bounds.set(*limit, Some(bound.value));
        part.from.insert(limit.name(), bound.from.name());
        if matches!(
            limit,
            Limit::MaxConcurrent | Limit::RequestsPerSecond | Limit::RequestBurst | Limit::RequestsPerDay
        ) {
            part.counted.extend(in_force.all(*limit).map(|bound| CountedLimit {
                limit: limit.name(),
                bound: bound.value,
                from: bound.from.name(),
                of: if bound.from == LimitSource::Server {
                    "all calls of the principal"
                } else {
                    "its calls of this endpoint"
                },
            }));
        }
    }
    part
}

fn shown(project: &PlannedProject, attribute: &str, value: &lakegate_core::value::Value) -> Json {
    if project.project().config.secret_attributes.contains(attribute) { SECRET_MASK.into() } else { value.to_json() }
}

fn attributes(project: &PlannedProject, record: &PrincipalRecord) -> BTreeMap<String, Json> {
    record.attributes.iter().map(|(name, value)| (name.clone(), shown(project, name, value))).collect()
}

fn arguments(project: &PlannedProject, call: &Call) -> BTreeMap<String, Json> {
    let secret = |name: &str| {
        let fixed = |grant: &Grant| grant.terms.parameters.get(name).and_then(|term| term.attribute.clone());
        let attributes = call.authorized().grants().iter().filter_map(fixed);
        attributes.into_iter().any(|attribute| project.project().config.secret_attributes.contains(&attribute))
    };
    let values = call.endpoint().params.iter().zip(call.arguments().values());
    let parts = values.map(|(param, value)| {
        let value = match value {
            Some(_) if param.secret || secret(&param.name) => SECRET_MASK.into(),
            Some(value) => value.to_json(),
            None => Json::Null,
        };
        (param.name.clone(), value)
    });
    parts.collect()
}

fn parts(
    who: &Principal,
    endpoint: &Endpoint,
    grants: &[Grant],
    granted_access: Option<&GrantedAccess>,
    now: DateTime<Utc>,
) -> Vec<GrantPart> {
    let about = grants.iter().filter(|grant| grant.to.covers(who) && grant.endpoint.covers(&endpoint.name));
    let part = |grant: &Grant| {
        let place =
            granted_access.and_then(|granted_access| granted_access.grants().iter().position(|id| *id == grant.id));
        match (grant.effect, place) {
            _ if grant.has_expired(now) => "expired",
            (Effect::Deny, _) => "takes away",
            (Effect::Allow, Some(0)) => "decides",
            (Effect::Allow, Some(_)) => "adds",
            (Effect::Allow, None) if granted_access.is_some() => "does not admit these arguments",
            (Effect::Allow, None) => "allows",
        }
    };
    let parts = about.map(|grant| GrantPart {
        id: grant.id.clone(),
        to: match &grant.to {
            Grantee::Principal(name) => format!("principal {name}"),
            Grantee::Role(name) => format!("role {name}"),
        },
        endpoint: grant.endpoint.as_str().to_owned(),
        effect: grant.effect.name(),
        terms: redacted_terms(grant, endpoint),
        part: part(grant),
    });
    parts.collect()
}

/// The terms of a grant, without the values of secret parameters.
fn redacted_terms(grant: &Grant, endpoint: &Endpoint) -> Terms {
    let mut terms = grant.terms.clone();
    for (name, term) in &mut terms.parameters {
        if endpoint.param(name).is_some_and(|param| param.secret) {
            let values = [&mut term.fixed, &mut term.min, &mut term.max].into_iter().flatten();
            values.chain(&mut term.one_of).for_each(|value| *value = SECRET_MASK.to_owned());
        }
    }
    terms
}

fn table_part(project: &PlannedProject, view: TableView, who: &Principal) -> TablePart {
    let mut part = TablePart {
        table: view.table,
        rows: "shared",
        because_of_roles: Vec::new(),
        filter: None,
        values: BTreeMap::new(),
        catalog: view
            .catalog
            .map(|catalog| CatalogPart { filter: catalog.rows, columns: catalog.columns.into_iter().collect() }),
        masks: view.masks.into_iter().map(mask_part).collect(),
    };
    match view.rows {
        Rows::Shared => {}
        Rows::Unfiltered(roles) => (part.rows, part.because_of_roles) = ("unfiltered", roles),
        Rows::Filtered { filter, attributes, .. } => {
            let value = |name: &String| who.attribute(name).map_or(Json::Null, |value| shown(project, name, value));
            part.values = attributes.iter().map(|name| (name.clone(), value(name))).collect();
            (part.rows, part.filter) = ("filtered", Some(filter));
        }
    }
    part
}

fn mask_part(view: MaskView) -> MaskPart {
    MaskPart { column: view.column, mask: view.mask.to_string(), tag: view.tag, on: !view.unmasked }
}

fn column_part(view: ColumnView) -> ColumnPart {
    ColumnPart {
        name: view.column.name,
        type_name: view.column.type_name,
        granted: view.shown,
        masked: view.masked.into_iter().collect(),
    }
}
