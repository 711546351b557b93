//! Compresses the output of another encoder. Streaming, byte counts and caches then use the compressed bytes.
//!
//! A response that ends below [`TINY`] bytes is not compressed, because compression would make it larger.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use lakegate_core::error::{Code, Error};
use lakegate_core::format::{Coding, Compression};

use super::Encoder;

/// Minimum size of a response to be compressed, in bytes.
const TINY: usize = 1024;

const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: u32 = 4;
/// Brotli's window as a power of two, which limits its memory to a few megabytes per response.
const BROTLI_WINDOW: u32 = 20;
const BROTLI_BUFFER: usize = 32 * 1024;

/// An encoder with a content coding.
pub(super) struct Compressed {
    encoder: Box<dyn Encoder>,
    compression: Compression,
    state: State,
}

enum State {
    /// The output so far, which is too small to compress yet.
    Waiting(Vec<u8>),
    Compressing(Compressor),
    /// The response ended below the minimum size and is not compressed.
    Bare,
}

enum Compressor {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Compressed {
    pub(super) fn new(encoder: Box<dyn Encoder>, compression: Compression) -> Self {
        Self { encoder, compression, state: State::Waiting(Vec::new()) }
    }

    /// The compressor, after it has received all output so far and `more`.
    fn compressor(&mut self, more: &[u8]) -> io::Result<&mut Compressor> {
        if let State::Waiting(waiting) = &self.state {
            let mut compressor = Compressor::new(self.compression.coding)?;
            compressor.write(waiting)?;
            self.state = State::Compressing(compressor);
        }
        match &mut self.state {
            State::Compressing(compressor) => {
                compressor.write(more)?;
                Ok(compressor)
            }
            State::Waiting(_) | State::Bare => Err(io::Error::other("the answer is complete")),
        }
    }
}

impl Encoder for Compressed {
    fn write(&mut self, batch: &datafusion::arrow::record_batch::RecordBatch) -> Result<Bytes, Error> {
        let bytes = self.encoder.write(batch)?;
        if let State::Waiting(waiting) = &mut self.state
            && waiting.len() + bytes.len() < TINY
        {
            waiting.extend_from_slice(&bytes);
            return Ok(Bytes::new());
        }
        Ok(self.compressor(&bytes).map_err(failed)?.taken())
    }

    fn flush(&mut self) -> Result<Bytes, Error> {
        let bytes = self.encoder.flush()?;
        let compressor = self.compressor(&bytes).map_err(failed)?;
        compressor.flush().map_err(failed)?;
        Ok(compressor.taken())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        let bytes = self.encoder.finish()?;
        if let State::Waiting(waiting) = &mut self.state
            && !self.compression.always
            && waiting.len() + bytes.len() < TINY
        {
            let mut all = std::mem::take(waiting);
            all.extend_from_slice(&bytes);
            self.state = State::Bare;
            return Ok(all.into());
        }
        self.compressor(&bytes).map_err(failed)?.finish().map_err(failed)
    }

    fn coding(&self) -> Option<Coding> {
        match self.state {
            State::Bare => None,
            State::Waiting(_) | State::Compressing(_) => Some(self.compression.coding),
        }
    }

    fn is_slow_to_finish(&self) -> bool {
        self.encoder.is_slow_to_finish()
    }
}

impl Compressor {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            Coding::Brotli => {
                let (quality, window) = (BROTLI_QUALITY, BROTLI_WINDOW);
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, quality, window)))
            }
            Coding::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    fn taken(&mut self) -> Bytes {
        let out = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }

    /// Writes the end of the compressed stream. Without it, a decoder rejects the response as truncated.
    fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Zstd(encoder) => encoder.do_finish()?,
            Self::Gzip(encoder) => encoder.try_finish()?,
            Self::Brotli(encoder) => {
                // Brotli ends its stream only in `into_inner`; the new writer is never used.
                let next = brotli::CompressorWriter::new(Vec::new(), 1, BROTLI_QUALITY, BROTLI_WINDOW);
                let ended = std::mem::replace(encoder, Box::new(next));
                return Ok(ended.into_inner().into());
            }
        }
        Ok(self.taken())
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(Code::Internal, "the answer cannot be compressed").source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::arrow::record_batch::RecordBatch;
    use lakegate_core::format::{Format, Representation};
    use lakegate_core::project::Formats;

    use super::super::testing::{decoded, decoded_so_far};
    use super::*;

    fn numbers(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn encoder(coding: Coding, always: bool) -> Box<dyn Encoder> {
        let compression = Some(Compression { coding, always });
        let representation = Representation { compression, ..Representation::plain(Format::Json) };
        super::super::encoder(&representation, &numbers(0).schema(), &Formats::default()).unwrap()
    }

    #[test]
    fn a_tiny_answer_stays_as_it_is_unless_that_is_refused() {
        for coding in Coding::ALL {
            let mut tiny = encoder(coding, false);
            assert!(tiny.write(&numbers(2)).unwrap().is_empty());
            assert_eq!(tiny.finish().unwrap(), r#"[{"n":0},{"n":1}]"#);
            assert_eq!(tiny.coding(), None);

            let mut refused = encoder(coding, true);
            let mut bytes = refused.write(&numbers(2)).unwrap().to_vec();
            bytes.extend_from_slice(&refused.finish().unwrap());
            assert_eq!(refused.coding(), Some(coding));
            assert_eq!(decoded(coding, &bytes).unwrap(), br#"[{"n":0},{"n":1}]"#);
        }
    }

    #[test]
    fn what_was_flushed_can_be_read() {
        for coding in Coding::ALL {
            let mut encoder = encoder(coding, false);
            let mut bytes = encoder.write(&numbers(2)).unwrap().to_vec();
            bytes.extend_from_slice(&encoder.flush().unwrap());
            assert_eq!(decoded_so_far(coding, &bytes), br#"[{"n":0},{"n":1}"#, "{coding:?}");
            assert!(decoded(coding, &bytes).is_err(), "{coding:?}");
            bytes.extend_from_slice(&encoder.write(&numbers(1)).unwrap());
            bytes.extend_from_slice(&encoder.finish().unwrap());
            assert_eq!(decoded(coding, &bytes).unwrap(), br#"[{"n":0},{"n":1},{"n":0}]"#);
            assert_eq!(encoder.coding(), Some(coding));
        }
    }
}
