//! An encoder with a limit on the response size, counted before compression.

use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;
use lakegate_core::format::Coding;

use super::Encoder;
use crate::engine::too_many_bytes;

/// Fails once the output exceeds `most` bytes.
pub(super) struct Bounded {
    encoder: Box<dyn Encoder>,
    most: u64,
    bytes: u64,
}

impl Bounded {
    pub(super) fn new(encoder: Box<dyn Encoder>, most: u64) -> Self {
        Self { encoder, most, bytes: 0 }
    }

    fn counted(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most { Err(too_many_bytes(self.most)) } else { Ok(bytes) }
    }
}

impl Encoder for Bounded {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let bytes = self.encoder.write(batch)?;
        self.counted(bytes)
    }

    fn flush(&mut self) -> Result<Bytes, Error> {
        let bytes = self.encoder.flush()?;
        self.counted(bytes)
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        let bytes = self.encoder.finish()?;
        self.counted(bytes)
    }

    fn coding(&self) -> Option<Coding> {
        self.encoder.coding()
    }

    fn is_slow_to_finish(&self) -> bool {
        self.encoder.is_slow_to_finish()
    }
}
