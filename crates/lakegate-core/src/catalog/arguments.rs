//! Matches raw arguments with an endpoint's parameters, and reports every invalid one, not just the first.
//!
//! [`super::admission`] applies the rules of the caller's grants.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::admission;
use super::modifiers::{Modifiers, RowRange};
use super::raw::{RawArgument, RawArguments};
use crate::access::{Authorized, GrantedAccess};
use crate::error::{Code, Error};
use crate::limits::{EffectiveLimits, Limits};
use crate::project::{Config, Endpoint, EndpointLimits, Param, suggest_or_list};
use crate::value::{Scalar, Value};

/// Maximum number of unknown names to report one by one. Further ones are only counted, because otherwise a small
/// request could cause a huge response.
const MOST_UNKNOWN: usize = 50;

/// Typed arguments, in the order of the endpoint's parameters; `None` is NULL.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    pub(super) values: Vec<Option<Value>>,
}

/// An authorized principal, an endpoint, valid arguments for it, and the access that the admitting grants allow. Only
/// [`call`] makes one.
#[derive(Clone, Debug)]
pub struct Call {
    authorized: Authorized,
    endpoint: Arc<Endpoint>,
    arguments: Arguments,
    modifiers: Modifiers,
    row_range: Option<RowRange>,
    granted_access: GrantedAccess,
}

/// The compiled rules of an endpoint.
pub trait RuleCheck {
    /// The indexes in [`Endpoint::rules`] of the rules that are false for these arguments.
    ///
    /// # Errors
    /// A rule cannot be evaluated; the call is then refused.
    fn violated(&self, arguments: &Arguments) -> Result<Vec<usize>, Error>;
}

impl Arguments {
    /// The values, in the order of the endpoint's parameters.
    pub fn values(&self) -> &[Option<Value>] {
        &self.values
    }
}

impl Call {
    /// The caller, and the grants that allow the call.
    pub fn authorized(&self) -> &Authorized {
        &self.authorized
    }

    /// The called endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The arguments.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The requested form of the response.
    pub fn modifiers(&self) -> &Modifiers {
        &self.modifiers
    }

    /// The requested range of rows; `None` is all of them.
    pub fn row_range(&self) -> Option<RowRange> {
        self.row_range
    }

    /// Replaces the requested range of rows, to read a page.
    #[must_use]
    pub fn with_row_range(mut self, row_range: RowRange) -> Self {
        self.row_range = Some(row_range);
        self
    }

    /// The access that the grants admitting these arguments allow.
    pub fn granted_access(&self) -> &GrantedAccess {
        &self.granted_access
    }

    /// The limits of the call, in a project with this `lakegate.toml`.
    pub fn limits(&self, config: &Config) -> EffectiveLimits {
        limits(config, &self.endpoint, self.granted_access.limits())
    }
}

/// The limits of a call of an endpoint, given the limits of the grants.
pub fn limits(config: &Config, endpoint: &Endpoint, grants: Limits) -> EffectiveLimits {
    let EndpointLimits { limits, on_max_rows } = &endpoint.limits;
    EffectiveLimits::new(config.limits.for_calls(&config.server), limits.clone(), grants, *on_max_rows)
}

/// Checks the arguments of an authorized principal for the endpoint that it was authorized for.
///
/// # Errors
/// [`Code::ArgumentsInvalid`] with every invalid argument; [`Code::ArgumentNotGranted`] with what the grants allow, if
/// none admits the arguments; [`Code::RuleViolated`] with every broken rule.
pub fn call(
    authorized: Authorized,
    endpoint: Arc<Endpoint>,
    raw: RawArguments,
    rules: &dyn RuleCheck,
) -> Result<Call, Error> {
    if authorized.endpoint() != endpoint.name {
        let detail = "the endpoint is not the one that was authorized";
        return Err(Error::new(Code::Internal, "something went wrong").source(detail));
    }
    let RawArguments { entries, modifiers } = raw;
    modifiers.check()?;
    modifiers.check_for(&endpoint)?;
    let given = parse_given(&endpoint, entries)?;
    let (arguments, grants) = admission::admit(&authorized, &endpoint, given)?;
    let granted_access = authorized.granted_access(grants.into_iter().map(|at| &authorized.grants()[at]));
    let violated = rules.violated(&arguments)?;
    if !violated.is_empty() {
        let messages = violated.iter().filter_map(|at| endpoint.rules.get(*at)).map(|rule| rule.message.as_str());
        return Err(Error::new(Code::RuleViolated, messages.collect::<Vec<_>>().join("; ")));
    }
    let row_range = modifiers.row_range();
    Ok(Call { authorized, endpoint, arguments, modifiers, row_range, granted_access })
}

