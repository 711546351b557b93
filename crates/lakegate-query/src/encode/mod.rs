//! Encoders: record batches become the bytes of an answer, a piece at a time.

mod json;

use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;

pub use json::JsonArray;

/// Turns batches into bytes.
pub trait Encoder: Send {
    /// The media type.
    fn content_type(&self) -> &'static str;

    /// The bytes of one batch; they may be none yet.
    ///
    /// # Errors
    /// When a value has no form in this format.
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error>;

    /// The bytes that complete the answer.
    ///
    /// # Errors
    /// When the answer can not be completed.
    fn finish(&mut self) -> Result<Bytes, Error>;
}
