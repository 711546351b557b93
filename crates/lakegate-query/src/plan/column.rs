//! Describes the columns of an endpoint's response for API documents: names, types as parameters name them, and JSON
//! kinds.
//!
//! The types are those of the optimised plan with all masks on, because the optimiser widens some and a mask may return
//! NULL.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use lakegate_core::value::ScalarType;

use super::column_type_name;
use crate::uuids;

/// A column of an endpoint's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// The name.
    pub name: String,
    /// The type, named as for parameters.
    pub type_name: String,
    /// Whether values may be NULL.
    pub nullable: bool,
    /// The kind of the values.
    pub kind: ColumnKind,
}

/// The kind of a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// 8 to 64.
        bits: u8,
        /// Whether negative values are possible.
        signed: bool,
    },
    /// A floating-point number. Its NaN and infinities have no JSON number.
    Float {
        /// 16 to 64.
        bits: u8,
    },
    /// A decimal number.
    Decimal,
    /// Text.
    Text,
    /// A UUID.
    Uuid,
    /// A calendar date.
    Date,
    /// A timestamp; without a time zone, it is a wall-clock time.
    Timestamp {
        /// Whether it has a time zone.
        zoned: bool,
    },
    /// A time of day.
    Time,
    /// A duration.
    Duration,
    /// Bytes.
    Binary,
    /// A list.
    List(Box<Part>),
    /// An object with these members.
    Object(Vec<(String, Part)>),
    /// An object with arbitrary keys.
    Map(Box<Part>),
    /// Always NULL.
    Null,
    /// A type without a better description.
    Any,
}

/// The item of a list, or a member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind of the values.
    pub kind: ColumnKind,
    /// Whether values may be NULL.
    pub nullable: bool,
}

/// The columns of `planned`, described by the types that the optimised plans return.
pub(super) fn columns(planned: &SchemaRef, optimised: &[SchemaRef]) -> Vec<OutputColumn> {
    let column = |(at, field): (usize, &Arc<Field>)| {
        let of = |schema: &SchemaRef| schema.fields().get(at).map(Arc::clone);
        let mut answered = optimised.iter().filter_map(of);
        let first = answered.next().unwrap_or_else(|| Arc::clone(field));
        let mut column = OutputColumn {
            name: field.name().clone(),
            type_name: match uuids::is_uuid(&first) {
                true => ScalarType::Uuid.name().to_owned(),
                false => column_type_name(field.data_type()),
            },
            nullable: field.is_nullable() || first.is_nullable(),
            kind: kind_of(&first),
        };
        for other in answered {
            column.nullable |= other.is_nullable();
            if kind_of(&other) != column.kind {
                column.kind = ColumnKind::Any;
            }
        }
        column
    };
    planned.fields().iter().enumerate().map(column).collect()
}

fn part(field: &Field) -> Part {
    Part { kind: kind(field.data_type()), nullable: field.is_nullable() }
}

fn kind_of(field: &Field) -> ColumnKind {
    if uuids::is_uuid(field) { ColumnKind::Uuid } else { kind(field.data_type()) }
}

fn kind(data_type: &DataType) -> ColumnKind {
    match data_type {
        DataType::Null => ColumnKind::Null,
        DataType::Boolean => ColumnKind::Boolean,
        DataType::Int8 => ColumnKind::Integer { bits: 8, signed: true },
        DataType::Int16 => ColumnKind::Integer { bits: 16, signed: true },
        DataType::Int32 => ColumnKind::Integer { bits: 32, signed: true },
        DataType::Int64 => ColumnKind::Integer { bits: 64, signed: true },
        DataType::UInt8 => ColumnKind::Integer { bits: 8, signed: false },
        DataType::UInt16 => ColumnKind::Integer { bits: 16, signed: false },
        DataType::UInt32 => ColumnKind::Integer { bits: 32, signed: false },
        DataType::UInt64 => ColumnKind::Integer { bits: 64, signed: false },
        DataType::Float16 => ColumnKind::Float { bits: 16 },
        DataType::Float32 => ColumnKind::Float { bits: 32 },
        DataType::Float64 => ColumnKind::Float { bits: 64 },
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            ColumnKind::Decimal
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnKind::Text,
        DataType::Date32 => ColumnKind::Date,
        // Written with its time of day, which need not be midnight.
        DataType::Date64 => ColumnKind::Timestamp { zoned: false },
        DataType::Timestamp(_, zone) => ColumnKind::Timestamp { zoned: zone.is_some() },
        DataType::Time32(_) | DataType::Time64(_) => ColumnKind::Time,
        DataType::Duration(_) | DataType::Interval(_) => ColumnKind::Duration,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ColumnKind::Binary
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => ColumnKind::List(Box::new(part(item))),
        DataType::Struct(fields) => ColumnKind::Object(members(fields)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                fields.get(1).map_or(ColumnKind::Any, |value| ColumnKind::Map(Box::new(part(value))))
            }
            _ => ColumnKind::Any,
        },
        DataType::Dictionary(_, value) => kind(value),
        DataType::RunEndEncoded(_, value) => kind(value.data_type()),
        DataType::Union(..) => ColumnKind::Any,
    }
}

fn members(fields: &Fields) -> Vec<(String, Part)> {
    fields.iter().map(|field| (field.name().clone(), part(field))).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;

    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
        let fields = fields.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn a_column_is_what_the_optimiser_makes_of_it_and_may_be_null_when_any_plan_says_so() {
        let planned =
            schema(&[("a", DataType::Int64, false), ("b", DataType::Utf8, false), ("c", DataType::Null, true)]);
        let masked =
            schema(&[("a", DataType::Float64, false), ("b", DataType::Utf8View, true), ("c", DataType::Utf8, true)]);
        let left_out =
            schema(&[("a", DataType::Float64, false), ("b", DataType::Utf8, false), ("c", DataType::Int32, true)]);
        let got = columns(&planned, &[masked, left_out]);
        let told = got.iter().map(|column| (column.name.as_str(), &column.kind, column.nullable)).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                ("a", &ColumnKind::Float { bits: 64 }, false),
                ("b", &ColumnKind::Text, true),
                ("c", &ColumnKind::Any, true)
            ]
        );
        assert_eq!(columns(&planned, &[])[0].kind, ColumnKind::Integer { bits: 64, signed: true });
    }

    #[test]
    fn what_is_nested_is_described_to_its_leaves() {
        let item = Field::new("item", DataType::Int32, true);
        let list = DataType::List(Arc::new(item));
        let whole =
            DataType::Struct(vec![Field::new("x", list, false), Field::new("y", DataType::Boolean, true)].into());
        let integer = Part { kind: ColumnKind::Integer { bits: 32, signed: true }, nullable: true };
        let list = Part { kind: ColumnKind::List(Box::new(integer)), nullable: false };
        let boolean = Part { kind: ColumnKind::Boolean, nullable: true };
        assert_eq!(kind(&whole), ColumnKind::Object(vec![("x".to_owned(), list), ("y".to_owned(), boolean)]));
    }
}
