//! Parses `[principals.NAME]` and `[[grants]]` of a test file: access that exists for its tests only.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use toml::Spanned;
use toml::de::DeValue;

use super::{Positioned, TestAccess, needed, toml_json};
use crate::access::name::NameKind;
use crate::access::{
    Distance, DistanceTerm, Effect, EndpointPattern, Grant, Grantee, ParameterTerm, PrincipalRecord, Terms, Unmask,
};
use crate::project::finding::suggest_or_list;
use crate::project::limits::read_limits;
use crate::project::reader::{Section, SpannedValue, TomlSource};
use crate::value::{Scalar, ScalarType, Value, ValueType};

/// Reads principals and grants; `None` if the file has neither.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<TestAccess> {
    let source = root.source();
    let is_declared = root.has("principals") || root.has("grants");
    let mut access = TestAccess::default();
    if let Some(principals) = root.section("principals") {
        for (name, section) in principals.named_sections() {
            named(source, NameKind::Principal, &name);
            access.principals.insert(name.value.clone(), principal(&name.value, section));
        }
    }
    for section in root.sections("grants") {
        let Some((grant, endpoint)) = grant(section) else { continue };
        if let Grantee::Principal(name) = &grant.to
            && !access.principals.contains_key(name)
        {
            // A grant's id is its position, which the finding already has.
            let help = suggest_or_list(name, access.principals.keys().map(String::as_str));
            source.report_at(
                &endpoint.position,
                format!("the grant is to principal `{name}`, which the file has not"),
                &help,
            );
        }
        if grant.endpoint != EndpointPattern::All {
            access.endpoints.push(endpoint);
        }
        access.grants.push(grant);
    }
    is_declared.then_some(access)
}

fn named(source: &TomlSource<'_>, kind: NameKind, name: &SpannedValue<String>) {
    if let Err(fault) = kind.check(&name.value) {
        source.report(&name.span, fault.to_string(), None);
    }
}

fn principal(name: &str, mut section: Section<'_, '_>) -> PrincipalRecord {
    let source = section.source();
    let mut record = PrincipalRecord::new(name, name, DateTime::UNIX_EPOCH);
    for role in section.strings("roles").map(|roles| roles.value).unwrap_or_default() {
        named(source, NameKind::Role, &role);
        record.roles.insert(role.value);
    }
    if let Some(attributes) = section.section("attributes") {
        for (name, value) in attributes.named_values() {
            named(source, NameKind::Attribute, &name);
            if let Some(value) = attribute(source, &name.value, value) {
                record.attributes.insert(name.value, value);
            }
        }
    }
    section.finish();
    record
}

/// Reads an attribute: a value whose type follows from its spelling, or a table with `type` and `value`.
fn attribute(source: &TomlSource<'_>, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let fault = |message: String, help: &str| {
        source.report(&value.span(), message, Some(help.to_owned()));
        None
    };
    match value.get_ref() {
        DeValue::Table(table) => {
            let mut section = Section::new(source, format!("attribute `{name}`"), value.span(), table);
            let has_both = section.has("type") && section.has("value");
            let (type_name, written) = (section.string("type"), section.take("value"));
            section.finish();
            if !has_both {
                return fault(
                    format!("attribute `{name}` needs a `type` and a `value`"),
                    "write it like `{ type = \"integer[]\", value = [1, 2] }`",
                );
            }
            let (type_name, written) = (type_name?, written?);
            let Some(value_type) = ValueType::from_name(&type_name.value) else {
                let help = suggest_or_list(&type_name.value, ScalarType::ALL.map(ScalarType::name));
                source.report(&type_name.span, format!("there is no type `{}`", type_name.value), Some(help));
                return None;
            };
            let typed = Value::from_json(value_type, &toml_json::json(source, written)?);
            if typed.is_none() {
                let items = if value_type.list { "a list of which each item is " } else { "" };
                let message = format!("attribute `{name}` is not {items}{}", value_type.scalar.expectation());
                source.report(&written.span(), message, None);
            }
            typed
        }
        DeValue::Array(items) => {
            let scalars = items.iter().map(|item| scalar(source, item)).collect::<Option<Vec<_>>>()?;
            let help = "say the type, such as `{ type = \"integer[]\", value = [] }`";
            match scalars.first().map(Scalar::scalar_type) {
                None => fault(format!("what the items of the empty list `{name}` are cannot be seen"), help),
                Some(first) if scalars.iter().any(|scalar| scalar.scalar_type() != first) => {
                    fault(format!("the items of the list `{name}` are of several types"), help)
                }
                Some(first) => Some(Value::List(first, scalars)),
            }
        }
        _ => scalar(source, value).map(Value::Scalar),
    }
}

