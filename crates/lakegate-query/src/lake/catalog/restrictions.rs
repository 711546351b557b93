//! Parses the `read-restrictions` that an Iceberg REST catalog sets on a table for lakegate's identity: a row filter
//! and actions on columns.
//!
//! They bind every caller, because lakegate is the reader that the catalog knows. A restriction that lakegate does not
//! understand is a fault of the table; it is never ignored. This module only parses restrictions and resolves them
//! against the table's columns; `govern` applies the filter below the barrier and the actions above it.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column as ColumnName, ScalarValue, TableReference};
use datafusion::functions::string::expr_fn::starts_with;
use datafusion::logical_expr::{Expr, lit};
use lakegate_core::value::ScalarType;
use serde_json::{Map, Value};

use super::super::mapping::{Column, Key};
use crate::govern::literal::literal;
use crate::uuids;

/// Maximum nesting depth of a filter.
const MOST_DEPTH: usize = 64;
/// Maximum number of values in a filter.
const MOST_VALUES: usize = 10_000;

const ROW_FILTER: &str = "required-row-filter";
const PROJECTIONS: &str = "required-column-projections";

/// The restrictions of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Restrictions {
    /// A predicate over the table's columns. Hides the rows for which it is not true.
    pub(crate) filter: Option<Expr>,
    /// Actions on columns, by column name.
    pub(crate) actions: BTreeMap<String, Action>,
}

/// A transformation of a column's values. The output equals the standard's byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Action {
    MaskAlphanum,
    ShowFirst4,
    ShowLast4,
    ReplaceWithNull,
    MaskToFixedValue,
    TruncateToYear,
    TruncateToMonth,
    Sha256Global,
    Sha256QueryLocal,
}

impl Action {
    const ALL: [Self; 9] = [
        Self::MaskAlphanum,
        Self::ShowFirst4,
        Self::ShowLast4,
        Self::ReplaceWithNull,
        Self::MaskToFixedValue,
        Self::TruncateToYear,
        Self::TruncateToMonth,
        Self::Sha256Global,
        Self::Sha256QueryLocal,
    ];

    /// The action's name in the standard.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaskAlphanum => "mask-alphanum",
            Self::ShowFirst4 => "show-first-4",
            Self::ShowLast4 => "show-last-4",
            Self::ReplaceWithNull => "replace-with-null",
            Self::MaskToFixedValue => "mask-to-fixed-value",
            Self::TruncateToYear => "truncate-to-year",
            Self::TruncateToMonth => "truncate-to-month",
            Self::Sha256Global => "sha-256-global",
            Self::Sha256QueryLocal => "sha-256-query-local",
        }
    }

    /// Whether the standard defines the action for this type.
    fn takes(self, data_type: &DataType) -> bool {
        let is_text = matches!(data_type, DataType::Utf8 | DataType::Utf8View);
        let is_bytes = matches!(data_type, DataType::Binary | DataType::BinaryView);
        let is_time = matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
        match self {
            Self::MaskAlphanum | Self::ShowFirst4 | Self::ShowLast4 => is_text,
            Self::ReplaceWithNull => true,
            Self::MaskToFixedValue => fixed_value(data_type).is_some(),
            Self::TruncateToYear | Self::TruncateToMonth => is_time,
            Self::Sha256Global | Self::Sha256QueryLocal => {
                is_text || is_bytes || matches!(data_type, DataType::Int32 | DataType::Int64)
            }
        }
    }
}

/// The constant that `mask-to-fixed-value` puts in place of every value of a type, NULL included; `None` if the
/// standard defines none or lakegate does not know it.
pub(crate) fn fixed_value(data_type: &DataType) -> Option<ScalarValue> {
    match data_type {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some("XXXXXXXX".to_owned()))),
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some("XXXXXXXX".to_owned()))),
        DataType::Binary => Some(ScalarValue::Binary(Some(Vec::new()))),
        DataType::BinaryView => Some(ScalarValue::BinaryView(Some(Vec::new()))),
        DataType::FixedSizeBinary(size) => {
            Some(ScalarValue::FixedSizeBinary(*size, Some(vec![0; usize::try_from(*size).ok()?])))
        }
        DataType::Boolean => Some(ScalarValue::Boolean(Some(false))),
        DataType::Date32 => Some(ScalarValue::Date32(Some(0))),
        DataType::Time64(TimeUnit::Microsecond) => Some(ScalarValue::Time64Microsecond(Some(0))),
        DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Timestamp(..) => ScalarValue::new_zero(data_type).ok(),
        DataType::List(_) => ScalarValue::new_default(data_type).ok(),
        _ => None,
    }
}

