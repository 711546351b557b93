//! Describes what a caller may give to an endpoint: its parameters as narrowed by the caller's grants. For
//! documentation only.
//!
//! [`super::admission`] makes the decision. If grants differ, the description is wider than the decision, because a
//! call must meet one grant as a whole; it is never narrower. It contains no attribute of the caller and no value of a
//! rule for a secret parameter.

use std::collections::BTreeSet;

use super::admission::{NoValue, apply_term, fixed_value, supports_distance, term_violation};
use super::arguments::default_value;
use crate::access::{Authorized, DistanceTerm, EndpointPattern, Grant, ParameterTerm, Principal};
use crate::project::{Endpoint, Param};
use crate::value::{Scalar, Value};

/// The parameters of an endpoint for one caller.
#[derive(Clone, Debug)]
pub struct CallerSchema<'a> {
    endpoint: &'a Endpoint,
    grants: Vec<GrantSchema<'a>>,
}

/// The requirements of one grant.
#[derive(Clone, Debug)]
pub struct GrantSchema<'a> {
    /// The allowed values of each parameter, in order; `None` is whatever the parameter accepts.
    narrowed: Vec<Option<Narrowing>>,
    /// Whether a call without the parameter is admitted, for each parameter in order.
    omittable: Vec<bool>,
    /// Maximum distances between two arguments.
    pub distance_limits: Vec<&'a DistanceTerm>,
}

/// The values of a parameter that a grant allows.
#[derive(Clone, Debug, PartialEq)]
pub enum Narrowing {
    /// One value, which is also the default.
    Fixed(Value),
    /// The caller's own values, within the bounds.
    Own(Bounds),
    /// Values within bounds.
    Within(Bounds),
    /// Narrowed, but the details are withheld.
    Withheld {
        /// Whether the grant sets the value.
        set: bool,
    },
}

/// The allowed values of a type; an unset bound allows all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The allowed values; empty allows any.
    pub one_of: Vec<Scalar>,
    /// The minimum.
    pub min: Option<Scalar>,
    /// The maximum.
    pub max: Option<Scalar>,
}

/// Describes what an authorized principal may give to an endpoint.
pub fn caller_schema<'a>(authorized: &'a Authorized, endpoint: &'a Endpoint) -> CallerSchema<'a> {
    let grants = authorized.grants().iter().filter_map(|grant| grant_schema(grant, authorized.principal(), endpoint));
    let mut distinct = Vec::<GrantSchema<'a>>::new();
    for schema in grants {
        if !distinct
            .iter()
            .any(|known| known.narrowed == schema.narrowed && known.distance_limits == schema.distance_limits)
        {
            distinct.push(schema);
        }
    }
    CallerSchema { endpoint, grants: distinct }
}

impl<'a> CallerSchema<'a> {
    /// The endpoint.
    pub fn endpoint(&self) -> &'a Endpoint {
        self.endpoint
    }

    /// The distinct requirements of the grants. Empty if no grant can admit anything.
    pub fn grants(&self) -> &[GrantSchema<'a>] {
        &self.grants
    }

    /// The distinct narrowings of the parameter at index `at`. Empty if a grant allows whatever the parameter accepts.
    pub fn narrowings(&self, at: usize) -> Vec<&Narrowing> {
        let mut distinct = Vec::new();
        for grant in &self.grants {
            match grant.narrowing(at) {
                None => return Vec::new(),
                Some(narrowing) if distinct.contains(&narrowing) => {}
                Some(narrowing) => distinct.push(narrowing),
            }
        }
        distinct
    }

    /// Whether a call without the parameter at index `at` can be admitted.
    pub fn is_omittable(&self, at: usize) -> bool {
        match self.grants.as_slice() {
            [] => self.endpoint.params.get(at).is_some_and(|param| default_value(param).is_ok()),
            grants => grants.iter().any(|grant| grant.omittable.get(at).copied().unwrap_or(false)),
        }
    }

    /// Whether some grant allows this value of the parameter at index `at`.
    pub fn allows(&self, at: usize, value: &Value) -> bool {
        let narrowings = self.narrowings(at);
        narrowings.is_empty() || narrowings.into_iter().any(|narrowing| narrowing.allows(value))
    }
}

impl GrantSchema<'_> {
    /// The grant's narrowing of the parameter at index `at`; `None` is whatever the parameter accepts.
    pub fn narrowing(&self, at: usize) -> Option<&Narrowing> {
        self.narrowed.get(at)?.as_ref()
    }

    /// Whether the grant has no requirements.
    pub fn is_whole(&self) -> bool {
        self.distance_limits.is_empty() && self.narrowed.iter().all(Option::is_none)
    }
}

impl Narrowing {
    /// Whether a value may be shown as an allowed one. False if the details are withheld.
    fn allows(&self, value: &Value) -> bool {
        match self {
            Narrowing::Fixed(fixed) => fixed == value,
            Narrowing::Within(bounds) => {
                !value.scalars().is_empty() && value.scalars().iter().all(|it| bounds.allow(it))
            }
            Narrowing::Own(_) | Narrowing::Withheld { .. } => false,
        }
    }
}

