//! The bytes of a text file, piece by piece: unpacked, without a byte order mark, and bounded.
//!
//! Pieces end anywhere, also within a character or a quoted value: what reads them joins them again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::stream::{self, BoxStream, StreamExt};
use lakegate_core::project::FileCompression;
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::fault::{TextFault, Unread};

/// The most text of one file, unpacked. More is read through for too long each time when it is new.
const MOST_BYTES: u64 = 8 << 30;
/// Bytes that are read of a file of a folder at once.
const PIECE: usize = 256 << 10;
/// Packed bytes that are unpacked at once: gzip makes of them at most a thousand times as many.
const PACKED: usize = 4 << 10;
/// Unpacked bytes that zstd gives at once.
const UNPACKED: usize = 128 << 10;

/// The pieces of one file.
pub(super) struct Pieces {
    packed: BoxStream<'static, Result<Bytes, StoreError>>,
    /// Bytes of the file that are not unpacked yet.
    waiting: Bytes,
    unpacker: Unpacker,
    compression: FileCompression,
    /// Unpacked bytes so far.
    bytes: u64,
    /// The first bytes, while they are too few to tell whether they are a byte order mark.
    start: Option<Vec<u8>>,
    is_done: bool,
}

enum Unpacker {
    Plain,
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    /// The decoder, and whether it stands between two frames.
    Zstd(Box<ZstdDecoder<'static>>, bool),
}

impl Pieces {
    /// Opens the file at the version that its path names.
    pub(super) async fn open(
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
        compression: FileCompression,
    ) -> Result<Self, Unread> {
        let packed = match store.get(&object.location).await?.payload {
            GetResultPayload::File(file, _) => {
                let location = object.location.clone();
                stream::try_unfold((file, object.size), move |(file, left)| {
                    std::future::ready(read_on(file, left, &location))
                })
                .boxed()
            }
            GetResultPayload::Stream(stream) => stream,
        };
        Self::new(packed, compression)
    }

    /// The pieces of a stream of packed bytes.
    pub(super) fn new(
        packed: BoxStream<'static, Result<Bytes, StoreError>>,
        compression: FileCompression,
    ) -> Result<Self, Unread> {
        let unpacker = match compression {
            FileCompression::None => Unpacker::Plain,
            FileCompression::Gzip => Unpacker::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            FileCompression::Zstd => {
                Unpacker::Zstd(Box::new(ZstdDecoder::new().map_err(|error| unpacked(compression, &error))?), true)
            }
        };
        let (waiting, start) = (Bytes::new(), Some(Vec::new()));
        Ok(Self { packed, waiting, unpacker, compression, bytes: 0, start, is_done: false })
    }