/// Parses the restrictions of a table with these columns; `None` if there are none.
///
/// # Errors
/// A message that names what is not understood.
pub(in crate::lake) fn read(json: &Value, table: &str, columns: &[Column]) -> Result<Option<Restrictions>, String> {
    let members = match json {
        Value::Null => return Ok(None),
        Value::Object(members) => members,
        _ => return Err("they are no object".to_owned()),
    };
    only(members, &[ROW_FILTER, PROJECTIONS])?;
    let mut reader = Reader { table, columns, values: 0 };
    let filter = match members.get(ROW_FILTER) {
        None | Some(Value::Null) => None,
        Some(filter) => Some(reader.predicate(filter, 0)?).filter(|filter| *filter != lit(true)),
    };
    let mut actions = BTreeMap::new();
    match members.get(PROJECTIONS) {
        None | Some(Value::Null) => {}
        Some(Value::Array(projections)) => {
            for projection in projections {
                let (column, action) = reader.projection(projection)?;
                if actions.insert(column.clone(), action).is_some() {
                    return Err(format!("the column `{column}` has two actions"));
                }
            }
        }
        Some(_) => return Err(format!("`{PROJECTIONS}` is no list")),
    }
    let restrictions = Restrictions { filter, actions };
    Ok((restrictions.filter.is_some() || !restrictions.actions.is_empty()).then_some(restrictions))
}

/// Refuses an object that has members other than the known ones.
fn only(members: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("`{name}` is not known")),
        None => Ok(()),
    }
}

struct Reader<'a> {
    table: &'a str,
    columns: &'a [Column],
    values: usize,
}

impl<'a> Reader<'a> {
    fn projection(&self, json: &Value) -> Result<(String, Action), String> {
        let Value::Object(members) = json else { return Err(format!("an entry of `{PROJECTIONS}` is no object")) };
        only(members, &["action", "field-id"])?;
        let name = members.get("action").and_then(Value::as_str).ok_or("an action has no name")?;
        let action = Action::ALL.into_iter().find(|action| action.name() == name);
        let action = action.ok_or_else(|| format!("the action `{name}` cannot be applied here"))?;
        let column = self.by_id(members.get("field-id"))?;
        let (name, data_type) = (column.field.name(), column.field.data_type());
        match action.takes(data_type) {
            true => Ok((name.clone(), action)),
            false => Err(format!("the action `{}` does not go with the column `{name}`", action.name())),
        }
    }

