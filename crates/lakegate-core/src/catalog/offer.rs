//! Describes what a caller may give to an endpoint: its parameters as narrowed by the caller's grants. For
//! documentation only.
//!
//! [`super::admission`] makes the decision. If grants differ, the description is wider than the decision, because a
//! call must meet one grant as a whole; it is never narrower. It contains no attribute of the caller and no value of a
//! rule for a secret parameter.

use std::collections::BTreeSet;

use super::admission::{Fault, fits_span, fixed, outside, value_under};
use super::arguments::without;
use crate::access::{Authorized, EndpointPattern, Grant, ParameterTerm, Principal, SpanTerm};
use crate::project::{Endpoint, Param};
use crate::value::{Scalar, Value};

/// The parameters of an endpoint for one caller.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    endpoint: &'a Endpoint,
    grants: Vec<GrantOffer<'a>>,
}

/// The requirements of one grant.
#[derive(Clone, Debug)]
pub struct GrantOffer<'a> {
    /// The allowed values of each parameter, in order; `None` is whatever the parameter accepts.
    narrowed: Vec<Option<Narrowing>>,
    /// Whether a call without the parameter is admitted, for each parameter in order.
    omittable: Vec<bool>,
    /// Maximum distances between two arguments.
    pub spans: Vec<&'a SpanTerm>,
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
    Untold {
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
pub fn offer<'a>(authorized: &'a Authorized, endpoint: &'a Endpoint) -> Offer<'a> {
    let grants = authorized.grants().iter().filter_map(|grant| of_grant(grant, authorized.principal(), endpoint));
    let mut distinct = Vec::<GrantOffer<'a>>::new();
    for offered in grants {
        if !distinct.iter().any(|known| known.narrowed == offered.narrowed && known.spans == offered.spans) {
            distinct.push(offered);
        }
    }
    Offer { endpoint, grants: distinct }
}

impl<'a> Offer<'a> {
    /// The endpoint.
    pub fn endpoint(&self) -> &'a Endpoint {
        self.endpoint
    }

    /// The distinct requirements of the grants. Empty if no grant can admit anything.
    pub fn grants(&self) -> &[GrantOffer<'a>] {
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
            [] => self.endpoint.params.get(at).is_some_and(|param| without(param).is_ok()),
            grants => grants.iter().any(|grant| grant.omittable.get(at).copied().unwrap_or(false)),
        }
    }

    /// Whether some grant allows this value of the parameter at index `at`.
    pub fn allows(&self, at: usize, value: &Value) -> bool {
        let narrowings = self.narrowings(at);
        narrowings.is_empty() || narrowings.into_iter().any(|narrowing| narrowing.allows(value))
    }
}

impl GrantOffer<'_> {
    /// The grant's narrowing of the parameter at index `at`; `None` is whatever the parameter accepts.
    pub fn narrowing(&self, at: usize) -> Option<&Narrowing> {
        self.narrowed.get(at)?.as_ref()
    }

    /// Whether the grant has no requirements.
    pub fn is_whole(&self) -> bool {
        self.spans.is_empty() && self.narrowed.iter().all(Option::is_none)
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
            Narrowing::Own(_) | Narrowing::Untold { .. } => false,
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
    fn of(term: &ParameterTerm, param: &Param) -> Option<Self> {
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
fn of_grant<'a>(grant: &'a Grant, who: &Principal, endpoint: &Endpoint) -> Option<GrantOffer<'a>> {
    let terms = &grant.terms;
    if let EndpointPattern::Named(_) = grant.endpoint {
        let ends = terms.spans.iter().flat_map(|span| [&span.from, &span.to]);
        let named = terms.parameters.keys().chain(ends).collect::<BTreeSet<_>>();
        if named.into_iter().any(|name| endpoint.param(name).is_none()) {
            return None;
        }
    }
    let declared = |span: &&SpanTerm| endpoint.param(&span.from).is_some() && endpoint.param(&span.to).is_some();
    let spans = terms.spans.iter().filter(declared).collect::<Vec<_>>();
    let fits = |span: &&SpanTerm| match (endpoint.param(&span.from), endpoint.param(&span.to)) {
        (Some(from), Some(to)) => fits_span(span.at_most, from.value_type, to.value_type),
        _ => false,
    };
    if !spans.iter().all(fits) {
        return None;
    }
    let mut offered = GrantOffer { narrowed: Vec::new(), omittable: Vec::new(), spans };
    for param in &endpoint.params {
        let term = terms.parameters.get(&param.name);
        let in_span = offered.spans.iter().any(|span| span.from == param.name || span.to == param.name);
        offered.omittable.push(match value_under(term, param, who, None) {
            Ok(Some(_)) => true,
            // A distance needs both of its arguments.
            Ok(None) => !in_span,
            Err(Fault::Violation(_) | Fault::Missing) => false,
        });
        offered.narrowed.push(match term {
            Some(term) => narrowing(term, param, who)?,
            None => None,
        });
    }
    Some(offered)
}

/// The values that a term allows: `Some(None)` is whatever the parameter accepts, `None` is nothing.
fn narrowing(term: &ParameterTerm, param: &Param, who: &Principal) -> Option<Option<Narrowing>> {
    let bounds = Bounds::of(term, param)?;
    if term.fixed.is_some() {
        let value = fixed(term, param, who, None).ok()??;
        if outside(term, param, Some(&value)).is_some() {
            return None;
        }
        return Some(Some(if param.secret { Narrowing::Untold { set: true } } else { Narrowing::Fixed(value) }));
    }
    if let Some(attribute) = &term.attribute {
        let own = who.attribute(attribute)?;
        if own.value_type().scalar != param.value_type.scalar {
            return None;
        }
        // Leave out the caller's own attributes, because the operator may have declared them secret.
        return Some(Some(if param.secret { Narrowing::Untold { set: true } } else { Narrowing::Own(bounds) }));
    }
    if term.one_of.is_empty() && term.min.is_none() && term.max.is_none() {
        return Some(None);
    }
    Some(Some(if param.secret { Narrowing::Untold { set: false } } else { Narrowing::Within(bounds) }))
}