impl Bounds {
    fn allow(&self, scalar: &Scalar) -> bool {
        (self.one_of.is_empty() || self.one_of.contains(scalar))
            && self.min.as_ref().is_none_or(|min| scalar >= min)
            && self.max.as_ref().is_none_or(|max| scalar <= max)
    }

    /// The bounds of the parameter itself.
    pub fn declared(param: &Param) -> Self {
        Self { one_of: param.allowed.clone(), min: param.min.clone(), max: param.max.clone() }
    }

    /// The intersection of the bounds of a term and of the parameter. `None` if the term does not fit the parameter, or
    /// if the intersection is empty.
    fn intersect(term: &ParameterTerm, param: &Param) -> Option<Self> {
        let parse = |text: &String| param.value_type.scalar.parse(text);
        let parse_bound = |bound: &Option<String>| bound.as_ref().map(parse).map_or(Some(None), |read| read.map(Some));
        let (min, max) = (parse_bound(&term.min)?, parse_bound(&term.max)?);
        let listed = term.one_of.iter().map(parse).collect::<Option<Vec<_>>>()?;
        let declared = Self::declared(param);
        let min = [min, declared.min].into_iter().flatten().reduce(|a, b| if a < b { b } else { a });
        let max = [max, declared.max].into_iter().flatten().reduce(|a, b| if a > b { b } else { a });
        if min.as_ref().zip(max.as_ref()).is_some_and(|(min, max)| min > max) {
            return None;
        }
        let is_enumerated = !listed.is_empty() || !declared.one_of.is_empty();
        let candidates = if listed.is_empty() { declared.one_of } else { listed };
        let range = Self { one_of: Vec::new(), min, max };
        let mut one_of = Vec::<Scalar>::new();
        for candidate in candidates {
            let value = Value::Scalar(candidate.clone());
            if range.allow(&candidate) && !one_of.contains(&candidate) && param.fault(&value).is_none() {
                one_of.push(candidate);
            }
        }
        match (is_enumerated, one_of.is_empty()) {
            (true, true) => None,
            // The list of values already reflects the range.
            (true, false) => Some(Self { one_of, min: None, max: None }),
            (false, _) => Some(range),
        }
    }
}

/// The requirements of a grant; `None` if it cannot admit anything.
fn grant_schema<'a>(grant: &'a Grant, who: &Principal, endpoint: &Endpoint) -> Option<GrantSchema<'a>> {
    let terms = &grant.terms;
    if let EndpointPattern::Named(_) = grant.endpoint {
        let ends = terms.distance_limits.iter().flat_map(|term| [&term.from, &term.to]);
        let named = terms.parameters.keys().chain(ends).collect::<BTreeSet<_>>();
        if named.into_iter().any(|name| endpoint.param(name).is_none()) {
            return None;
        }
    }
    let declared = |term: &&DistanceTerm| endpoint.param(&term.from).is_some() && endpoint.param(&term.to).is_some();
    let distance_limits = terms.distance_limits.iter().filter(declared).collect::<Vec<_>>();
    let fits = |term: &&DistanceTerm| match (endpoint.param(&term.from), endpoint.param(&term.to)) {
        (Some(from), Some(to)) => supports_distance(term.at_most, from.value_type, to.value_type),
        _ => false,
    };
    if !distance_limits.iter().all(fits) {
        return None;
    }
    let mut schema = GrantSchema { narrowed: Vec::new(), omittable: Vec::new(), distance_limits };
    for param in &endpoint.params {
        let term = terms.parameters.get(&param.name);
        let in_distance = schema.distance_limits.iter().any(|term| term.from == param.name || term.to == param.name);
        schema.omittable.push(match apply_term(term, param, who, None) {
            Ok(Some(_)) => true,
            // A distance needs both of its arguments.
            Ok(None) => !in_distance,
            Err(NoValue::Violation(_) | NoValue::Missing) => false,
        });
        schema.narrowed.push(match term {
            Some(term) => narrowing(term, param, who)?,
            None => None,
        });
    }
    Some(schema)
}

/// The values that a term allows: `Some(None)` is whatever the parameter accepts, `None` is nothing.
fn narrowing(term: &ParameterTerm, param: &Param, who: &Principal) -> Option<Option<Narrowing>> {
    let bounds = Bounds::intersect(term, param)?;
    if term.fixed.is_some() {
        let value = fixed_value(term, param, who, None).ok()??;
        if term_violation(term, param, Some(&value)).is_some() {
            return None;
        }
        return Some(Some(if param.secret { Narrowing::Withheld { set: true } } else { Narrowing::Fixed(value) }));
    }
    if let Some(attribute) = &term.attribute {
        let own = who.attribute(attribute)?;
        if own.value_type().scalar != param.value_type.scalar {
            return None;
        }
        // Leave out the caller's own attributes, because the operator may have declared them secret.
        return Some(Some(if param.secret { Narrowing::Withheld { set: true } } else { Narrowing::Own(bounds) }));
    }
    if term.one_of.is_empty() && term.min.is_none() && term.max.is_none() {
        return Some(None);
    }
    Some(Some(if param.secret { Narrowing::Withheld { set: false } } else { Narrowing::Within(bounds) }))
}
