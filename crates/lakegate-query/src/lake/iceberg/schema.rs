//! Maps the schema of an Iceberg table to columns identified by field ids, and reads the partition values of files.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::common::ScalarValue;
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, Literal, MappedField, NameMapping, NestedField, PrimitiveLiteral, PrimitiveType,
    Schema, TableMetadata, Transform, Type,
};

use super::super::TableFault;
use super::super::mapping::{Column, Key, NamedIds};
use super::manifests::Entry;
use crate::uuids;

/// The columns, in the table's order.
pub(super) fn columns(schema: &Schema) -> Result<Vec<Column>, TableFault> {
    schema.as_struct().fields().iter().map(|field| column(field, true)).collect()
}

/// Converts a field to a column. Refuses a type or default that is not supported.
pub(super) fn column(field: &NestedField, is_top: bool) -> Result<Column, TableFault> {
    let name = &field.name;
    if field.initial_default.is_some() {
        return Err(TableFault::new(format!(
            "the column `{name}` has a default for old files, which is not applied here"
        ))
        .help("rewrite the old files"));
    }
    let unknown =
        || TableFault::new(format!("the column `{name}` is of the type `{}`, which is not read", field.field_type));
    let mut inner = Vec::new();
    let data_type = match field.field_type.as_ref() {
        Type::Primitive(primitive) => primitive_type(primitive, is_top).ok_or_else(unknown)?,
        Type::Struct(fields) => {
            inner = fields.fields().iter().map(|field| column(field, false)).collect::<Result<Vec<_>, _>>()?;
            DataType::Struct(inner.iter().map(|column| Arc::clone(&column.field)).collect::<Fields>())
        }
        Type::List(list) => {
            inner.push(column(&list.element_field, false)?);
            DataType::List(Arc::clone(&inner[0].field))
        }
        Type::Map(map) => {
            inner.push(column(&map.key_field, false)?);
            inner.push(column(&map.value_field, false)?);
            let key = inner[0].field.as_ref().clone().with_nullable(false);
            let entries = Fields::from(vec![Arc::new(key), Arc::clone(&inner[1].field)]);
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
        }
    };
    let mut arrow = Field::new(name, data_type, true);
    if is_top && *field.field_type == Type::Primitive(PrimitiveType::Uuid) {
        arrow = uuids::marked(arrow);
    }
    Ok(Column { field: Arc::new(arrow), key: Key::Id(field.id), inner })
}

/// Top-level strings and binaries are views, as in all tables; nested ones have the type that files use.
fn primitive_type(primitive: &PrimitiveType, is_top: bool) -> Option<DataType> {
    Some(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            DataType::Decimal128(u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?)
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        PrimitiveType::String if is_top => DataType::Utf8View,
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(size) => DataType::FixedSizeBinary(i32::try_from(*size).ok()?),
        PrimitiveType::Binary if is_top => DataType::BinaryView,
        PrimitiveType::Binary => DataType::Binary,
    })
}

/// The table's name mapping: field ids by name, for imported files without ids.
pub(super) fn named_ids(metadata: &TableMetadata) -> Result<NamedIds, TableFault> {
    let mut ids = NamedIds::new();
    let Some(json) = metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) else { return Ok(ids) };
    let mapping = serde_json::from_str::<NameMapping>(json).map_err(|error| {
        TableFault::new(format!("the table's `{DEFAULT_SCHEMA_NAME_MAPPING}` is broken")).source(error)
    })?;
    for field in mapping.fields() {
        add(field, &[], &mut ids);
    }
    Ok(ids)
}

fn add(field: &MappedField, above: &[String], ids: &mut NamedIds) {
    for name in field.names() {
        let path = above.iter().chain([name]).cloned().collect::<Vec<_>>();
        for below in field.fields() {
            add(below, &path, ids);
        }
        ids.extend(field.field_id().map(|id| (path, id)));
    }
}

/// The values that a file's partition sets for columns with the identity transform, by column index.
pub(super) fn constants(
    metadata: &TableMetadata,
    entry: &Entry,
    columns: &[Column],
) -> Result<HashMap<usize, ScalarValue>, TableFault> {
    let spec = metadata.partition_spec_by_id(entry.spec_id);
    let spec = spec.ok_or_else(|| TableFault::new("a file is of a partition spec that the table does not have"))?;
    let values = entry.data_file().partition().fields();
    if values.len() != spec.fields().len() {
        return Err(TableFault::new("a file has other partition values than its partition spec"));
    }
    let mut constants = HashMap::new();
    for (field, value) in spec.fields().iter().zip(values) {
        let is_of = |column: &Column| column.key == Key::Id(field.source_id);
        let Some(at) = columns.iter().position(is_of).filter(|_| field.transform == Transform::Identity) else {
            continue;
        };
        let column = &columns[at].field;
        let constant = match value {
            None => ScalarValue::try_new_null(column.data_type()).ok(),
            Some(Literal::Primitive(literal)) => scalar(literal, column.data_type()),
            Some(_) => None,
        };
        let constant = constant.ok_or_else(|| {
            TableFault::new(format!("a value of the partition column `{}` is not of its type", column.name()))
        })?;
        constants.insert(at, constant);
    }
    Ok(constants)
}

/// Converts a partition value to the type that the column has now.
fn scalar(literal: &PrimitiveLiteral, data_type: &DataType) -> Option<ScalarValue> {
    use PrimitiveLiteral as From;
    Some(match (literal, data_type) {
        (From::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (From::Int(value), DataType::Int32) => ScalarValue::Int32(Some(*value)),
        (From::Int(value), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*value))),
        (From::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (From::Int(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
        (From::Long(value), DataType::Time64(TimeUnit::Microsecond)) => ScalarValue::Time64Microsecond(Some(*value)),
        (From::Long(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
        }
        (From::Long(value), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
            ScalarValue::TimestampNanosecond(Some(*value), zone.clone())
        }
        (From::Float(value), DataType::Float32) => ScalarValue::Float32(Some(value.0)),
        (From::Float(value), DataType::Float64) => ScalarValue::Float64(Some(f64::from(value.0))),
        (From::Double(value), DataType::Float64) => ScalarValue::Float64(Some(value.0)),
        (From::String(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        (From::Binary(value), DataType::BinaryView) => ScalarValue::BinaryView(Some(value.clone())),
        (From::Binary(value), DataType::FixedSizeBinary(size)) if value.len() == usize::try_from(*size).ok()? => {
            ScalarValue::FixedSizeBinary(*size, Some(value.clone()))
        }
        (From::UInt128(value), DataType::FixedSizeBinary(16)) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        (From::Int128(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        _ => return None,
    })
}
