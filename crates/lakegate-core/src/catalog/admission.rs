//! Decides which of the caller's grants admit the arguments, and fills in what those grants fix.
//!
//! A grant may fix a parameter, narrow it, or limit the distance between two. The closest grant that admits the
//! arguments unchanged decides them; if there is none, the closest grant that fills something in decides. Every other
//! grant that admits the same arguments contributes its access too. So a caller never gets the access of one grant with
//! arguments that only another grant allows.

use std::collections::BTreeSet;

use super::arguments::{Arguments, default_value, expectation};
use crate::access::{Authorized, Distance, DistanceTerm, EndpointPattern, Grant, ParameterTerm, Principal};
use crate::error::{Code, Error};
use crate::project::{Endpoint, Param};
use crate::value::{Scalar, ScalarType, Value, ValueType};

/// Returns the arguments, and the indexes of the authorized grants that admit them.
///
/// # Errors
/// [`Code::ArgumentNotGranted`] if no grant admits the arguments, with what the nearest grant allows;
/// [`Code::ArgumentsInvalid`] if arguments are only missing.
pub(super) fn admit(
    authorized: &Authorized,
    endpoint: &Endpoint,
    given: Vec<Option<Value>>,
) -> Result<(Arguments, Vec<usize>), Error> {
    // The arguments without any grant's changes. A grant that leaves them unchanged precedes one that fills in.
    let plain = endpoint.params.iter().zip(&given).map(|(param, supplied)| match supplied {
        Some(value) => Some(value.clone()),
        None => param.default.clone(),
    });
    let plain = Arguments { values: plain.collect() };
    let mut admitted: Option<(Arguments, Vec<usize>)> = None;
    let mut nearest: Option<GrantMismatch> = None;
    for (at, grant) in authorized.grants().iter().enumerate() {
        match apply_grant(grant, authorized.principal(), endpoint, &given) {
            Ok(arguments) => match &mut admitted {
                Some((decided, places)) if *decided == arguments => places.push(at),
                Some((decided, _)) if *decided == plain || arguments != plain => {}
                _ => admitted = Some((arguments, vec![at])),
            },
            Err(mismatch) if nearest.as_ref().is_none_or(|nearest| mismatch.count() < nearest.count()) => {
                nearest = Some(mismatch);
            }
            Err(_) => {}
        }
    }
    admitted.ok_or_else(|| nearest.unwrap_or_default().into_error())
}

/// The reasons why a grant does not admit arguments.
#[derive(Debug, Default)]
struct GrantMismatch {
    violations: Vec<Error>,
    missing: Vec<Error>,
}

impl GrantMismatch {
    fn count(&self) -> (usize, usize) {
        (self.violations.len(), self.missing.len())
    }

    fn into_error(self) -> Error {
        if self.violations.is_empty() && !self.missing.is_empty() {
            return Error::arguments(self.missing);
        }
        let detail = self.violations.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; ");
        let detail = if detail.is_empty() { "no grant admits these arguments".to_owned() } else { detail };
        let errors = self.violations.into_iter().chain(self.missing).collect();
        Error { errors, ..Error::new(Code::ArgumentNotGranted, detail) }
    }
}

fn violation(parameter: &str, detail: String) -> Error {
    Error::new(Code::ArgumentNotGranted, detail).parameter(parameter)
}

