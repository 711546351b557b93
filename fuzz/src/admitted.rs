//! The conditions that an admitted call must meet, written a second time without the product's code for them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakegate_core::access::{
    Authorized, Distance, DistanceTerm, Effect, EndpointPattern, Grant, ParameterTerm, Principal,
};
use lakegate_core::catalog::Call;
use lakegate_core::project::Param;
use lakegate_core::value::{Scalar, Value};

/// Checks that the deciding grants belong to the caller and the endpoint, are in force, and are not denied.
pub(crate) fn check_authorized(authorized: &Authorized, all: &[Grant], now: DateTime<Utc>) {
    let who = authorized.principal();
    assert!(who.scope().covers(authorized.endpoint()), "outside the token's scope");
    assert!(!authorized.grants().is_empty());
    for grant in authorized.grants() {
        assert!(all.contains(grant) && grant.effect == Effect::Allow && !grant.has_expired(now), "{grant:?}");
        assert!(grant.to.covers(who) && grant.endpoint.covers(authorized.endpoint()), "{grant:?}");
    }
    let denies = |grant: &&Grant| {
        grant.effect == Effect::Deny && grant.terms.is_empty() && grant.endpoint.covers(authorized.endpoint())
    };
    assert!(!all.iter().filter(denies).any(|grant| grant.to.covers(who) && !grant.has_expired(now)), "denied");
}

/// Checks that every value meets its parameter, and every applied grant admits all values.
pub(crate) fn check(call: &Call) {
    let params = &call.endpoint().params;
    let values = call.arguments().values();
    assert_eq!(params.len(), values.len());
    for (param, value) in params.iter().zip(values) {
        match value {
            Some(value) => {
                assert_eq!(value.value_type(), param.value_type);
                assert_eq!(param.fault(value), None, "`{}` is {value:?}", param.name);
            }
            None => assert!(!param.required && param.default.is_none(), "`{}` is missing", param.name),
        }
    }
    let granted_access = call.granted_access();
    assert!(!granted_access.grants().is_empty(), "no grant gives anything");
    let mut counted = Vec::new();
    for id in granted_access.grants() {
        let grant = call.authorized().grants().iter().find(|grant| grant.id == *id);
        let Some(grant) = grant else { panic!("`{id}` was not authorized") };
        check_terms(grant, call.authorized().principal(), params, values);
        counted.push(grant);
    }
    check_allowance(call, &counted);
}

/// Checks that the row limit and the columns come from the applied grants.
fn check_allowance(call: &Call, counted: &[&Grant]) {
    let granted_access = call.granted_access();
    let caps = counted.iter().map(|grant| grant.terms.limits.max_rows).collect::<Option<Vec<_>>>();
    assert_eq!(granted_access.limits().max_rows, caps.and_then(|caps| caps.into_iter().max()));
    let named = counted.iter().filter_map(|grant| grant.terms.columns.as_ref()).flatten().collect::<BTreeSet<_>>();
    let shows_any = counted.iter().any(|grant| grant.terms.columns.is_none());
    assert!(shows_any || !granted_access.shows("a column of nobody"));
    for column in named {
        assert!(shows_any || !granted_access.shows(column) || counted.iter().any(|grant| names(grant, column)));
    }
    let masked = call.authorized().principal().scope().masked;
    for unmask in granted_access.unmask() {
        assert!(!masked && counted.iter().any(|grant| grant.terms.unmask.contains(unmask)), "{unmask}");
    }
}

fn names(grant: &Grant, column: &str) -> bool {
    grant.terms.columns.as_ref().is_none_or(|columns| columns.contains(column))
}

fn check_terms(grant: &Grant, who: &Principal, params: &[Param], values: &[Option<Value>]) {
    let value_of = |name: &str| params.iter().zip(values).find(|(param, _)| param.name == name);
    let names_it = matches!(grant.endpoint, EndpointPattern::Named(_));
    for (name, term) in &grant.terms.parameters {
        match value_of(name) {
            Some((param, value)) => {
                assert!(meets(term, param, value.as_ref(), who), "`{name}` is {value:?} under {grant:?}");
            }
            None => assert!(!names_it, "a rule for `{name}` was left out: {grant:?}"),
        }
    }
    for term in &grant.terms.distance_limits {
        match (value_of(&term.from), value_of(&term.to)) {
            (Some((_, from)), Some((_, to))) => {
                assert!(near(term, from.as_ref(), to.as_ref()), "{from:?} and {to:?} under {grant:?}");
            }
            _ => assert!(!names_it, "a span was left out: {grant:?}"),
        }
    }
}

fn meets(term: &ParameterTerm, param: &Param, value: Option<&Value>, who: &Principal) -> bool {
    let Some(value) = value else { return false };
    let items = value.scalars();
    let parse = |text: &String| param.value_type.scalar.parse(text);
    let all = |allowed: &dyn Fn(&Scalar) -> bool| items.iter().all(allowed);
    let is_fixed = term.fixed.as_ref().is_none_or(|text| items.len() == 1 && parse(text).as_ref() == items.first());
    let is_own = term.attribute.as_ref().is_none_or(|name| {
        who.attribute(name).is_some_and(|own| {
            own.value_type().scalar == param.value_type.scalar && all(&|item| own.scalars().contains(item))
        })
    });
    let is_listed =
        term.one_of.is_empty() || all(&|item| term.one_of.iter().any(|text| parse(text).as_ref() == Some(item)));
    let is_least = term.min.as_ref().is_none_or(|text| parse(text).is_some_and(|min| all(&|item| *item >= min)));
    let is_most = term.max.as_ref().is_none_or(|text| parse(text).is_some_and(|max| all(&|item| *item <= max)));
    is_fixed && is_own && is_listed && is_least && is_most
}

/// Microseconds, seconds or numbers in 128 bits: deliberately not the way the product computes it.
fn near(term: &DistanceTerm, from: Option<&Value>, to: Option<&Value>) -> bool {
    let (Some(Value::Scalar(from)), Some(Value::Scalar(to))) = (from, to) else { return false };
    let micros = |time: &DateTime<Utc>| i128::from(time.timestamp_micros());
    match (term.at_most, from, to) {
        (Distance::Time(most), Scalar::Timestamp(from), Scalar::Timestamp(to)) => {
            micros(to) - micros(from) <= i128::from(most) * 1_000_000
        }
        (Distance::Time(most), Scalar::Date(from), Scalar::Date(to)) => {
            (*to - *from).num_days() <= most.div_euclid(86_400)
        }
        (Distance::Number(most), Scalar::Integer(from), Scalar::Integer(to)) => {
            i128::from(*to) - i128::from(*from) <= i128::from(most)
        }
        (Distance::Number(most), Scalar::Number(from), Scalar::Number(to)) => to - from <= most as f64,
        _ => false,
    }
}
