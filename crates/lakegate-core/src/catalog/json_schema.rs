//! Builds the JSON Schema (2020-12, as in OpenAPI 3.1) of what a caller may give for a parameter.
//!
//! A value is accepted if and only if it fits the schema, with three exceptions that JSON Schema cannot express and
//! that [`super::parameter_description`] describes: bounds of dates and timestamps (`x-minimum`, `x-maximum`), a pattern in a
//! syntax that other regular expressions lack (`x-pattern`), and the caller's own values. Dates, timestamps and UUIDs
//! are described in their usual spelling, although others are accepted too.

use serde_json::{Map, Value as Json, json};

use super::caller_schema::{Bounds, CallerSchema, Narrowing};
use super::caller_schema_markdown::parameter_description;
use crate::project::Param;
use crate::value::{Scalar, ScalarType, Value};

/// The location of an argument in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentLocation {
    /// In the query string, which has no NULL and no empty list.
    Query,
    /// A member of a JSON object.
    Body,
}

/// The schema of the parameter at index `at`, in a request at `location`.
pub fn schema(caller_schema: &CallerSchema<'_>, at: usize, location: ArgumentLocation) -> Json {
    let Some(param) = caller_schema.endpoint().params.get(at) else { return Json::Bool(false) };
    let narrowings = caller_schema.narrowings(at);
    let mut schema = match narrowings.as_slice() {
        [] => value_schema(param, None, location),
        [one] => value_schema(param, Some(one), location),
        many => {
            let mut one_of_them =
                many.iter().map(|one| Json::from(value_schema(param, Some(one), location))).collect::<Vec<_>>();
            one_of_them.dedup();
            Map::from_iter([("anyOf".to_owned(), Json::from(one_of_them))])
        }
    };
    if location == ArgumentLocation::Body && caller_schema.is_omittable(at) {
        schema = nullable(schema);
    }
    let set = match narrowings.as_slice() {
        [Narrowing::Fixed(value)] => Some(value),
        [Narrowing::Own(_) | Narrowing::Withheld { set: true }] => None,
        _ => param.default.as_ref().filter(|default| caller_schema.allows(at, default)),
    };
    if let Some(set) = set {
        schema.insert("default".to_owned(), set.to_json());
    }
    schema.into()
}

/// An example of the parameter at index `at` that the caller may give; `None` if there is none.
pub fn example(caller_schema: &CallerSchema<'_>, at: usize) -> Option<Json> {
    let param = caller_schema.endpoint().params.get(at)?;
    let declared = || param.example.as_ref().or(param.default.as_ref()).filter(|value| caller_schema.allows(at, value));
    match caller_schema.narrowings(at).as_slice() {
        [Narrowing::Fixed(value)] => Some(value.to_json()),
        _ => declared().map(Value::to_json),
    }
}

/// The schema of a JSON object with all arguments, each with its description and example.
pub fn body_schema(caller_schema: &CallerSchema<'_>) -> Json {
    let params = &caller_schema.endpoint().params;
    let members = params.iter().enumerate().map(|(at, param)| {
        let mut member = schema(caller_schema, at, ArgumentLocation::Body);
        if let Json::Object(keywords) = &mut member {
            if let Some(words) = parameter_description(caller_schema, at) {
                keywords.insert("description".to_owned(), words.into());
            }
            if let Some(example) = example(caller_schema, at) {
                keywords.insert("examples".to_owned(), json!([example]));
            }
        }
        (param.name.clone(), member)
    });
    let members = members.collect::<Map<_, _>>();
    let required = params.iter().enumerate().filter(|(at, _)| !caller_schema.is_omittable(*at));
    let required = required.map(|(_, param)| Json::from(param.name.clone())).collect::<Vec<_>>();
    let mut object = Map::new();
    object.insert("type".to_owned(), "object".into());
    object.insert("properties".to_owned(), members.into());
    if !required.is_empty() {
        object.insert("required".to_owned(), required.into());
    }
    object.insert("additionalProperties".to_owned(), false.into());
    object.into()
}

/// An object with an example of every required argument; `None` if one of them has no example.
pub fn body_example(caller_schema: &CallerSchema<'_>) -> Option<Json> {
    let mut object = Map::new();
    for (at, param) in caller_schema.endpoint().params.iter().enumerate() {
        match example(caller_schema, at) {
            Some(example) => drop(object.insert(param.name.clone(), example)),
            None if caller_schema.is_omittable(at) => {}
            None => return None,
        }
    }
    Some(object.into())
}

fn value_schema(param: &Param, narrowing: Option<&Narrowing>, location: ArgumentLocation) -> Map<String, Json> {
    if let Some(Narrowing::Fixed(value)) = narrowing {
        let mut fixed = Map::new();
        fixed.insert("type".to_owned(), json_type(param).into());
        fixed.insert("const".to_owned(), value.to_json());
        return fixed;
    }
    let declared = Bounds::declared(param);
    let bounds = match narrowing {
        Some(Narrowing::Within(bounds) | Narrowing::Own(bounds)) => bounds,
        _ => &declared,
    };
    let item = scalar_schema(param, bounds);
    if !param.value_type.list {
        return item;
    }
    let mut list = Map::new();
    list.insert("type".to_owned(), "array".into());
    list.insert("items".to_owned(), item.into());
    if location == ArgumentLocation::Query || narrowing.is_some() {
        list.insert("minItems".to_owned(), 1.into());
    }
    list.insert("maxItems".to_owned(), param.max_items.into());
    list
}