/// Applies one grant to the arguments.
fn apply_grant(
    grant: &Grant,
    who: &Principal,
    endpoint: &Endpoint,
    given: &[Option<Value>],
) -> Result<Arguments, GrantMismatch> {
    let mut mismatch = GrantMismatch::default();
    let mut values = Vec::with_capacity(given.len());
    for (param, supplied) in endpoint.params.iter().zip(given) {
        let value = apply_term(grant.terms.parameters.get(&param.name), param, who, supplied.as_ref());
        values.push(value.unwrap_or_else(|fault| {
            match fault {
                NoValue::Violation(detail) => mismatch.violations.push(violation(&param.name, detail)),
                NoValue::Missing => mismatch.missing.extend(default_value(param).err()),
            }
            None
        }));
    }
    // A parameter that a rule names must exist, because otherwise the rule would silently not apply. A grant for every
    // endpoint is exempt: it covers many, and not all of them have the parameter.
    if let EndpointPattern::Named(_) = grant.endpoint {
        let names = grant
            .terms
            .parameters
            .keys()
            .chain(grant.terms.distance_limits.iter().flat_map(|term| [&term.from, &term.to]));
        for name in names.collect::<BTreeSet<_>>() {
            if endpoint.param(name).is_none() {
                let detail = format!("the grant has a rule for `{name}`, which is no parameter of the endpoint");
                mismatch.violations.push(violation(name, detail).hint("ask the operator to mend the grant"));
            }
        }
    }
    for term in &grant.terms.distance_limits {
        let place = |name: &str| endpoint.params.iter().position(|param| param.name == name);
        let (Some(from), Some(to)) = (place(&term.from), place(&term.to)) else { continue };
        let is_known = |name: &str| {
            !mismatch.violations.iter().chain(&mismatch.missing).any(|error| error.parameter.as_deref() == Some(name))
        };
        if is_known(&term.from)
            && is_known(&term.to)
            && let Some(detail) = too_far(term, values[from].as_ref(), values[to].as_ref())
        {
            mismatch.violations.push(violation(&term.to, detail));
        }
    }
    if mismatch.violations.is_empty() && mismatch.missing.is_empty() { Ok(Arguments { values }) } else { Err(mismatch) }
}

/// The reason why a parameter has no value under a grant.
#[derive(Debug)]
pub(super) enum NoValue {
    /// The grant does not allow the value.
    Violation(String),
    /// Neither the caller nor a default supplies a value.
    Missing,
}

/// Applies a term of a grant to the value of one parameter.
pub(super) fn apply_term(
    term: Option<&ParameterTerm>,
    param: &Param,
    who: &Principal,
    supplied: Option<&Value>,
) -> Result<Option<Value>, NoValue> {
    let Some(term) = term else {
        return supplied
            .cloned()
            .map_or_else(|| default_value(param).map_err(|_| NoValue::Missing), |value| Ok(Some(value)));
    };
    let value = match fixed_value(term, param, who, supplied).map_err(NoValue::Violation)?.or_else(|| supplied.cloned())
    {
        Some(value) => Some(value),
        None => default_value(param).map_err(|_| NoValue::Missing)?,
    };
    match term_violation(term, param, value.as_ref()) {
        Some(detail) => Err(NoValue::Violation(detail)),
        None => Ok(value),
    }
}

/// The value that a term sets, or `None` if it sets none. Fails if the term does not allow the caller's value.
pub(super) fn fixed_value(
    term: &ParameterTerm,
    param: &Param,
    who: &Principal,
    supplied: Option<&Value>,
) -> Result<Option<Value>, String> {
    let name = &param.name;
    if let Some(text) = &term.fixed {
        let item = param.value_type.scalar.parse(text).ok_or_else(|| unusable(param))?;
        let value =
            if param.value_type.list { Value::List(param.value_type.scalar, vec![item]) } else { Value::Scalar(item) };
        return match supplied {
            // Do not reveal a secret value.
            Some(supplied) if *supplied != value && param.secret => Err(format!("parameter `{name}` must be left out")),
            Some(supplied) if *supplied != value => Err(format!("parameter `{name}` must be `{text}`, or left out")),
            _ if param.fault(&value).is_some() => Err(unusable(param)),
            _ => Ok(Some(value)),
        };
    }
    let Some(attribute) = &term.attribute else { return Ok(None) };
    let Some(own) = who.attribute(attribute) else {
        return Err(format!(
            "parameter `{name}` must be the caller's attribute `{attribute}`, which this caller does not have"
        ));
    };
    let scalar = param.value_type.scalar;
    // The type must match exactly, because nothing is converted.
    if own.value_type().scalar != scalar {
        return Err(unusable(param));
    }
    let own_items = own.scalars();
    match supplied {
        // Refuse an empty list: it holds none of the values, and `NOT IN` with it would match everything.
        Some(supplied) if is_nonempty(supplied) && supplied.scalars().iter().all(|item| own_items.contains(item)) => {
            Ok(Some(supplied.clone()))
        }
        Some(_) => Err(format!("parameter `{name}` must be a value of the caller's attribute `{attribute}`")),
        None if param.value_type.list => {
            let value = Value::List(scalar, own_items.to_vec());
            if param.fault(&value).is_some() { Err(unusable(param)) } else { Ok(Some(value)) }
        }
        None => match own_items {
            [item] => {
                let value = Value::Scalar(item.clone());
                if param.fault(&value).is_some() { Err(unusable(param)) } else { Ok(Some(value)) }
            }
            _ => Err(format!("parameter `{name}` must be given, as a value of the caller's attribute `{attribute}`")),
        },
    }
}

