//! Reads Parquet's INTERVAL: months, days and milliseconds, each a 32-bit number. The Parquet decoder returns only two
//! of the three, so this module has the column decoded as its 12 bytes and builds the engine's interval from them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, Schema};
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::basic::Type as PhysicalType;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaData};
use datafusion::parquet::schema::types::Type;

use super::parquet::texts::with_schema;
use super::values::is_interval;

/// Size of an INTERVAL in bytes.
const WIDTH: i32 = 12;

/// The footer's metadata key for the names of its INTERVAL columns, one per line. A value that the file itself brings
/// is removed.
const NAMES: &str = "lakegate.intervals";

/// The type of intervals in tables.
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Rewrites the footer's schema so that INTERVAL columns decode as bytes.
pub(super) fn as_bytes(footer: ParquetMetaData) -> ParquetResult<ParquetMetaData> {
    let file = footer.file_metadata();
    let root = file.schema_descr().root_schema();
    let columns = file.schema_descr().columns();
    let is_one = |name: &str| columns.iter().any(|column| column.path().parts() == [name] && is_interval(column));
    let names = root.get_fields().iter().map(|field| field.name()).filter(|name| is_one(name));
    let names = names.map(str::to_owned).collect::<Vec<_>>();
    let has_note = file.key_value_metadata().is_some_and(|notes| notes.iter().any(|note| note.key == NAMES));
    if names.is_empty() && !has_note {
        return Ok(footer);
    }
    let fields = root.get_fields().iter().map(|field| match names.iter().any(|name| name == field.name()) {
        false => Ok(Arc::clone(field)),
        true => {
            let info = field.get_basic_info();
            Type::primitive_type_builder(field.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
                .with_length(WIDTH)
                .with_repetition(info.repetition())
                .with_id(info.has_id().then(|| info.id()))
                .build()
                .map(Arc::new)
        }
    });
    let root = Type::group_type_builder(root.name()).with_fields(fields.collect::<ParquetResult<_>>()?).build()?;
    let mut notes = file.key_value_metadata().cloned().unwrap_or_default();
    notes.retain(|note| note.key != NAMES);
    if !names.is_empty() {
        notes.push(KeyValue::new(NAMES.to_owned(), names.join("\n")));
    }
    Ok(with_schema(footer, root, Some(notes)))
}

/// The schema of decoded columns, with the interval type for the columns that [`as_bytes`] has rewritten.
pub(super) fn as_meant(footer: &ParquetMetaData, decoded: Schema) -> Schema {
    let notes = footer.file_metadata().key_value_metadata();
    let names = notes.and_then(|notes| notes.iter().find(|note| note.key == NAMES)?.value.as_deref());
    let Some(names) = names else { return decoded };
    let is_one = |name: &str| names.lines().any(|interval| interval == name);
    let fields = decoded.fields().iter().map(|field| match is_one(field.name()) {
        true => Arc::new(field.as_ref().clone().with_data_type(INTERVAL)),
        false => Arc::clone(field),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), decoded.metadata().clone())
}

/// Whether a column that decodes as the first type is an interval in its table.
pub(super) fn is_of(decoded: &DataType, table: &DataType) -> bool {
    *decoded == DataType::FixedSizeBinary(WIDTH) && *table == INTERVAL
}

/// Converts INTERVAL bytes to intervals.
///
/// # Errors
/// When a number has more than 31 bits, because writers do not agree on whether it is negative.
pub(super) fn of_bytes(bytes: &FixedSizeBinaryArray) -> Result<ArrayRef> {
    let interval = |value: &[u8]| {
        let part = |at: usize| {
            let bytes = value.get(at..at + 4).and_then(|part| <[u8; 4]>::try_from(part).ok());
            bytes.and_then(|bytes| i32::try_from(u32::from_le_bytes(bytes)).ok())
        };
        let (months, days, millis) = (part(0)?, part(4)?, part(8)?);
        Some(IntervalMonthDayNano::new(months, days, i64::from(millis) * 1_000_000))
    };
    let values = (0..bytes.len()).map(|row| match bytes.is_null(row) {
        true => Ok(None),
        false => interval(bytes.value(row)).map(Some).ok_or_else(|| {
            let text = "an INTERVAL has a number of more than 31 bits".to_owned();
            DataFusionError::ParquetError(Box::new(ParquetError::General(text)))
        }),
    });
    Ok(Arc::new(values.collect::<Result<IntervalMonthDayNanoArray>>()?))
}
