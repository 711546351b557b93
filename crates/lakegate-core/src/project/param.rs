//! Parses a parameter's declaration in an endpoint file, and checks arguments against its constraints.
//!
//! [`crate::catalog`] parses arguments and matches them with parameters.

use regex::Regex;
use toml::Spanned;
use toml::de::DeValue;

use super::finding::{Position, suggest_or_list};
use super::name;
use super::reader::{Section, SpannedValue, TomlSource};
use crate::value::{Scalar, ScalarType, Value, ValueType};

/// Default maximum number of items of a list argument.
pub const MAX_ITEMS: usize = 1_000;

/// Default maximum length of a string argument, in characters.
pub const MAX_LENGTH: usize = 10_000;

/// `[params.NAME]` of an endpoint file.
#[derive(Clone, Debug)]
pub struct Param {
    /// The name, as in `$name`.
    pub name: String,
    /// The declared type.
    pub value_type: ValueType,
    /// Whether a caller must give it.
    pub required: bool,
    /// The value if the caller does not give one; `None` is NULL.
    pub default: Option<Value>,
    /// The allowed values; empty allows any.
    pub allowed: Vec<Scalar>,
    /// The minimum.
    pub min: Option<Scalar>,
    /// The maximum.
    pub max: Option<Scalar>,
    /// A pattern that must match the whole string.
    pub pattern: Option<Pattern>,
    /// Maximum length of a string, in characters.
    pub max_length: usize,
    /// Maximum number of items of a list.
    pub max_items: usize,
    /// Whether its value is secret; logs and records have `***` instead.
    pub secret: bool,
    /// For the docs.
    pub description: Option<String>,
    /// For the docs.
    pub example: Option<Value>,
    /// Position of the declaration.
    pub position: Position,
}

/// A regular expression that must match the whole string.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The pattern as written.
    pub text: String,
    whole: Regex,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, regex::Error> {
        // Compile the text alone first, so that `a)|(b` cannot close the group that anchors it.
        Regex::new(text)?;
        Ok(Self { text: text.to_owned(), whole: Regex::new(&format!("^(?:{text})$"))? })
    }
}

impl Param {
    /// Returns why a value of the right type is not allowed; `None` if it is.
    pub fn fault(&self, value: &Value) -> Option<String> {
        let scalars = value.scalars();
        if value.value_type().list && scalars.len() > self.max_items {
            return Some(format!("has {} items; at most {} are allowed", scalars.len(), self.max_items));
        }
        scalars.iter().find_map(|scalar| self.scalar_fault(scalar))
    }

    fn scalar_fault(&self, scalar: &Scalar) -> Option<String> {
        if !self.allowed.is_empty() && !self.allowed.contains(scalar) {
            let allowed = self.allowed.iter().map(|scalar| format!("`{scalar}`")).collect::<Vec<_>>();
            return Some(format!("must be one of {}", allowed.join(", ")));
        }
        if let Some(min) = self.min.as_ref().filter(|min| scalar < *min) {
            return Some(format!("must be at least `{min}`"));
        }
        if let Some(max) = self.max.as_ref().filter(|max| scalar > *max) {
            return Some(format!("must be at most `{max}`"));
        }
        let Scalar::String(text) = scalar else { return None };
        if text.chars().count() > self.max_length {
            return Some(format!("is longer than {} characters", self.max_length));
        }
        if text.contains('\0') {
            return Some("contains a NUL character".to_owned());
        }
        let pattern = self.pattern.as_ref().filter(|pattern| !pattern.whole.is_match(text))?;
        Some(format!("must match `{}`", pattern.text))
    }
}

