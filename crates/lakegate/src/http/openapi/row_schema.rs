//! The JSON Schema of rows, which describes what the JSON encoder writes for an endpoint's columns.

use lakegate_query::plan::{ColumnKind, OutputColumn, Part};
use serde_json::{Map, Value, json};

/// The schema of one row. No column is required, because `select` can leave out any of them.
pub(super) fn row(columns: &[OutputColumn]) -> Value {
    let members = columns.iter().map(|column| (column.name.clone(), schema(&column.kind, column.nullable)));
    json!({
        "type": "object",
        "description": "Every column is in every row, unless `select` leaves it out.",
        "properties": members.collect::<Map<_, _>>(),
        "additionalProperties": false,
    })
}

fn schema(kind: &ColumnKind, nullable: bool) -> Value {
    let (json_type, keywords) = match kind {
        ColumnKind::Boolean => ("boolean", json!({})),
        ColumnKind::Integer { bits, signed: true } => ("integer", json!({ "format": format!("int{bits}") })),
        ColumnKind::Integer { bits, signed: false } => {
            ("integer", json!({ "format": format!("uint{bits}"), "minimum": 0 }))
        }
        ColumnKind::Float { bits: 64 } => ("number", json!({ "format": "double" })),
        ColumnKind::Float { .. } => ("number", json!({ "format": "float" })),
        ColumnKind::Decimal => ("number", json!({ "format": "decimal" })),
        ColumnKind::Text | ColumnKind::Duration => ("string", json!({})),
        ColumnKind::Uuid => ("string", json!({ "format": "uuid" })),
        ColumnKind::Date => ("string", json!({ "format": "date" })),
        ColumnKind::Timestamp { zoned: true } => ("string", json!({ "format": "date-time" })),
        ColumnKind::Timestamp { zoned: false } => (
            "string",
            json!({ "format": "date-time-local", "description": "Without a zone, such as `2022-10-01T08:30:00`" }),
        ),
        ColumnKind::Time => ("string", json!({ "format": "time-local" })),
        ColumnKind::Binary => ("string", json!({ "contentEncoding": "base16" })),
        ColumnKind::List(item) => ("array", json!({ "items": part(item) })),
        ColumnKind::Object(members) => {
            let required = members.iter().map(|(name, _)| name).collect::<Vec<_>>();
            let members = members.iter().map(|(name, member)| (name.clone(), part(member))).collect::<Map<_, _>>();
            ("object", json!({ "properties": members, "required": required, "additionalProperties": false }))
        }
        ColumnKind::Map(value) => ("object", json!({ "additionalProperties": part(value) })),
        ColumnKind::Null => ("null", json!({})),
        ColumnKind::Any => return json!({}),
    };
    // JSON has no infinity and no NaN, and some dates of the lake are outside every calendar; such values become null.
    let may_have_no_form = matches!(kind, ColumnKind::Float { .. } | ColumnKind::Date | ColumnKind::Timestamp { .. });
    let nullable = nullable || may_have_no_form;
    let json_type = match nullable && json_type != "null" {
        true => json!([json_type, "null"]),
        false => json_type.into(),
    };
    let mut schema = Map::from_iter([("type".to_owned(), json_type)]);
    if let Value::Object(keywords) = keywords {
        schema.extend(keywords);
    }
    schema.into()
}

fn part(part: &Part) -> Value {
    schema(&part.kind, part.nullable)
}
