//! Applies governance to logical plans: turns a [`Call`] into a [`GovernedPlan`], whose every scan is under its policy.
//!
//! The order is fixed: scan, row filter on raw values, barrier, masks, then the endpoint's own query.

mod barrier;
pub(crate) mod bind;
pub(crate) mod column_path;
mod evidence;
pub mod explain;
pub(crate) mod fingerprint;
mod inject;
pub(crate) mod literal;
pub(crate) mod mask;
pub(crate) mod masking;
pub(crate) mod one_of;
pub(crate) mod order_key;
pub(crate) mod output;
pub(crate) mod policy;
mod pushdown;
mod taint;
pub(crate) mod template;
mod total;
pub(crate) mod verify;
pub(crate) mod window;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod engine_traps;
#[cfg(test)]
mod list_tests;
mod lists;
#[cfg(test)]
mod literal_tests;
#[cfg(test)]
mod masking_tests;
#[cfg(test)]
mod noninterference;
#[cfg(test)]
mod odd_names_tests;
#[cfg(test)]
mod physical_tests;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tpch_tests;
#[cfg(test)]
mod verify_tests;
#[cfg(test)]
mod window_tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use lakegate_core::access::Principal;
use lakegate_core::catalog::Call;
use lakegate_core::error::{Code, Error};
use lakegate_core::limits::Limit;
use lakegate_core::value::{Scalar, Value};

pub(crate) use barrier::{BarrierPlanner, barrier_of, is_barrier};
pub(crate) use inject::{table_of, tables_of};
pub(crate) use masking::names as names_masked;
pub(crate) use pushdown::LeakProofPushdown;
pub(crate) use total::{can_fail, is_leak_proof};

pub(crate) use mask::MaskFunction;
pub use mask::{MaskKey, WeakMaskKey};

use crate::plan::{PastEndpoint, PlannedEndpoint, PlannedProject, functions, placeholder_id};
use crate::shortcut::Shortcut;
#[cfg(test)]
use crate::shortcut::Slots;
pub use crate::shortcut::refused_prepared_plans;
use bind::{Bindings, Unrepresentable};
use output::Output;
use template::{Shape, Template, Templates};
use window::Numbers;

/// A plan that may be run: every scan is under its policy, and every value is bound. Only [`govern`] and
/// [`govern_count`] make one.
#[derive(Debug)]
pub struct GovernedPlan {
    template: Arc<Template>,
    /// The values of the caller and of the call, in the order of the template's slots.
    values: Arc<[ScalarValue]>,
    unfiltered: Vec<String>,
    restricted: Vec<String>,
    fingerprint: String,
    rows: [u8; 32],
    session: Arc<SessionState>,
}

impl GovernedPlan {
    /// The columns of the response.
    pub fn schema(&self) -> &SchemaRef {
        &self.template.schema
    }

    /// Governed tables whose every row this caller sees because of a role.
    pub fn unfiltered(&self) -> &[String] {
        &self.unfiltered
    }

    /// Tables whose catalogs restrict every caller.
    pub fn restricted(&self) -> &[String] {
        &self.restricted
    }

    /// The policy fingerprint: 64 hexadecimal digits that cover everything the response depends on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the response depends on the moment of the request: on the time, or on a salt that is drawn for each
    /// request.
    pub fn depends_on_time(&self) -> bool {
        [functions::NOW, functions::TODAY, mask::SALT].iter().any(|id| self.template.placeholders.contains(*id))
    }

    /// Digest of the whole result of which this response is a part, independent of the versions of its tables. Two
    /// calls with the same digest and the same [versions](Self::versions) have the same rows in the same order.
    pub fn rows(&self) -> &[u8; 32] {
        &self.rows
    }

    /// Digest of the versions of all tables that are read.
    pub fn versions(&self) -> &[u8; 32] {
        &self.template.versions
    }

    /// The plan as text, for operators. It contains the caller's values.
    pub fn display(&self) -> String {
        match self.plan() {
            Ok(plan) => plan.display_indent().to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// The plan as text, with the names of attributes and arguments in place of their values.
    pub fn display_without_values(&self) -> String {
        self.template.plan.display_indent().to_string()
    }

    /// The plan without values, formatted only when displayed.
    pub fn outline(&self) -> PlanOutline {
        PlanOutline(Arc::clone(&self.template))
    }

    /// The plan with its values bound.
    pub(crate) fn plan(&self) -> datafusion::common::Result<LogicalPlan> {
        bind::filled(self.template.plan.clone(), &self.template.slots, &self.values)
    }

    /// The prepared plan over resident tables, without values; `None` if this plan runs like any other.
    pub(crate) async fn shortcut(&self) -> Option<&Shortcut> {
        let Template { plan, slots, shortcut, .. } = self.template.as_ref();
        shortcut.get_or_init(|| Box::pin(Shortcut::of(plan, slots, &self.session))).await.as_ref()
    }

    /// The operators of the prepared plan with values bound; `None` if this plan runs like any other.
    pub(crate) async fn shortcut_plan(&self) -> datafusion::common::Result<Option<Arc<dyn ExecutionPlan>>> {
        self.shortcut().await.map(|shortcut| shortcut.filled(&self.values)).transpose()
    }

    /// The operators of the prepared plan as text, without values; `None` if this plan runs like any other.
    pub async fn display_shortcut(&self) -> Option<String> {
        self.shortcut().await.map(Shortcut::display)
    }

    /// Whether the plan calls functions whose results can be much larger than their arguments.
    pub(crate) fn has_large_values(&self) -> bool {
        self.template.has_large_values
    }

    pub(crate) fn session(&self) -> &Arc<SessionState> {
        &self.session
    }

    /// The governed plan without values, and its parameters.
    #[cfg(test)]
    pub(crate) fn template(&self) -> (&LogicalPlan, &Slots) {
        (&self.template.plan, &self.template.slots)
    }
}

/// A governed plan that shows the names of attributes and arguments in place of their values. Cheap to keep.
#[derive(Clone, Debug)]
pub struct PlanOutline(Arc<Template>);

impl fmt::Display for PlanOutline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.plan.display_indent())
    }
}

