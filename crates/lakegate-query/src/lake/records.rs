//! Reads a whole Parquet or CSV file into memory as plain values, for small tables.
//!
//! Not for endpoints, because nothing here is governed or streamed. It serves tables that an operator passes to a
//! command, such as an access-control table to import. Sizes are bounded, and a broken file is an error and never a
//! panic.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::errors::ParquetError;
use lakegate_core::value::Scalar;

/// Maximum file size in bytes.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
/// Maximum number of rows.
const MOST_ROWS: usize = 2_000_000;
/// Maximum number of columns.
const MOST_COLUMNS: usize = 2_000;
/// Maximum number of cells. Every 4 bytes of text count as one more cell.
const MOST_CELLS: usize = 50_000_000;
/// Rows per decoded batch.
const BATCH: usize = 1_024;

/// The first and the last four bytes of a Parquet file.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// A table as plain values. `Debug` prints no cell, because cells may contain keys.
#[derive(Clone, PartialEq)]
pub struct Records {
    /// The column names.
    pub columns: Vec<String>,
    /// The cells by row; `None` is NULL. Every cell of a CSV file is text, and an empty cell is NULL.
    pub rows: Vec<Vec<Option<Scalar>>>,
}

/// Why a file cannot be read as a table.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Opening or reading the file failed.
    #[error("the file cannot be read")]
    Io(#[from] std::io::Error),
    /// It is not a regular file.
    #[error("it is not a file")]
    NotAFile,
    /// It contains no bytes.
    #[error("the file is empty")]
    Empty,
    /// It exceeds a limit.
    #[error("the file is too large: {found} {unit}, and at most {most} are read")]
    TooLarge {
        /// The size found, in `unit`.
        found: u64,
        /// The unit, such as `bytes` or `rows`.
        unit: &'static str,
        /// The maximum, in `unit`.
        most: u64,
    },
    /// The bytes are not valid Parquet.
    #[error("the file is not valid Parquet, or is cut off")]
    Parquet(#[source] ParquetError),
    /// The bytes are not valid Parquet, found while decoding.
    #[error("the file is not valid Parquet, or is cut off")]
    Decode(#[source] ArrowError),
    /// The decoder panicked, so the bytes are not valid Parquet.
    #[error("the file is not valid Parquet, or is cut off")]
    Damaged,
    /// A column has a type without a plain value.
    #[error(
        "column `{column}` has the type {found}, which is not read here; use text, numbers, booleans, dates or timestamps"
    )]
    Type {
        /// The column's name.
        column: String,
        /// The column's Arrow type.
        found: String,
    },
    /// A value is out of range for its plain type.
    #[error("column `{column}` has a value that is out of range")]
    Value {
        /// The column's name.
        column: String,
    },
    /// The bytes are not text.
    #[error("the file is neither Parquet nor CSV text in UTF-8 or UTF-16")]
    NotText,
    /// A row has more or fewer cells than the header, or a quote is not closed.
    #[error("the CSV is malformed: {0}")]
    Csv(String),
}

/// Reads the file. Its first bytes decide the format, not its name.
pub fn read_records(path: &Path) -> Result<Records, RecordsError> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(RecordsError::NotAFile);
    }
    bounded(metadata.len(), "bytes", MOST_BYTES)?;
    let mut bytes = Vec::new();
    // The file may grow during the read.
    file.by_ref().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    bounded(bytes.len() as u64, "bytes", MOST_BYTES)?;
    if bytes.is_empty() {
        return Err(RecordsError::Empty);
    }
    if !bytes.starts_with(PARQUET_MAGIC) {
        return csv(&bytes);
    }
    // The decoder trusts some lengths in the file and panics when they are wrong.
    std::panic::catch_unwind(|| parquet(bytes)).unwrap_or(Err(RecordsError::Damaged))
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("columns", &self.columns).field("rows", &self.rows.len()).finish()
    }
}

fn parquet(bytes: Vec<u8>) -> Result<Records, RecordsError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).map_err(RecordsError::Parquet)?;
    let schema = std::sync::Arc::clone(builder.schema());
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    bounded(columns.len() as u64, "columns", MOST_COLUMNS as u64)?;
    let mut targets = Vec::with_capacity(columns.len());
    for field in schema.fields() {
        let target = plain_type(field.data_type());
        targets.push(target.ok_or_else(|| RecordsError::Type {
            column: field.name().clone(),
            found: field.data_type().to_string(),
        })?);
    }
    let announced = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(u64::MAX);
    bounded(announced, "rows", MOST_ROWS as u64)?;

    let mut budget = Budget::default();
    let mut rows = Vec::new();
    for batch in builder.with_batch_size(BATCH).build().map_err(RecordsError::Parquet)? {
        let batch = batch.map_err(RecordsError::Decode)?;
        bounded((rows.len() + batch.num_rows()) as u64, "rows", MOST_ROWS as u64)?;
        append(&mut rows, &batch, &columns, &targets, &mut budget)?;
    }
    Ok(Records { columns, rows })
}