fn scalar(source: &TomlSource<'_>, value: &Spanned<DeValue<'_>>) -> Option<Scalar> {
    let json = toml_json::json(source, value)?;
    let types: &[ScalarType] = match value.get_ref() {
        DeValue::Datetime(_) => &[ScalarType::Date, ScalarType::Timestamp],
        DeValue::String(_) => &[ScalarType::String],
        DeValue::Integer(_) => &[ScalarType::Integer],
        DeValue::Float(_) => &[ScalarType::Number],
        DeValue::Boolean(_) => &[ScalarType::Boolean],
        DeValue::Array(_) | DeValue::Table(_) => &[],
    };
    let scalar = types.iter().find_map(|scalar| scalar.from_json(&json));
    if scalar.is_none() {
        let help = "use a string, a number, a boolean, a date or a timestamp, or a list of them";
        source.report(&value.span(), "this is no value that an attribute can have", Some(help.to_owned()));
    }
    scalar
}

fn grant(mut section: Section<'_, '_>) -> Option<(Grant, Positioned)> {
    let source = section.source();
    let position = source.position(section.span());
    let (has_role, has_principal) = (section.has("role"), section.has("principal"));
    let role = section.string("role");
    let principal = section.string("principal");
    if has_role == has_principal {
        let help = "write `role = \"…\"` or `principal = \"…\"`";
        source.report(section.span(), "a grant is to a role or to a principal, one of them", Some(help.to_owned()));
    }
    let endpoint = needed(
        &mut section,
        "endpoint",
        |section| section.string("endpoint"),
        "endpoint = \"orders\"` or `endpoint = \"*\"",
    );
    let mut is_good = true;
    let effect = section.string("effect").and_then(|effect| {
        let known = Effect::from_name(&effect.value);
        if known.is_none() {
            let help = suggest_or_list(&effect.value, ["allow", "deny"]);
            source.report(&effect.span, format!("there is no effect `{}`", effect.value), Some(help));
            is_good = false;
        }
        known
    });
    let terms = terms(&mut section);
    let effect = effect.unwrap_or_default();
    let checked = match effect {
        Effect::Allow => terms.check(),
        Effect::Deny => terms.check_denial(),
    };
    if let Err(fault) = checked {
        source.report(section.span(), fault.to_string(), None);
    }
    section.finish();
    let to = match (role, principal) {
        (Some(role), None) => {
            named(source, NameKind::Role, &role);
            Grantee::Role(role.value)
        }
        (None, Some(principal)) => Grantee::Principal(principal.value),
        _ => return None,
    };
    let endpoint = Positioned::from_spanned(source, endpoint?);
    let mut grant =
        Grant::new(position.to_string(), to, EndpointPattern::from_text(&endpoint.text), DateTime::UNIX_EPOCH)
            .with_terms(terms);
    grant.effect = effect;
    is_good.then_some((grant, endpoint))
}

fn terms(section: &mut Section<'_, '_>) -> Terms {
    let source = section.source();
    let values =
        |list: SpannedValue<Vec<SpannedValue<String>>>| list.value.into_iter().map(|item| item.value).collect();
    let columns: Option<BTreeSet<String>> = section.strings("columns").map(values);
    let mut unmask = BTreeSet::new();
    for text in section.strings("unmask").map(|list| list.value).unwrap_or_default() {
        match Unmask::parse(&text.value) {
            Ok(what) => drop(unmask.insert(what)),
            Err(fault) => source.report(&text.span, fault.to_string(), None),
        }
    }
    let limits = read_limits(section);
    let distance_limits = section.sections("spans").into_iter().filter_map(distance_term).collect();
    let mut parameters = BTreeMap::new();
    if let Some(rules) = section.section("parameters") {
        for (name, rule) in rules.named_sections() {
            parameters.insert(name.value, parameter(rule));
        }
    }
    Terms { columns, unmask, parameters, distance_limits, limits }
}

fn distance_term(mut section: Section<'_, '_>) -> Option<DistanceTerm> {
    let source = section.source();
    let from = needed(&mut section, "from", |section| section.string("from"), "from = \"start\"");
    let to = needed(&mut section, "to", |section| section.string("to"), "to = \"end\"");
    let at_most = needed(&mut section, "at_most", |section| section.string("at_most"), "at_most = \"31d\"");
    section.finish();
    let at_most = at_most?;
    let distance = Distance::parse(&at_most.value);
    if distance.is_none() {
        let help = "write `31d`, `24h`, `30m`, `45s`, `2w` or a whole number";
        source.report(&at_most.span, format!("`{}` is no distance", at_most.value), Some(help.to_owned()));
    }
    Some(DistanceTerm { from: from?.value, to: to?.value, at_most: distance? })
}

fn parameter(mut section: Section<'_, '_>) -> ParameterTerm {
    let source = section.source();
    let fixed = section.take("fixed").and_then(|value| toml_json::text(source, "fixed", value));
    let attribute = section.string("attribute").map(|attribute| attribute.value);
    let one_of = section.take("one_of").map(|value| match value.get_ref() {
        DeValue::Array(items) => items.iter().filter_map(|item| toml_json::text(source, "one_of", item)).collect(),
        _ => {
            source.report(&value.span(), "`one_of` must be a list", None);
            Vec::new()
        }
    });
    let min = section.take("min").and_then(|value| toml_json::text(source, "min", value));
    let max = section.take("max").and_then(|value| toml_json::text(source, "max", value));
    section.finish();
    ParameterTerm { fixed, attribute, one_of: one_of.unwrap_or_default(), min, max }
}