/// Applies the caller's policies to the endpoint's plan and binds the arguments and the time of `now()`. Reads earlier
/// versions of the tables if `past` is given.
///
/// # Errors
/// [`Code::AccessAttributeMissing`] and [`Code::AccessAttributeMismatch`] if a policy cannot be evaluated for this
/// caller, [`Code::ArgumentConstraint`] if a column cannot hold an argument, [`Code::GovernRefused`] for everything
/// else.
pub fn govern(
    project: &PlannedProject,
    past: Option<&PastEndpoint>,
    call: &Call,
    now: DateTime<Utc>,
) -> Result<GovernedPlan, Error> {
    let output = Output::of(call, project.endpoint(call.endpoint())?.schema())?;
    govern_as(project, past, call, output, now)
}

/// Governs a count of all rows that the call could return, whatever part of them it asks for.
///
/// # Errors
/// As for [`govern`].
pub fn govern_count(
    project: &PlannedProject,
    past: Option<&PastEndpoint>,
    call: &Call,
    now: DateTime<Utc>,
) -> Result<GovernedPlan, Error> {
    let output = Output::count_of(call, project.endpoint(call.endpoint())?.schema())?;
    govern_as(project, past, call, Some(output), now)
}

/// The endpoint's plan in the version that is read, and the templates made from it.
fn planned<'a>(
    endpoint: &'a PlannedEndpoint,
    past: Option<&'a PastEndpoint>,
) -> Result<(&'a LogicalPlan, &'a Templates), Error> {
    match past {
        None => Ok((endpoint.plan(), endpoint.templates())),
        // A shared declaration proves that the plan belongs to this endpoint of this project.
        Some(past) if Arc::ptr_eq(past.endpoint(), endpoint.endpoint()) => Ok((past.plan(), past.templates())),
        Some(_) => Err(Error::new(Code::GovernRefused, "the past is of another endpoint")),
    }
}

fn govern_as(
    project: &PlannedProject,
    past: Option<&PastEndpoint>,
    call: &Call,
    output: Option<Output>,
    now: DateTime<Utc>,
) -> Result<GovernedPlan, Error> {
    let endpoint = project.endpoint(call.endpoint())?;
    project.check_withdrawn(endpoint)?;
    let (plan, templates) = planned(endpoint, past)?;
    let principal = call.authorized().principal();
    let (unfiltered, attributes) = reach(project, endpoint, principal);

    let mut shape = Shape { unfiltered, output, ..Shape::default() };
    let numbers = Numbers::of(call.row_range());
    let mut bindings = Bindings::default();
    for attribute in attributes {
        let value = principal.attribute(attribute).ok_or_else(|| {
            Error::new(
                Code::AccessAttributeMissing,
                format!(
                    "this caller has no attribute `{attribute}`, which the rows of `{}` go by",
                    call.endpoint().name
                ),
            )
            .hint("ask the operator to add it")
        })?;
        bindings.add(policy::placeholder_id(attribute), Some(value), &mut shape);
    }
    for (param, value) in call.endpoint().params.iter().zip(call.arguments().values()) {
        bindings.add(placeholder_id(&param.name), value.as_ref(), &mut shape);
    }
    // Plans hold the time in microseconds.
    let now = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
    let (now, today) = (Value::Scalar(Scalar::Timestamp(now)), Value::Scalar(Scalar::Date(now.date_naive())));
    bindings.add(functions::NOW.to_owned(), Some(&now), &mut shape);
    bindings.add(functions::TODAY.to_owned(), Some(&today), &mut shape);
    let salt = project.masking().needs_salt().then(|| {
        let (one, other) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Value::Scalar(Scalar::String(format!("{}{}", one.simple(), other.simple())))
    });
    if let Some(salt) = &salt {
        bindings.add(mask::SALT.to_owned(), Some(salt), &mut shape);
    }
    numbers.bind(&mut bindings, &mut shape);
    let unfiltered = shape.unfiltered.iter().cloned().collect();
    let restricted = project.restricted(endpoint);
    let session = project.session();
    let key = project.mask_key();
    if endpoint.hashes() {
        shape.mask_key.clone_from(&key);
    }
    shape.unmasked = project.masking().unmasked(call.granted_access(), endpoint.tables());
    let template = templates
        .get(shape, |shape| template::make(plan, shape, project.maker(key.as_ref()), endpoint.digest()))
        .map_err(|error| refusal(&error).source(error))?;
    let values = bindings.literals(&template.slots).map_err(|error| refusal(&error).source(error))?;
    check_limits(&template, &values)?;
    let mut rows = template.fingerprint.clone();
    let (numbers, others): (Vec<_>, Vec<_>) = template.placeholders.iter().partition(|id| window::is_window(id));
    bindings.add_to(&mut rows, others.into_iter());
    let mut fingerprint = rows.clone();
    fingerprint.part(&template.versions);
    bindings.add_to(&mut fingerprint, numbers.into_iter());
    // A page and a part that is one row longer run the same plan but get different responses.
    let fetches_one_extra = call.row_range().is_some_and(|range| range.fetches_one_extra);
    // Limits that cut the response are part of it. The other limits only decide whether there is a response.
    let limits = call.limits(&project.project().config);
    let (most_rows, most_mb) = (limits.value(Limit::MaxRows), limits.value(Limit::MaxResultMb));
    fingerprint.text(format_args!("{most_rows:?} {most_mb:?} {:?} {fetches_one_extra}", limits.on_max_rows()));
    let (fingerprint, rows, session) = (fingerprint.hex(), rows.bytes(), Arc::clone(session));
    Ok(GovernedPlan { template, values, unfiltered, restricted, fingerprint, rows, session })
}