/// The caller's value for each parameter, in order: typed and within the parameter's constraints, or `None`.
fn parse_given(endpoint: &Endpoint, entries: Vec<(String, RawArgument)>) -> Result<Vec<Option<Value>>, Error> {
    let mut errors = Vec::new();
    let mut unknown = 0_usize;
    let mut given: HashMap<&str, Vec<RawArgument>> = HashMap::new();
    for (name, argument) in entries {
        match endpoint.param(&name) {
            Some(param) => given.entry(&param.name).or_default().push(argument),
            None => {
                unknown += 1;
                if unknown > MOST_UNKNOWN {
                    continue;
                }
                let known = endpoint.params.iter().map(|param| param.name.as_str());
                let shown: String = name.chars().filter(|each| !each.is_control()).take(64).collect();
                errors.push(
                    Error::new(Code::ArgumentUnknown, format!("unknown parameter `{shown}`"))
                        .parameter(shown.clone())
                        .hint(suggest_or_list(&shown, known)),
                );
            }
        }
    }
    if let Some(more) = unknown.checked_sub(MOST_UNKNOWN).filter(|more| *more > 0) {
        errors.push(Error::new(Code::ArgumentUnknown, format!("{more} more unknown parameters")));
    }
    let mut values = Vec::with_capacity(endpoint.params.len());
    for param in &endpoint.params {
        let supplied = given.remove(param.name.as_str()).unwrap_or_default();
        match parse_value(param, supplied) {
            Ok(value) => values.push(value),
            Err(error) => {
                values.push(None);
                errors.push(error.parameter(&param.name));
            }
        }
    }
    if errors.is_empty() {
        return Ok(values);
    }
    // Report every fault at once: a missing argument beside invalid ones, even if a grant might have filled it in.
    for (param, value) in endpoint.params.iter().zip(&values) {
        if value.is_none() && !errors.iter().any(|error| error.parameter.as_deref() == Some(&param.name)) {
            errors.extend(default_value(param).err());
        }
    }
    Err(Error::arguments(errors))
}

/// The value of a parameter without an argument.
pub(super) fn default_value(param: &Param) -> Result<Option<Value>, Error> {
    match (&param.default, param.required) {
        (Some(default), _) => Ok(Some(default.clone())),
        (None, false) => Ok(None),
        (None, true) => {
            let detail = format!("parameter `{}` is missing", param.name);
            let error = Error::new(Code::ArgumentMissing, detail).parameter(&param.name);
            Err(error.hint(format!("give {}", expectation(param))))
        }
    }
}

/// Parses one parameter's argument; JSON `null` counts as not given.
fn parse_value(param: &Param, mut supplied: Vec<RawArgument>) -> Result<Option<Value>, Error> {
    supplied.retain(|argument| *argument != RawArgument::Json(Json::Null));
    if supplied.is_empty() {
        return Ok(None);
    }
    let all_text = supplied.iter().all(|argument| matches!(argument, RawArgument::Text(_)));
    if supplied.len() > 1 && !(param.value_type.list && all_text) {
        let detail = format!("parameter `{}` came {} times", param.name, supplied.len());
        return Err(Error::new(Code::ArgumentDuplicate, detail).hint("give it once"));
    }
    let value = parse_type(param, &supplied).ok_or_else(|| {
        Error::new(Code::ArgumentType, format!("parameter `{}` must be {}", param.name, expectation(param)))
    })?;
    match param.fault(&value) {
        None => Ok(Some(value)),
        Some(fault) => Err(Error::new(Code::ArgumentConstraint, format!("parameter `{}` {fault}", param.name))),
    }
}

/// Parses the argument. A list comes as a JSON array, or as a repeated query parameter.
fn parse_type(param: &Param, supplied: &[RawArgument]) -> Option<Value> {
    let scalar_type = param.value_type.scalar;
    let scalar = |argument: &RawArgument| -> Option<Scalar> {
        match argument {
            RawArgument::Text(text) => scalar_type.parse(text),
            RawArgument::Json(json) => scalar_type.from_json(json),
        }
    };
    match supplied {
        [RawArgument::Json(json)] => Value::from_json(param.value_type, json),
        [one] if !param.value_type.list => scalar(one).map(Value::Scalar),
        many => many.iter().map(scalar).collect::<Option<Vec<_>>>().map(|scalars| Value::List(scalar_type, scalars)),
    }
}

pub(super) fn expectation(param: &Param) -> String {
    let item = param.value_type.scalar.expectation();
    if param.value_type.list { format!("a list, each item {item}") } else { item.to_owned() }
}
