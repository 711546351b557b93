//! A JSON array of records: `[{"a":1,"b":null},…]`.
//!
//! Every column is in every record, NULL as `null`; integers are written with all their digits; a float that is not
//! finite is `null`; a timestamp without a zone is ISO 8601 without one.

use bytes::Bytes;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::{JsonArray as ArrayFormat, Writer};
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::{Code, Error};

use super::Encoder;

/// The default format.
pub struct JsonArray {
    writer: Writer<Vec<u8>, ArrayFormat>,
}

impl JsonArray {
    /// An empty answer so far.
    pub fn new() -> Self {
        Self { writer: WriterBuilder::new().with_explicit_nulls(true).build(Vec::new()) }
    }

    fn taken(&mut self) -> Bytes {
        std::mem::take(self.writer.get_mut()).into()
    }
}

impl Default for JsonArray {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder for JsonArray {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        self.writer.write(batch).map_err(unwritable)?;
        Ok(self.taken())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.writer.finish().map_err(unwritable)?;
        Ok(self.taken())
    }
}

fn unwritable(error: ArrowError) -> Error {
    Error::new(Code::EngineFailed, "a value of the answer can not be written as JSON").source(error)
}
