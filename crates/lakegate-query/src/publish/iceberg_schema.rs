//! Converts between Arrow and Iceberg schemas: types and field ids.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use iceberg::spec::{ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type};

/// The Iceberg schema for these columns. Existing columns keep their field ids, and others get new ones.
pub(super) fn schema(columns: &ArrowSchema, before: Option<&Schema>, last_id: i32) -> Result<Schema, String> {
    let mut next_id = last_id;
    let mut fields = Vec::<NestedFieldRef>::new();
    if let Some(before) = before {
        fields.extend(before.as_struct().fields().iter().cloned());
    }
    for field in columns.fields() {
        if before.is_some_and(|before| before.field_by_name(field.name()).is_some()) {
            continue;
        }
        next_id += 1;
        let id = next_id;
        let field_type = type_of(field, &mut next_id)?;
        fields.push(Arc::new(NestedField::optional(id, field.name(), field_type)));
    }
    let schema_id = before.map_or(0, Schema::schema_id);
    Schema::builder().with_schema_id(schema_id).with_fields(fields).build().map_err(|error| error.to_string())
}

fn type_of(field: &Field, next_id: &mut i32) -> Result<Type, String> {
    let primitive = match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Utf8 => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            PrimitiveType::Decimal { precision: (*precision).into(), scale: *scale as u32 }
        }
        DataType::List(item) => {
            *next_id += 1;
            let id = *next_id;
            let item_type = type_of(item, next_id)?;
            return Ok(Type::List(ListType::new(Arc::new(NestedField::list_element(id, item_type, false)))));
        }
        other => {
            return Err(format!("column `{}` is of the type {other}, which is not written to Iceberg", field.name()));
        }
    };
    Ok(Type::Primitive(primitive))
}

/// The columns with the field ids of the table's schema, for the Parquet file.
pub(super) fn numbered(columns: &ArrowSchema, schema: &Schema) -> Result<SchemaRef, String> {
    let fields = columns
        .fields()
        .iter()
        .map(|field| match schema.field_by_name(field.name()) {
            Some(known) => with_numbers(field, known),
            None => Err(format!("column `{}` is not one of the table", field.name())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

fn with_numbers(field: &FieldRef, known: &NestedField) -> Result<FieldRef, String> {
    let data_type = match (field.data_type(), known.field_type.as_ref()) {
        (DataType::List(item), Type::List(list)) => {
            // Iceberg requires this name for list elements.
            let item = Field::new("element", item.data_type().clone(), item.is_nullable());
            DataType::List(with_numbers(&Arc::new(item), &list.element_field)?)
        }
        (other, Type::Primitive(_)) if !other.is_nested() => other.clone(),
        (other, _) => {
            return Err(format!("column `{}` is {other} here, and something else in the table", field.name()));
        }
    };
    let number = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), known.id.to_string())]);
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(number)))
}

/// The Arrow schema of an Iceberg struct.
pub(super) fn arrow(schema: &StructType) -> Result<SchemaRef, String> {
    let fields = schema.fields().iter().map(|field| arrow_field(field, &field.name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

fn arrow_field(field: &NestedField, name: &str) -> Result<FieldRef, String> {
    let unread = || format!("column `{}` is of the type {}, which is not written here", field.name, field.field_type);
    let data_type = match field.field_type.as_ref() {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => DataType::Boolean,
            PrimitiveType::Int => DataType::Int32,
            PrimitiveType::Long => DataType::Int64,
            PrimitiveType::Float => DataType::Float32,
            PrimitiveType::Double => DataType::Float64,
            PrimitiveType::String => DataType::Utf8,
            PrimitiveType::Binary => DataType::Binary,
            PrimitiveType::Date => DataType::Date32,
            PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PrimitiveType::Decimal { precision, scale } => {
                let (precision, scale) = (u8::try_from(*precision), i8::try_from(*scale));
                DataType::Decimal128(precision.map_err(|_| unread())?, scale.map_err(|_| unread())?)
            }
            _ => return Err(unread()),
        },
        Type::List(list) => DataType::List(arrow_field(&list.element_field, "item")?),
        _ => return Err(unread()),
    };
    Ok(Arc::new(Field::new(name, data_type, !field.required)))
}