/// Reads one declaration; `None` if it has no valid name and type.
pub(crate) fn read(declared: &SpannedValue<String>, mut section: Section<'_, '_>) -> Option<Param> {
    let source = section.source();
    let name_fault = name::parameter_fault(&declared.value);
    if let Some(fault) = name_fault {
        source.report(&declared.span, format!("parameter name `{}` {fault}", declared.value), None);
    }
    let value_type = read_type(declared, &mut section);
    let required = section.boolean("required");
    let secret = section.boolean("secret");
    let description = section.string("description");
    let keys = Constraints {
        default: section.take("default"),
        example: section.take("example"),
        allowed: section.take("enum"),
        min: section.take("min"),
        max: section.take("max"),
    };
    let pattern = section.string("pattern");
    let max_length = section.integer("max_length", 1..=MAX_LENGTH as u64);
    let max_items = section.integer("max_items", 1..=100_000);
    section.finish();

    let value_type = value_type?;
    let scalar_type = value_type.scalar;
    if scalar_type != ScalarType::String {
        for span in [pattern.as_ref().map(|it| &it.span), max_length.as_ref().map(|it| &it.span)].into_iter().flatten()
        {
            source.report(
                span,
                format!("only a string has `pattern` and `max_length`, not {}", value_type.name()),
                None,
            );
        }
    }
    if let Some(items) = max_items.as_ref().filter(|_| !value_type.list) {
        source.report(&items.span, format!("only a list has `max_items`, not {}", value_type.name()), None);
    }
    if matches!(scalar_type, ScalarType::String | ScalarType::Boolean | ScalarType::Uuid) {
        for bound in [keys.min, keys.max].into_iter().flatten() {
            source.report(
                &bound.span(),
                format!(
                    "parameter `{}` has no use for `min` and `max`: it is a {}",
                    declared.value,
                    scalar_type.name()
                ),
                None,
            );
        }
    }
    let default = keys.default.and_then(|value| read_value(source, "default", value_type, value));
    if let Some(required) = required.as_ref().filter(|required| required.value && default.is_some()) {
        source.report(
            &required.span,
            "a parameter with a `default` is not `required`",
            Some("remove one of them".into()),
        );
    }
    let pattern = pattern.and_then(|pattern| match Pattern::new(&pattern.value) {
        Ok(compiled) => Some(compiled),
        Err(error) => {
            let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
            source.report(&pattern.span, format!("`pattern` is not a regular expression: {reason}"), None);
            None
        }
    });
    let param = Param {
        name: declared.value.clone(),
        value_type,
        required: required.map_or(default.is_none(), |required| required.value),
        default,
        allowed: keys.allowed.map(|list| read_allowed(source, scalar_type, list)).unwrap_or_default(),
        min: keys.min.and_then(|value| read_scalar(source, "min", scalar_type, value)),
        max: keys.max.and_then(|value| read_scalar(source, "max", scalar_type, value)),
        pattern,
        max_length: max_length.map_or(MAX_LENGTH, |length| length.value as usize),
        max_items: max_items.map_or(MAX_ITEMS, |items| items.value as usize),
        secret: secret.is_some_and(|secret| secret.value),
        description: description.map(|description| description.value),
        example: keys.example.and_then(|value| read_value(source, "example", value_type, value)),
        position: source.position(&declared.span),
    };
    if let (Some(min), Some(max), Some(written)) = (&param.min, &param.max, keys.max)
        && min > max
    {
        source.report(&written.span(), format!("`max` of parameter `{}` is less than its `min`", param.name), None);
    }
    for (key, value, written) in [("default", &param.default, keys.default), ("example", &param.example, keys.example)]
    {
        if let (Some(value), Some(written)) = (value, written)
            && let Some(fault) = param.fault(value)
        {
            source.report(&written.span(), format!("`{key}` of parameter `{}` {fault}", param.name), None);
        }
    }
    name_fault.is_none().then_some(param)
}

/// The keys whose values have the parameter's own type.
struct Constraints<'a, 's> {
    default: Option<&'s Spanned<DeValue<'a>>>,
    example: Option<&'s Spanned<DeValue<'a>>>,
    allowed: Option<&'s Spanned<DeValue<'a>>>,
    min: Option<&'s Spanned<DeValue<'a>>>,
    max: Option<&'s Spanned<DeValue<'a>>>,
}

