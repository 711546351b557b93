//! Maps the schema of a Delta table to columns, each with the key that finds it in data files (column mapping).

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use deltalake_core::kernel::{
    DataType as DeltaType, MetadataValue, PrimitiveType, Snapshot as DeltaSnapshot, StructField,
};

use super::super::TableFault;
use super::super::mapping::{Column, Key};

const MODE: &str = "delta.columnMapping.mode";
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
const ID: &str = "delta.columnMapping.id";

/// The table's column mapping mode.
#[derive(Clone, Copy)]
enum Mode {
    None,
    Name,
    Id,
}

/// The columns, in the table's order.
pub(super) fn columns(snapshot: &DeltaSnapshot) -> Result<Vec<Column>, TableFault> {
    let mode = mode(snapshot)?;
    let schema = snapshot.schema();
    schema.fields().map(|field| column(field, mode, true)).collect()
}

/// The names of the partition columns in the log (physical names).
pub(super) fn partition_names(snapshot: &DeltaSnapshot) -> Result<HashSet<String>, TableFault> {
    let mode = mode(snapshot)?;
    let schema = snapshot.schema();
    let names = snapshot.metadata().partition_columns().iter().map(|name| {
        let field = schema.field(name);
        let field = field.ok_or_else(|| TableFault::new(format!("the partition column `{name}` is not a column")))?;
        in_log(field, mode)
    });
    names.collect()
}

/// The names of all columns in the log (physical names), in the table's order.
pub(super) fn names_in_log(snapshot: &DeltaSnapshot) -> Result<Vec<String>, TableFault> {
    let mode = mode(snapshot)?;
    snapshot.schema().fields().map(|field| in_log(field, mode)).collect()
}

fn mode(snapshot: &DeltaSnapshot) -> Result<Mode, TableFault> {
    match snapshot.metadata().configuration().get(MODE).map(String::as_str) {
        None | Some("none") => Ok(Mode::None),
        Some("name") => Ok(Mode::Name),
        Some("id") => Ok(Mode::Id),
        Some(other) => {
            Err(TableFault::new(format!("the table maps its columns by `{other}`, which is not known here")))
        }
    }
}

fn in_log(field: &StructField, mode: Mode) -> Result<String, TableFault> {
    match (mode, field.metadata.get(PHYSICAL_NAME)) {
        (Mode::None, _) => Ok(field.name.clone()),
        (_, Some(MetadataValue::String(name))) => Ok(name.clone()),
        _ => Err(TableFault::new(format!("the log does not say how files name the column `{}`", field.name))),
    }
}

fn column(field: &StructField, mode: Mode, is_top: bool) -> Result<Column, TableFault> {
    let name = in_log(field, mode)?;
    let key = match (mode, field.metadata.get(ID)) {
        (Mode::Id, Some(MetadataValue::Number(id))) => i32::try_from(*id)
            .map(Key::Id)
            .map_err(|_| TableFault::new(format!("the id of the column `{}` is too large", field.name)))?,
        (Mode::Id, _) => return Err(TableFault::new(format!("the column `{}` has no id in the log", field.name))),
        // Without column mapping, column names are case-insensitive and a writer may use another case than the table.
        (Mode::None, _) => Key::AnyCase(name),
        (Mode::Name, _) => Key::Name(name),
    };
    of_type(&field.name, &field.data_type, key, mode, is_top)
}

fn of_type(name: &str, delta: &DeltaType, key: Key, mode: Mode, is_top: bool) -> Result<Column, TableFault> {
    let unknown = || {
        TableFault::new(format!("the column `{name}` is of the type `{delta}`, which is not read"))
            .help("leave the column out of the table")
    };
    let mut inner = Vec::new();
    let part = |name: &str, delta: &DeltaType| of_type(name, delta, Key::Name(name.to_owned()), mode, false);
    let data_type = match delta {
        DeltaType::Primitive(primitive) => primitive_type(primitive, is_top).ok_or_else(unknown)?,
        DeltaType::Struct(fields) => {
            inner = fields.fields().map(|field| column(field, mode, false)).collect::<Result<Vec<_>, _>>()?;
            DataType::Struct(inner.iter().map(|column| Arc::clone(&column.field)).collect::<Fields>())
        }
        DeltaType::Array(array) => {
            inner.push(part("element", &array.element_type)?);
            DataType::List(Arc::clone(&inner[0].field))
        }
        DeltaType::Map(map) => {
            inner.push(part("key", &map.key_type)?);
            inner.push(part("value", &map.value_type)?);
            let key = inner[0].field.as_ref().clone().with_nullable(false);
            let entries = Fields::from(vec![Arc::new(key), Arc::clone(&inner[1].field)]);
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries), false)), false)
        }
        _ => return Err(unknown()),
    };
    Ok(Column { field: Arc::new(Field::new(name, data_type, true)), key, inner })
}

/// Top-level strings and binaries are views, as in all tables; nested ones have the type that files use.
fn primitive_type(primitive: &PrimitiveType, is_top: bool) -> Option<DataType> {
    Some(match primitive {
        PrimitiveType::String if is_top => DataType::Utf8View,
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Integer => DataType::Int32,
        PrimitiveType::Short => DataType::Int16,
        PrimitiveType::Byte => DataType::Int8,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Binary if is_top => DataType::BinaryView,
        PrimitiveType::Binary => DataType::Binary,
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        PrimitiveType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Decimal(decimal) => {
            DataType::Decimal128(decimal.precision(), i8::try_from(decimal.scale()).ok()?)
        }
        _ => return None,
    })
}
