//! Maps Arrow schemas to the types that a table format can store, and casts batches to the schema of a table.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use super::TableFormat;

/// The columns of `schema` in types that the table format has. It never narrows a type: a type without a counterpart is
/// an error with a message for the user.
pub(crate) fn writable(schema: &Schema, format: TableFormat) -> Result<SchemaRef, String> {
    let fields = schema.fields().iter().map(|field| writable_field(field, format)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn writable_field(field: &FieldRef, format: TableFormat) -> Result<FieldRef, String> {
    let data_type = writable_type(field.data_type(), format).map_err(|unfit| {
        format!("column `{}` is of the type {unfit}, which {} has not", field.name(), format.name())
    })?;
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable())))
}

fn writable_type(data_type: &DataType, format: TableFormat) -> Result<DataType, DataType> {
    let inner = |field: &FieldRef| -> Result<FieldRef, DataType> {
        let data_type = writable_type(field.data_type(), format)?;
        Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable())))
    };
    let is_plain = format == TableFormat::Parquet;
    Ok(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => writable_type(values, format)?,
        DataType::RunEndEncoded(_, values) => writable_type(values.data_type(), format)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(inner(item)?)
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Result<_, _>>()?),
        other if is_plain => other.clone(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Decimal128(..)
        | DataType::Timestamp(TimeUnit::Microsecond, None) => data_type.clone(),
        other => return Err(other.clone()),
    })
}

/// Projects and casts a batch to `schema`, by column name. A missing column becomes NULL; a value that does not fit the
/// target type is an error, and never becomes NULL.
pub(crate) fn adapted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let column = |field: &FieldRef| -> Result<ArrayRef, String> {
        match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast_with_options(column, field.data_type(), &strict)
                .map_err(|_| format!("column `{}` has a value that does not fit its type in the table", field.name())),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options).map_err(|error| error.to_string())
}
