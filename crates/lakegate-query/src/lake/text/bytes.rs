//! Reads a text file in pieces: decompressed, without a byte order mark, and limited in size.
//!
//! A piece may end anywhere, even within a character or a quoted value; the parsers join the parts.

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

/// Maximum decompressed size of one file, in bytes. A larger file would take too long to read through whenever it is
/// new.
const MOST_BYTES: u64 = 8 << 30;
/// Bytes read at once from a file in a local folder.
const PIECE: usize = 256 << 10;
/// Compressed bytes to decompress at once; gzip expands them at most a thousandfold.
const PACKED: usize = 4 << 10;
/// Bytes that one zstd step outputs at most.
const UNPACKED: usize = 128 << 10;

/// The pieces of one file.
pub(super) struct Pieces {
    packed: BoxStream<'static, Result<Bytes, StoreError>>,
    /// Bytes read from the file and not decompressed yet.
    waiting: Bytes,
    unpacker: Unpacker,
    compression: FileCompression,
    /// Decompressed bytes so far.
    bytes: u64,
    /// The first bytes, while they are too few to show whether they are a byte order mark.
    start: Option<Vec<u8>>,
    is_done: bool,
}

enum Unpacker {
    Plain,
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    /// The decoder, and whether it is between two frames.
    Zstd(Box<ZstdDecoder<'static>>, bool),
}

impl Pieces {
    /// Opens the version of the file that its path names.
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

    /// Decompresses a stream of bytes.
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

    /// The next piece, never empty; `None` at the end.
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

    /// Some decompressed bytes; `None` at the end.
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

    /// Decompresses a part of `waiting`.
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

    /// Decompresses the end of the file; fails if the file is truncated.
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
                // The decoder may hold back the end of a complete frame.
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

/// A file in a local folder, and how many of its bytes are left.
type Left = (File, u64);

/// Reads a piece of a file that has `left` bytes left. Fails if the file became shorter or longer, because it was then
/// changed.
fn read_on(mut file: File, left: u64, location: &Path) -> Result<Option<(Bytes, Left)>, StoreError> {
    // Reports the system's error without the path, because that is a path of the machine.
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

/// Length of the byte order mark at the start of the text; `None` while there are too few bytes to decide.
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
