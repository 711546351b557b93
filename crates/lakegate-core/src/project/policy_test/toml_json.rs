//! Converts TOML values to the JSON that a caller would send, or to the text that a grant stores.

use serde_json::{Map, Number, Value as Json};
use toml::Spanned;
use toml::de::DeValue;

use crate::project::reader::{Section, TomlSource};

/// Converts the members of a table; those without a JSON form are reported and left out.
pub(super) fn members(source: &TomlSource<'_>, section: Section<'_, '_>) -> Map<String, Json> {
    let values = section.named_values().into_iter();
    values.filter_map(|(name, value)| Some((name.value, json(source, value)?))).collect()
}

/// Converts a value to JSON; dates and times become strings. A value without a JSON form is reported.
pub(super) fn json(source: &TomlSource<'_>, value: &Spanned<DeValue<'_>>) -> Option<Json> {
    let fault = |what: String| {
        source.report(&value.span(), what, None);
        None
    };
    match value.get_ref() {
        DeValue::String(text) => Some(Json::String(text.to_string())),
        DeValue::Boolean(boolean) => Some(Json::Bool(*boolean)),
        DeValue::Datetime(datetime) => Some(Json::String(datetime.to_string())),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Some(integer.into()),
            Err(_) => fault(format!("`{integer}` is outside of what a whole number can be")),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Some(Json::Number(number)),
            None => fault(format!("`{float}` is no number that JSON has")),
        },
        DeValue::Array(items) => items.iter().map(|item| json(source, item)).collect(),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| Some((key.get_ref().to_string(), json(source, value)?)));
            entries.collect::<Option<Map<_, _>>>().map(Json::Object)
        }
    }
}

/// Converts a single value to text, as in a query string.
pub(super) fn text(source: &TomlSource<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
    match json(source, value)? {
        Json::String(text) => Some(text),
        number @ (Json::Number(_) | Json::Bool(_)) => Some(number.to_string()),
        _ => {
            source.report(&value.span(), format!("`{key}` must be one value"), None);
            None
        }
    }
}