fn is_nonempty(value: &Value) -> bool {
    !value.scalars().is_empty()
}

fn unusable(param: &Param) -> String {
    format!("the grant's rule for parameter `{}` does not fit it; it takes {}", param.name, expectation(param))
}

/// Returns why a term refuses a value, if it does.
pub(super) fn term_violation(term: &ParameterTerm, param: &Param, value: Option<&Value>) -> Option<String> {
    let name = &param.name;
    let narrows = !term.one_of.is_empty() || term.min.is_some() || term.max.is_some();
    if !narrows {
        return None;
    }
    // NULL usually means "any", which is more than the term allows.
    let Some(value) = value else {
        let what = if param.secret { String::new() } else { format!(": {}", allowed(term)) };
        return Some(format!("parameter `{name}` must be given{what}"));
    };
    let parse = |text: &String| param.value_type.scalar.parse(text);
    let (min, max) = (term.min.as_ref().map(parse), term.max.as_ref().map(parse));
    let one_of = term.one_of.iter().map(parse).collect::<Option<Vec<_>>>();
    let (Some(one_of), false, false) = (one_of, min == Some(None), max == Some(None)) else {
        return Some(unusable(param));
    };
    let (min, max) = (min.flatten(), max.flatten());
    let is_allowed = |item: &Scalar| {
        (one_of.is_empty() || one_of.contains(item))
            && min.as_ref().is_none_or(|min| item >= min)
            && max.as_ref().is_none_or(|max| item <= max)
    };
    let is_within = is_nonempty(value) && value.scalars().iter().all(is_allowed);
    (!is_within).then(|| match param.secret {
        true => format!("parameter `{name}` is outside what the grant allows"),
        false => format!("parameter `{name}` must be {}", allowed(term)),
    })
}

/// Describes what a term allows.
fn allowed(term: &ParameterTerm) -> String {
    let one_of = (!term.one_of.is_empty()).then(|| {
        let items = term.one_of.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>();
        format!("one of {}", items.join(", "))
    });
    let min = term.min.as_ref().map(|min| format!("at least `{min}`"));
    let max = term.max.as_ref().map(|max| format!("at most `{max}`"));
    [one_of, min, max].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// Returns why two values are too far apart, if they are.
fn too_far(term: &DistanceTerm, from: Option<&Value>, to: Option<&Value>) -> Option<String> {
    let (Some(Value::Scalar(from)), Some(Value::Scalar(to))) = (from, to) else {
        return Some(format!("`{}` and `{}` must be given, at most {} apart", term.from, term.to, term.at_most));
    };
    let within = match (term.at_most, from, to) {
        (Distance::Time(seconds), Scalar::Timestamp(from), Scalar::Timestamp(to)) => {
            chrono::TimeDelta::try_seconds(seconds).is_some_and(|most| *to - *from <= most)
        }
        (Distance::Time(seconds), Scalar::Date(from), Scalar::Date(to)) => {
            chrono::TimeDelta::try_seconds(seconds).is_some_and(|most| *to - *from <= most)
        }
        (Distance::Number(most), Scalar::Integer(from), Scalar::Integer(to)) => {
            i128::from(*to) - i128::from(*from) <= i128::from(most)
        }
        (Distance::Number(most), Scalar::Number(from), Scalar::Number(to)) => to - from <= most as f64,
        _ => {
            return Some(format!("the grant's rule for `{}` and `{}` does not fit their types", term.from, term.to));
        }
    };
    (!within).then(|| format!("`{}` must be at most {} after `{}`", term.to, term.at_most, term.from))
}

/// Whether these types have such a distance.
pub(super) fn supports_distance(at_most: Distance, from: ValueType, to: ValueType) -> bool {
    use ScalarType::{Date, Integer, Number, Timestamp};
    let scalars = match at_most {
        Distance::Time(_) => [Timestamp, Date],
        Distance::Number(_) => [Integer, Number],
    };
    from == to && !from.list && scalars.contains(&from.scalar)
}