/// The Arrow type to cast a column to; `None` when it has no plain value.
fn plain_type(found: &DataType) -> Option<DataType> {
    match found {
        DataType::Boolean | DataType::Null => Some(DataType::Boolean),
        found if found.is_integer() => Some(DataType::Int64),
        DataType::Decimal32(_, 0)
        | DataType::Decimal64(_, 0)
        | DataType::Decimal128(_, 0)
        | DataType::Decimal256(_, 0) => Some(DataType::Int64),
        found if found.is_floating() || found.is_decimal() => Some(DataType::Float64),
        // Old writers store text as bytes without an annotation.
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => Some(DataType::Utf8),
        DataType::Date32 | DataType::Date64 => Some(DataType::Date32),
        DataType::Timestamp(_, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())))
        }
        DataType::Dictionary(_, values) => plain_type(values),
        _ => None,
    }
}

fn append(
    rows: &mut Vec<Vec<Option<Scalar>>>,
    batch: &RecordBatch,
    columns: &[String],
    targets: &[DataType],
    budget: &mut Budget,
) -> Result<(), RecordsError> {
    // `safe` would turn values that do not fit into NULL.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let start = rows.len();
    rows.resize_with(start + batch.num_rows(), || Vec::with_capacity(columns.len()));
    for ((column, target), array) in columns.iter().zip(targets).zip(batch.columns()) {
        let out_of_range = || RecordsError::Value { column: column.clone() };
        let array = cast_with_options(array, target, &options).map_err(|_| out_of_range())?;
        for (index, row) in rows[start..].iter_mut().enumerate() {
            let cell = if array.is_null(index) { None } else { Some(scalar(&array, index).ok_or_else(out_of_range)?) };
            budget.spend(cell.as_ref())?;
            row.push(cell);
        }
    }
    Ok(())
}

/// The value at a row of an array that has one of the plain types.
fn scalar(array: &dyn Array, index: usize) -> Option<Scalar> {
    match array.data_type() {
        DataType::Boolean => Some(Scalar::Boolean(array.as_boolean().value(index))),
        DataType::Int64 => Some(Scalar::Integer(array.as_primitive::<Int64Type>().value(index))),
        DataType::Float64 => Some(Scalar::Number(array.as_primitive::<Float64Type>().value(index))),
        DataType::Utf8 => Some(Scalar::String(array.as_string::<i32>().value(index).to_owned())),
        DataType::Date32 => array.as_primitive::<Date32Type>().value_as_date(index).map(Scalar::Date),
        DataType::Timestamp(..) => array
            .as_primitive::<TimestampMicrosecondType>()
            .value_as_datetime(index)
            .map(|time| Scalar::Timestamp(time.and_utc())),
        _ => None,
    }
}

fn csv(bytes: &[u8]) -> Result<Records, RecordsError> {
    let text = decode(bytes)?;
    let malformed = |error: ::csv::Error| RecordsError::Csv(error.to_string());
    let mut reader =
        ::csv::ReaderBuilder::new().delimiter(delimiter(&text)).flexible(false).from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().map_err(malformed)?.iter().map(str::to_owned).collect();
    bounded(columns.len() as u64, "columns", MOST_COLUMNS as u64)?;
    let mut budget = Budget::default();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        bounded(rows.len() as u64 + 1, "rows", MOST_ROWS as u64)?;
        let mut row = Vec::with_capacity(columns.len());
        for cell in &record {
            let cell = (!cell.is_empty()).then(|| Scalar::String(cell.to_owned()));
            budget.spend(cell.as_ref())?;
            row.push(cell);
        }
        rows.push(row);
    }
    Ok(Records { columns, rows })
}

/// Decodes UTF-8 with or without a byte-order mark, or UTF-16 with one.
fn decode(bytes: &[u8]) -> Result<String, RecordsError> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => str::from_utf8(rest).map(str::to_owned).ok(),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        rest => str::from_utf8(rest).map(str::to_owned).ok(),
    };
    text.filter(|text| !text.contains('\0')).ok_or(RecordsError::NotText)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    let units: Vec<u16> = units.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16(&units).ok()
}

/// A semicolon when the header has more semicolons than commas, as spreadsheets in many countries write CSV; else a
/// comma.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: char| header.matches(delimiter).count();
    if count(';') > count(',') { b';' } else { b',' }
}

/// Counts cells and text against [`MOST_CELLS`].
#[derive(Default)]
struct Budget {
    spent: usize,
}

impl Budget {
    fn spend(&mut self, cell: Option<&Scalar>) -> Result<(), RecordsError> {
        let text = match cell {
            Some(Scalar::String(text)) => text.len() / 4,
            _ => 0,
        };
        self.spent += 1 + text;
        bounded(self.spent as u64, "cells", MOST_CELLS as u64)
    }
}

fn bounded(found: u64, unit: &'static str, most: u64) -> Result<(), RecordsError> {
    if found > most { Err(RecordsError::TooLarge { found, unit, most }) } else { Ok(()) }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
