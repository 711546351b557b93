//! Proves, as far as possible, that the terms of one grant allow no more than those of another.

use lakegate_core::access::{Distance, DistanceTerm, ParameterTerm, Terms};
use lakegate_core::value::{Scalar, ScalarType};

/// Returns the type of a parameter of the endpoint, by name.
pub(super) type TypeOf<'a> = &'a dyn Fn(&str) -> Option<ScalarType>;

/// Whether everything that the new terms allow was allowed by the old ones.
pub(super) fn is_within(new: &Terms, old: &Terms, type_of: TypeOf<'_>) -> bool {
    let columns = match (&new.columns, &old.columns) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => new.is_subset(old),
    };
    let parameters = old.parameters.iter().all(|(name, old)| {
        new.parameters.get(name).is_some_and(|new| new == old || parameter_is_within(new, old, type_of(name)))
    });
    let distance_limits =
        old.distance_limits.iter().all(|old| new.distance_limits.iter().any(|new| distance_is_within(new, old)));
    columns && new.limits.is_within(&old.limits) && parameters && distance_limits && new.unmask.is_subset(&old.unmask)
}

fn distance_is_within(new: &DistanceTerm, old: &DistanceTerm) -> bool {
    let shorter = match (new.at_most, old.at_most) {
        (Distance::Time(new), Distance::Time(old)) | (Distance::Number(new), Distance::Number(old)) => new <= old,
        _ => false,
    };
    new.from == old.from && new.to == old.to && shorter
}

fn parameter_is_within(new: &ParameterTerm, old: &ParameterTerm, scalar: Option<ScalarType>) -> bool {
    let same_or_none = |new: &Option<String>, old: &Option<String>| old.is_none() || new == old;
    let values = new.fixed.as_ref().map_or(&new.one_of[..], std::slice::from_ref);
    let one_of = old.one_of.is_empty() || (!values.is_empty() && values.iter().all(|value| old.one_of.contains(value)));
    let at_least = |value: &String, bound: &String| {
        value == bound || compared(value, bound, scalar, |value, bound| value >= bound)
    };
    let at_most = |value: &String, bound: &String| {
        value == bound || compared(value, bound, scalar, |value, bound| value <= bound)
    };
    // The new bound is at least as narrow, or all allowed values satisfy the old bound.
    let within = |bound: &Option<String>, own: &Option<String>, is_within: &dyn Fn(&String, &String) -> bool| {
        let Some(bound) = bound else { return true };
        own.as_ref().is_some_and(|own| is_within(own, bound))
            || (!values.is_empty() && values.iter().all(|value| is_within(value, bound)))
    };
    same_or_none(&new.fixed, &old.fixed)
        && same_or_none(&new.attribute, &old.attribute)
        && one_of
        && within(&old.min, &new.min, &at_least)
        && within(&old.max, &new.max, &at_most)
}

/// Compares two texts as values of the type. Returns false if either cannot be parsed.
fn compared(one: &str, other: &str, scalar: Option<ScalarType>, is: fn(&Scalar, &Scalar) -> bool) -> bool {
    let read = |text: &str| scalar?.parse(text);
    read(one).zip(read(other)).is_some_and(|(one, other)| is(&one, &other))
}