    /// The next piece, which is not empty; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        loop {
            let Some(piece) = self.unpack().await? else {
                let short = self.start.take().unwrap_or_default();
                return Ok((!short.is_empty()).then(|| Bytes::from(short)));
            };
            self.bytes += piece.len() as u64;
            if self.bytes > MOST_BYTES {
                let what = format!("it has more than {} GiB of text; ingest it", MOST_BYTES >> 30);
                return Err(TextFault::new(what).into());
            }
            let piece = match self.start.take() {
                None => piece,
                Some(mut start) => {
                    start.extend_from_slice(&piece);
                    match without_mark(&start)? {
                        Some(length) => Bytes::from(start).slice(length..),
                        None => {
                            self.start = Some(start);
                            continue;
                        }
                    }
                }
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Some unpacked bytes; `None` at the end.
    async fn unpack(&mut self) -> Result<Option<Bytes>, Unread> {
        loop {
            if self.waiting.is_empty() && !self.is_done {
                match self.packed.next().await.transpose()? {
                    Some(piece) => self.waiting = piece,
                    None => {
                        self.is_done = true;
                        let last = self.finish().map_err(|error| unpacked(self.compression, &error))?;
                        return Ok((!last.is_empty()).then(|| Bytes::from(last)));
                    }
                }
            }
            if self.is_done {
                return Ok(None);
            }
            let piece = self.step().map_err(|error| unpacked(self.compression, &error))?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Unpacks a part of what waits.
    fn step(&mut self) -> io::Result<Bytes> {
        match &mut self.unpacker {
            Unpacker::Plain => Ok(std::mem::take(&mut self.waiting)),
            Unpacker::Gzip(decoder) => {
                let part = self.waiting.split_to(self.waiting.len().min(PACKED));
                decoder.write_all(&part)?;
                Ok(Bytes::from(std::mem::take(decoder.get_mut())))
            }
            Unpacker::Zstd(decoder, is_between) => {
                let mut unpacked = Vec::with_capacity(UNPACKED);
                let mut input = InBuffer::around(&self.waiting);
                if *is_between && !self.waiting.is_empty() {
                    decoder.reinit()?;
                }
                let hint = decoder.run(&mut input, &mut OutBuffer::around(&mut unpacked))?;
                *is_between = hint == 0;
                let read = input.pos();
                drop(self.waiting.split_to(read));
                Ok(Bytes::from(unpacked))
            }
        }
    }

    /// Unpacks the end of the file; fails where it is cut off.
    fn finish(&mut self) -> io::Result<Vec<u8>> {
        match &mut self.unpacker {
            Unpacker::Plain => Ok(Vec::new()),
            Unpacker::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Unpacker::Zstd(_, true) => Ok(Vec::new()),
            Unpacker::Zstd(decoder, false) => {
                let mut before = 0;
                // The decoder may hold back the end of a frame that is whole.
                let mut unpacked = Vec::new();
                loop {
                    let mut more = Vec::with_capacity(UNPACKED);
                    let hint = decoder.run(&mut InBuffer::around(&[]), &mut OutBuffer::around(&mut more))?;
                    unpacked.append(&mut more);
                    match (hint, unpacked.len()) {
                        (0, _) => return Ok(unpacked),
                        (_, length) if length > before => before = length,
                        _ => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a frame is cut off")),
                    }
                }
            }
        }
    }
}

/// A file of a folder, and how many of its bytes are left.
type Left = (File, u64);

/// Reads a piece of a file of which so many bytes are left. One that has become shorter or longer is another one.
fn read_on(mut file: File, left: u64, location: &Path) -> Result<Option<(Bytes, Left)>, StoreError> {
    // The error of the system is without a path, which would be one of the machine.
    let failed = |source: io::Error| StoreError::Generic { store: "lake", source: Box::new(source) };
    let mut piece = vec![0; PIECE];
    let count = loop {
        match file.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.map_err(failed)?,
        }
    };
    piece.truncate(count);
    match (count, left.checked_sub(count as u64)) {
        (0, Some(0)) => Ok(None),
        (1.., Some(left)) => Ok(Some((Bytes::from(piece), (file, left)))),
        _ => {
            let source = "the file has changed while it was read".into();
            Err(StoreError::Precondition { path: location.to_string(), source })
        }
    }
}

fn unpacked(compression: FileCompression, error: &io::Error) -> TextFault {
    TextFault::new(format!("it is not whole or not {}: {error}", compression.name()))
}

/// How long the byte order mark is with which the text begins; `None` while that cannot be told.
fn without_mark(start: &[u8]) -> Result<Option<usize>, TextFault> {
    const UTF_8: &[u8] = b"\xEF\xBB\xBF";
    if start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF") {
        return Err(TextFault::at(1, "it is in UTF-16, and not UTF-8; files in other encodings are to be ingested"));
    }
    Ok(match start {
        start if start.starts_with(UTF_8) => Some(UTF_8.len()),
        start if UTF_8.starts_with(start) => None,
        b"\xFF" | b"\xFE" => None,
        _ => Some(0),
    })
}
