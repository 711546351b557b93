//! Encodes compacted batches as an Arrow IPC stream.

use bytes::Bytes;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::seal::Seal;
use super::tail::Tail;
use super::{Encoder, unwritable_as};

/// More bytes than a message can lose and still be read.
const HELD_BACK: usize = 8;

/// The stream: schema, one message per batch, and the end-of-stream marker. The end of the last message is held back
/// until the next write, because a stream without the marker still reads as complete.
pub(super) struct ArrowStream {
    writer: StreamWriter<Vec<u8>>,
    seal: Seal,
    tail: Tail,
}

impl ArrowStream {
    pub(super) fn new(schema: &Schema) -> Result<Self, Error> {
        let seal = Seal::new(schema, |_| None);
        let writer = StreamWriter::try_new(Vec::new(), seal.schema()).map_err(unwritable_as(Format::Arrow))?;
        Ok(Self { writer, seal, tail: Tail::of(HELD_BACK) })
    }
}

impl Encoder for ArrowStream {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let sealed = self.seal.batch(batch).map_err(unwritable_as(Format::Arrow))?;
        self.writer.write(&sealed).map_err(unwritable_as(Format::Arrow))?;
        Ok(self.tail.after(std::mem::take(self.writer.get_mut())))
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.writer.finish().map_err(unwritable_as(Format::Arrow))?;
        Ok(self.tail.released(std::mem::take(self.writer.get_mut())))
    }
}