    fn by_id(&self, id: Option<&Value>) -> Result<&'a Column, String> {
        let id = id.and_then(Value::as_i64).ok_or("a column has no field id")?;
        let found = self.columns.iter().find(|column| matches!(column.key, Key::Id(key) if i64::from(key) == id));
        found.ok_or_else(|| format!("the field {id} is no column of the table"))
    }

    /// Translates a predicate. Whenever it is true, so is the standard's; if it is NULL, the standard's may be true or
    /// false. Only rows for which it is true are shown, so none that the standard hides.
    fn predicate(&mut self, json: &Value, depth: usize) -> Result<Expr, String> {
        if depth > MOST_DEPTH {
            return Err("the filter is nested too deeply".to_owned());
        }
        let members = match json {
            Value::Bool(truth) => return Ok(lit(*truth)),
            Value::Object(members) => members,
            _ => return Err("a part of the filter is no predicate".to_owned()),
        };
        let kind = members.get("type").and_then(Value::as_str).ok_or("a part of the filter has no `type`")?;
        let part = |name: &str| members.get(name).ok_or_else(|| format!("`{kind}` has no `{name}`"));
        match kind {
            "true" | "false" => {
                only(members, &["type"])?;
                Ok(lit(kind == "true"))
            }
            "and" | "or" => {
                only(members, &["type", "left", "right"])?;
                let (left, right) =
                    (self.predicate(part("left")?, depth + 1)?, self.predicate(part("right")?, depth + 1)?);
                Ok(if kind == "and" { left.and(right) } else { left.or(right) })
            }
            "not" => {
                only(members, &["type", "child"])?;
                Ok(Expr::Not(Box::new(self.predicate(part("child")?, depth + 1)?)))
            }
            "is-null" | "not-null" => {
                only(members, &["type", "term", "child"])?;
                let column = self.term(one_of(members, "term", "child")?)?;
                let column = self.expr(column);
                Ok(if kind == "is-null" { column.is_null() } else { column.is_not_null() })
            }
            "eq" | "not-eq" | "lt" | "lt-eq" | "gt" | "gt-eq" | "starts-with" | "not-starts-with" => {
                only(members, &["type", "term", "value", "left", "right"])?;
                let column = self.term(one_of(members, "term", "left")?)?;
                let value = self.value(one_of(members, "value", "right")?, column)?;
                let is_text = matches!(column.field.data_type(), DataType::Utf8 | DataType::Utf8View);
                let column = self.expr(column);
                Ok(match kind {
                    "eq" => column.eq(value),
                    "not-eq" => column.not_eq(value),
                    "lt" => column.lt(value),
                    "lt-eq" => column.lt_eq(value),
                    "gt" => column.gt(value),
                    "gt-eq" => column.gt_eq(value),
                    _ if !is_text => return Err(format!("`{kind}` does not go with its column")),
                    "starts-with" => starts_with(column, value),
                    _ => Expr::Not(Box::new(starts_with(column, value))),
                })
            }
            "in" | "not-in" => {
                only(members, &["type", "term", "values"])?;
                let column = self.term(part("term")?)?;
                let values = part("values")?.as_array().filter(|values| !values.is_empty());
                let values = values.ok_or_else(|| format!("`{kind}` has no values"))?;
                let values = values.iter().map(|value| self.value(value, column)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.expr(column).in_list(values, kind == "not-in"))
            }
            other => Err(format!("`{other}` in the filter is not known")),
        }
    }

    /// Resolves a reference to a column, by name or by field id.
    fn term(&self, json: &Value) -> Result<&'a Column, String> {
        let name = match json {
            Value::String(name) => name,
            Value::Object(members) if members.get("type").and_then(Value::as_str) == Some("reference") => {
                only(members, &["type", "term", "id"])?;
                match (members.get("term"), members.get("id")) {
                    (Some(Value::String(name)), None) => name,
                    (None, Some(id)) => return self.by_id(Some(id)),
                    _ => return Err("a reference of the filter is not understood".to_owned()),
                }
            }
            _ => return Err("the filter goes by something that is no column".to_owned()),
        };
        let mut named = self.columns.iter().filter(|column| column.field.name() == name);
        match (named.next(), named.next()) {
            (Some(column), None) => Ok(column),
            _ => Err(format!("the filter goes by `{name}`, which is no column of the table")),
        }
    }

    fn expr(&self, column: &Column) -> Expr {
        Expr::Column(ColumnName::new(Some(TableReference::bare(self.table)), column.field.name()))
    }

    /// Parses a value as a literal of exactly the column's type.
    fn value(&mut self, json: &Value, column: &Column) -> Result<Expr, String> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err("the filter has too many values".to_owned());
        }
        let json = match json {
            Value::Object(members) if members.get("type").and_then(Value::as_str) == Some("literal") => {
                only(members, &["type", "value"])?;
                members.get("value").ok_or("a literal has no value")?
            }
            other => other,
        };
        let (name, data_type) = (column.field.name(), column.field.data_type());
        let value = scalar(json, data_type, uuids::is_uuid(&column.field));
        let value = value.ok_or_else(|| format!("the filter compares `{name}` with what is no value of its type"))?;
        Ok(Expr::Literal(value, None))
    }
}

fn one_of<'a>(members: &'a Map<String, Value>, one: &str, other: &str) -> Result<&'a Value, String> {
    match (members.get(one), members.get(other)) {
        (Some(value), None) | (None, Some(value)) => Ok(value),
        _ => Err(format!("a part of the filter has not just one of `{one}` and `{other}`")),
    }
}

/// Parses a value in the standard's JSON form. Floats are refused, because the standard distinguishes -0.0 from 0.0 and
/// SQL does not.
fn scalar(json: &Value, data_type: &DataType, is_uuid: bool) -> Option<ScalarValue> {
    let read = |scalar: ScalarType| literal(&scalar.from_json(json)?, data_type);
    match data_type {
        DataType::Boolean => read(ScalarType::Boolean),
        DataType::Int32 | DataType::Int64 => read(ScalarType::Integer),
        DataType::Utf8 | DataType::Utf8View => read(ScalarType::String),
        DataType::Date32 => read(ScalarType::Date),
        DataType::Timestamp(..) => read(ScalarType::Timestamp),
        DataType::FixedSizeBinary(_) if is_uuid => read(ScalarType::Uuid),
        DataType::Decimal128(_, scale) => {
            let text = json.as_str()?;
            let digits = text.strip_prefix('-').unwrap_or(text);
            let fraction = digits.split_once('.').map_or("", |(_, fraction)| fraction);
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let fits = is_plain && fraction.len() <= usize::try_from(*scale).ok()?;
            fits.then(|| ScalarValue::try_from_string(text.to_owned(), data_type).ok()).flatten()
        }
        _ => None,
    }
}
