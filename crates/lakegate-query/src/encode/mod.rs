//! Encoders: convert record batches into the bytes of a response, piece by piece.
//!
//! [`lakegate_core::format`] chooses the format and the coding.

mod arrow;
mod bounded;
mod cells;
mod compressed;
mod csv;
mod decimal;
mod formula;
mod interval;
mod json;
mod moment;
mod parquet;
mod plain;
mod quoted;
mod seal;
mod tail;
mod values;
mod xlsx;

#[cfg(test)]
mod canary_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod testing;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::{Cause, Code, Error};
use lakegate_core::format::{Coding, Format, Representation};
use lakegate_core::project::Formats;

pub use json::JsonArray;
pub(crate) use plain::fault;

/// Encodes batches as bytes.
///
/// No call before [`Self::finish`] returns bytes that complete the response. A response that ends earlier therefore
/// does not read as complete, as far as the format can show that.
pub trait Encoder: Send {
    /// Encodes a batch. The returned bytes may be empty.
    ///
    /// # Errors
    /// When the format cannot represent a value, or the response exceeds the row limit of the format.
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error>;

    /// Returns the bytes that are held back only to be written in larger pieces. Call this when rows arrive slowly.
    ///
    /// # Errors
    /// When the bytes cannot be written.
    fn flush(&mut self) -> Result<Bytes, Error> {
        Ok(Bytes::new())
    }

    /// Returns the bytes that complete the response.
    ///
    /// # Errors
    /// When the response cannot be completed.
    fn finish(&mut self) -> Result<Bytes, Error>;

    /// The content coding of the bytes; `None` if uncompressed. Final after the first bytes, or after `finish`.
    fn coding(&self) -> Option<Coding> {
        None
    }

    /// Whether [`Self::finish`] does most of the work, so that the caller should run it on a blocking thread.
    fn is_slow_to_finish(&self) -> bool {
        false
    }
}

/// The encoder of a representation, for rows of this schema.
///
/// # Errors
/// When the format cannot represent a column.
pub fn encoder(
    representation: &Representation,
    schema: &SchemaRef,
    formats: &Formats,
) -> Result<Box<dyn Encoder>, Error> {
    bounded_encoder(representation, schema, formats, None)
}

/// Like [`encoder`], but fails once the response exceeds `most_bytes` before compression.
///
/// # Errors
/// When the format cannot represent a column.
pub fn bounded_encoder(
    representation: &Representation,
    schema: &SchemaRef,
    formats: &Formats,
    most_bytes: Option<u64>,
) -> Result<Box<dyn Encoder>, Error> {
    let encoder: Box<dyn Encoder> = match representation.format {
        Format::Json => Box::new(JsonArray::new()),
        Format::Ndjson => Box::new(json::JsonLines::new()),
        Format::Csv => Box::new(csv::Csv::new(schema, representation.csv_guard)),
        Format::Arrow => Box::new(arrow::ArrowStream::new(schema)?),
        Format::Parquet => Box::new(parquet::ParquetFile::new(schema)?),
        Format::Xlsx => Box::new(xlsx::Workbook::new(schema, formats.xlsx_max_rows)?),
    };
    let encoder = match most_bytes {
        Some(most) => Box::new(bounded::Bounded::new(encoder, most)),
        None => encoder,
    };
    Ok(match representation.compression {
        Some(compression) => Box::new(compressed::Compressed::new(encoder, compression)),
        None => encoder,
    })
}

/// The error for the caller; the library's error goes to the log as its source.
fn unwritable(format: Format, source: impl Into<Cause>) -> Error {
    let detail = format!("a value of the answer cannot be written as {}", format.name());
    Error::new(Code::EngineFailed, detail).source(source)
}

/// Converts an [`ArrowError`] into the error for the caller, for `map_err`.
fn unwritable_as(format: Format) -> impl Fn(ArrowError) -> Error {
    move |error| unwritable(format, error)
}