/// Refuses a negative row count. The error is the same on every path and names the parameter.
fn check_limits(template: &Template, values: &[ScalarValue]) -> Result<(), Error> {
    let negative = |(id, _): (&str, _), value: &ScalarValue| {
        matches!(value, ScalarValue::Int64(Some(number)) if *number < 0) && template.limits.contains(id)
    };
    let errors =
        template.slots.iter().zip(values).filter(|(slot, value)| negative(*slot, value)).map(|((id, _), _)| {
            let name = id.trim_start_matches('$');
            let detail = format!("parameter `{name}` is a number of rows, which cannot be negative");
            Error::new(Code::ArgumentConstraint, detail).parameter(name)
        });
    let errors = errors.collect::<Vec<_>>();
    if errors.is_empty() { Ok(()) } else { Err(Error::arguments(errors)) }
}

/// The governed tables that an endpoint reads without a filter for this caller, and the attributes that the filters of
/// the others need. Does not follow the filter of an unfiltered table.
fn reach<'a>(
    project: &'a PlannedProject,
    endpoint: &'a PlannedEndpoint,
    principal: &Principal,
) -> (BTreeSet<String>, BTreeSet<&'a str>) {
    let mut unfiltered = BTreeSet::new();
    let mut attributes = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting = endpoint.tables().iter().map(String::as_str).collect::<Vec<_>>();
    while let Some(table) = waiting.pop() {
        let Some(filter) = project.policies().filter(table).filter(|_| seen.insert(table)) else { continue };
        if filter.unfiltered_for.iter().any(|role| principal.has_role(role)) {
            unfiltered.insert(table.to_owned());
        } else {
            attributes.extend(filter.attributes.iter().map(String::as_str));
            waiting.extend(filter.reads.iter().map(String::as_str));
        }
    }
    (unfiltered, attributes)
}

/// The error that a caller gets if no plan could be made. Nothing was run.
fn refusal(error: &DataFusionError) -> Error {
    let root = error.find_root();
    if let DataFusionError::Plan(text) = root
        && let Some(attribute) = text.strip_prefix(template::LIST_OUTSIDE_IN).and_then(policy::attribute_of)
    {
        let detail = format!("attribute `{attribute}` of this caller is a list, which its policy does not take");
        return Error::new(Code::AccessAttributeMismatch, detail)
            .hint("ask the operator to give one value, or to write the policy with `IN`");
    }
    if let DataFusionError::External(external) = root
        && let Some(fault) = external.downcast_ref::<Unrepresentable>()
    {
        let id = fault.id.split('#').next().unwrap_or(&fault.id);
        return match policy::attribute_of(id) {
            Some(attribute) => {
                let detail = format!("attribute `{attribute}` of this caller is not of the type that its policy takes");
                Error::new(Code::AccessAttributeMismatch, detail).hint("ask the operator to give it the right type")
            }
            None => {
                let name = id.trim_start_matches('$');
                let error = Error::new(
                    Code::ArgumentConstraint,
                    format!("parameter `{name}` is out of the range of what it is compared with"),
                );
                Error::arguments(vec![error.parameter(name)])
            }
        };
    }
    Error::new(Code::GovernRefused, "the query cannot be governed; nothing was run")
}