fn json_type(param: &Param) -> &'static str {
    match (param.value_type.list, param.value_type.scalar) {
        (true, _) => "array",
        (false, ScalarType::Integer) => "integer",
        (false, ScalarType::Number) => "number",
        (false, ScalarType::Boolean) => "boolean",
        (false, ScalarType::String | ScalarType::Date | ScalarType::Timestamp | ScalarType::Uuid) => "string",
    }
}

fn scalar_schema(param: &Param, bounds: &Bounds) -> Map<String, Json> {
    let mut schema = Map::new();
    let mut put = |key: &str, value: Json| schema.insert(key.to_owned(), value);
    let scalar = param.value_type.scalar;
    let bound = |bound: &Option<Scalar>, otherwise: Option<i64>| {
        bound.as_ref().map(Scalar::to_json).or(otherwise.map(Json::from))
    };
    match scalar {
        ScalarType::String => {
            put("type", "string".into());
        }
        ScalarType::Integer => {
            put("type", "integer".into());
            put("format", "int64".into());
        }
        ScalarType::Number => {
            put("type", "number".into());
            put("format", "double".into());
        }
        ScalarType::Boolean => {
            put("type", "boolean".into());
        }
        ScalarType::Date => {
            put("type", "string".into());
            put("format", "date".into());
        }
        ScalarType::Timestamp if bounds.one_of.is_empty() => {
            put("anyOf", json!([{ "type": "string", "format": "date-time" }, { "type": "string", "format": "date" }]));
        }
        ScalarType::Timestamp => {
            put("type", "string".into());
        }
        ScalarType::Uuid => {
            put("type", "string".into());
            put("format", "uuid".into());
        }
    }
    if !bounds.one_of.is_empty() {
        put("enum", bounds.one_of.iter().map(Scalar::to_json).collect());
        return schema;
    }
    match scalar {
        ScalarType::Integer => {
            put("minimum", bound(&bounds.min, Some(i64::MIN)).unwrap_or_default());
            put("maximum", bound(&bounds.max, Some(i64::MAX)).unwrap_or_default());
        }
        ScalarType::Number | ScalarType::Date | ScalarType::Timestamp => {
            let keys = if scalar == ScalarType::Number { ["minimum", "maximum"] } else { ["x-minimum", "x-maximum"] };
            for (key, end) in keys.into_iter().zip([&bounds.min, &bounds.max]) {
                if let Some(end) = bound(end, None) {
                    put(key, end);
                }
            }
        }
        ScalarType::String => {
            put("maxLength", param.max_length.into());
            // No string may contain NUL.
            put("not", json!({ "type": "string", "pattern": "\\u0000" }));
            if let Some(pattern) = &param.pattern {
                match is_portable(&pattern.text) {
                    true => put("pattern", format!("^(?:{})$", pattern.text).into()),
                    false => put("x-pattern", pattern.text.clone().into()),
                };
            }
        }
        ScalarType::Boolean | ScalarType::Uuid => {}
    }
    schema
}

/// Makes a schema also accept NULL.
fn nullable(mut schema: Map<String, Json>) -> Map<String, Json> {
    if let Some(Json::Array(any)) = schema.get_mut("anyOf") {
        any.push(json!({ "type": "null" }));
    } else if let Some(Json::String(json_type)) = schema.get("type").cloned() {
        schema.insert("type".to_owned(), json!([json_type, "null"]));
        if let Some(Json::Array(values)) = schema.get_mut("enum") {
            values.push(Json::Null);
        }
        if let Some(value) = schema.shift_remove("const") {
            schema.insert("enum".to_owned(), json!([value, null]));
        }
    }
    schema
}

/// Whether a regular expression has the same meaning in the syntax of JSON Schema (ECMA-262 with `u`) as in ours,
/// except for letters and digits beyond ASCII. Returns false when in doubt.
pub(super) fn is_portable(pattern: &str) -> bool {
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    let mut before = None;
    while let Some(each) = chars.next() {
        let next = chars.peek().copied();
        let is_fine = match each {
            '\\' => {
                let escaped = chars.next();
                match escaped {
                    Some('b' | 'B') => !in_class,
                    Some('-') => in_class,
                    Some(escaped) => "dDwWsSntrfv\\.^$*+?()[]{}|/".contains(escaped),
                    None => false,
                }
            }
            '[' if in_class => false,
            // Only our syntax reads the first bracket of `[]a]` and `[^]a]` as a literal.
            '[' => {
                in_class = true;
                if next == Some('^') {
                    chars.next();
                }
                chars.peek() != Some(&']')
            }
            ']' if !in_class => false,
            ']' => {
                in_class = false;
                true
            }
            // Set operations.
            '&' | '~' | '-' if in_class => next != Some(each),
            '(' if !in_class && next == Some('?') => {
                chars.next();
                chars.next() == Some(':')
            }
            '{' if !in_class => is_count(chars.clone()),
            '}' if !in_class => before.is_some_and(|before: char| before.is_ascii_digit() || before == ','),
            // A repetition of a repetition.
            '*' | '+' if !in_class => !matches!(before, Some('*' | '+' | '?' | '}')),
            _ => true,
        };
        if !is_fine {
            return false;
        }
        before = (each != '\\').then_some(each);
    }
    !in_class
}

/// Whether a brace is followed by `3}`, `3,}` or `3,5}`.
fn is_count(mut rest: impl Iterator<Item = char>) -> bool {
    let inside = rest.by_ref().take_while(|each| *each != '}').collect::<String>();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
        None => digits(&inside),
    }
}
