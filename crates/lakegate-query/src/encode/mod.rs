//! Encoders: record batches become the bytes of an answer, a piece at a time.
//!
//! Which format and coding it is to be was decided before: see [`lakegate_core::format`].

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
use lakegate_core::error::{Code, Error, Source};
use lakegate_core::format::{Coding, Format, Representation};
use lakegate_core::project::Formats;

pub use json::JsonArray;
pub(crate) use plain::fault;

/// Turns batches into bytes.
///
/// Nothing that completes an answer is given before [`Self::finish`]: bytes that end sooner do not read as a whole answer,
/// as far as the format can tell.
pub trait Encoder: Send {
    /// The bytes of one batch; they may be none yet.
    ///
    /// # Errors
    /// When a value has no form in this format, or there are more rows than the format takes.
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error>;

    /// What is held back only to be written better together with more; asked for when rows come slowly.
    ///
    /// # Errors
    /// When it can not be written.
    fn flush(&mut self) -> Result<Bytes, Error> {
        Ok(Bytes::new())
    }

    /// The bytes that complete the answer.
    ///
    /// # Errors
    /// When the answer can not be completed.
    fn finish(&mut self) -> Result<Bytes, Error>;

    /// How the bytes are compressed. It is settled once bytes were given, and at the end.
    fn coding(&self) -> Option<Coding> {
        None
    }

    /// Whether most of the work is done by [`Self::finish`], which is better done where it holds nobody up.
    fn is_slow_to_finish(&self) -> bool {
        false
    }
}

/// The encoder of a representation, for rows of this schema.
///
/// # Errors
/// When a column has no form in the format.
pub fn encoder(
    representation: &Representation,
    schema: &SchemaRef,
    formats: &Formats,
) -> Result<Box<dyn Encoder>, Error> {
    bounded_encoder(representation, schema, formats, None)
}

/// The same, for an answer that may have so many bytes before they are compressed.
///
/// # Errors
/// When a column has no form in the format.
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

/// The error for a caller; what the library said goes to the log.
fn unwritable(format: Format, source: impl Into<Source>) -> Error {
    let detail = format!("a value of the answer can not be written as {}", format.name());
    Error::new(Code::EngineFailed, detail).source(source)
}

/// The same, as a function of the library's error.
fn unwritable_as(format: Format) -> impl Fn(ArrowError) -> Error {
    move |error| unwritable(format, error)
}