fn read_type(declared: &SpannedValue<String>, section: &mut Section<'_, '_>) -> Option<ValueType> {
    let source = section.source();
    let Some(type_name) = section.string("type") else {
        let names = ScalarType::ALL.map(|scalar| scalar.name()).join(", ");
        source.report(
            &declared.span,
            format!("parameter `{}` has no `type`", declared.value),
            Some(format!("use one of {names}, or a list of one such as `integer[]`")),
        );
        return None;
    };
    let value_type = ValueType::from_name(&type_name.value);
    if value_type.is_none() {
        let names = ScalarType::ALL.map(|scalar| scalar.name());
        source.report(
            &type_name.span,
            format!("`{}` is not a type", type_name.value),
            Some(match usual_name(&type_name.value) {
                Some(scalar) => format!("did you mean `{}`?", scalar.name()),
                None => suggest_or_list(&type_name.value, names),
            }),
        );
    }
    value_type
}

/// The type that other systems call by this name.
fn usual_name(name: &str) -> Option<ScalarType> {
    Some(match name.to_lowercase().as_str() {
        "text" | "varchar" | "str" | "char" => ScalarType::String,
        "int" | "int32" | "int64" | "bigint" | "long" => ScalarType::Integer,
        "float" | "double" | "decimal" | "numeric" | "real" => ScalarType::Number,
        "bool" => ScalarType::Boolean,
        "datetime" | "time" => ScalarType::Timestamp,
        _ => return None,
    })
}

fn read_scalar(
    source: &TomlSource<'_>,
    key: &str,
    scalar_type: ScalarType,
    value: &Spanned<DeValue<'_>>,
) -> Option<Scalar> {
    let scalar = match value.get_ref() {
        DeValue::String(text)
            if !matches!(scalar_type, ScalarType::Integer | ScalarType::Number | ScalarType::Boolean) =>
        {
            scalar_type.parse(text)
        }
        DeValue::Integer(integer) => match scalar_type {
            ScalarType::Integer => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Scalar::Integer),
            ScalarType::Number if integer.radix() == 10 => integer.as_str().parse().ok().map(Scalar::Number),
            // The text of `0x10` is `10`, which is a different number.
            ScalarType::Number => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|whole| Scalar::Number(whole as f64))
            }
            _ => None,
        },
        DeValue::Float(float) if scalar_type == ScalarType::Number => {
            float.as_str().parse::<f64>().ok().filter(|float| float.is_finite()).map(Scalar::Number)
        }
        DeValue::Boolean(boolean) if scalar_type == ScalarType::Boolean => Some(Scalar::Boolean(*boolean)),
        DeValue::Datetime(datetime) if matches!(scalar_type, ScalarType::Date | ScalarType::Timestamp) => {
            scalar_type.parse(&datetime.to_string())
        }
        _ => None,
    };
    if scalar.is_none() {
        source.report(&value.span(), format!("`{key}` is not {}", scalar_type.expectation()), None);
    }
    scalar
}

fn read_value(
    source: &TomlSource<'_>,
    key: &str,
    value_type: ValueType,
    value: &Spanned<DeValue<'_>>,
) -> Option<Value> {
    if !value_type.list {
        return read_scalar(source, key, value_type.scalar, value).map(Value::Scalar);
    }
    let DeValue::Array(items) = value.get_ref() else {
        source.report(&value.span(), format!("`{key}` of a {} must be a list", value_type.name()), None);
        return None;
    };
    let scalars =
        items.iter().map(|item| read_scalar(source, key, value_type.scalar, item)).collect::<Option<Vec<_>>>()?;
    Some(Value::List(value_type.scalar, scalars))
}

fn read_allowed(source: &TomlSource<'_>, scalar_type: ScalarType, value: &Spanned<DeValue<'_>>) -> Vec<Scalar> {
    match value.get_ref() {
        DeValue::Array(items) if !items.is_empty() => {
            items.iter().filter_map(|item| read_scalar(source, "enum", scalar_type, item)).collect()
        }
        _ => {
            source.report(&value.span(), "`enum` must be a list of at least one value", None);
            Vec::new()
        }
    }
}
