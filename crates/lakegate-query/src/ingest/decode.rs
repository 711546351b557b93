//! Decodes the bytes of a source file into UTF-8: decompresses, converts the encoding, and limits the size of a record.
//!
//! A byte order mark overrides the recipe's encoding. Invalid bytes become U+FFFD, so the row is rejected.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::files::SourceFile;
use super::{IngestError, Progress};

/// Size limit of a record, in bytes.
const MOST_RECORD_BYTES: i64 = 64 << 20;
/// Bytes that encoding detection reads.
const SNIFFED: usize = 4096;

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    pub(super) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// State that the decoded text shares with the reader of its records.
#[derive(Clone, Debug)]
pub(super) struct Allowed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes that the current record may still use.
    bytes: AtomicI64,
    /// Whether the first line ends with CR LF.
    is_crlf: AtomicBool,
    /// Whether the first line has ended.
    has_ended: AtomicBool,
}

impl Allowed {
    fn new() -> Self {
        let bytes = AtomicI64::new(MOST_RECORD_BYTES);
        Self(Arc::new(Shared { bytes, is_crlf: AtomicBool::new(false), has_ended: AtomicBool::new(false) }))
    }

    /// Resets the limit for the next record.
    pub(super) fn refill(&self) {
        self.0.bytes.store(MOST_RECORD_BYTES, Ordering::Relaxed);
    }

    /// Whether lines end with CR LF, as far as they were read.
    pub(super) fn is_crlf(&self) -> bool {
        self.0.is_crlf.load(Ordering::Relaxed)
    }

    fn see(&self, text: &[u8]) {
        if self.0.has_ended.load(Ordering::Relaxed) {
            return;
        }
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            self.0.has_ended.store(true, Ordering::Relaxed);
            self.0.is_crlf.store(end > 0 && text[end - 1] == b'\r', Ordering::Relaxed);
        }
    }
}

/// The decoded text of a file.
pub(super) struct Text<'a> {
    raw: Box<dyn BufRead + Send + 'a>,
    decoder: Decoder,
    decoded: Vec<u8>,
    at: usize,
    is_done: bool,
    allowed: Allowed,
}

/// Looks up an encoding by label; an unknown label is an error with advice.
pub(super) fn encoding(label: &str) -> Result<&'static Encoding, IngestError> {
    let name = match label.to_ascii_lowercase().as_str() {
        "utf16" => "utf-16le".to_owned(),
        "utf16le" => "utf-16le".to_owned(),
        "utf16be" => "utf-16be".to_owned(),
        other => other.to_owned(),
    };
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        IngestError::unfit(
            format!("there is no encoding `{label}`"),
            "use `utf-8`, `utf-16le`, `utf-16be`, `latin1` or `windows-1252`",
        )
    })
}

/// Opens a file as text.
pub(super) fn open<'a>(
    file: &SourceFile,
    declared: Option<&str>,
    progress: Option<&'a dyn Progress>,
) -> Result<(Text<'a>, Allowed), IngestError> {
    let declared = declared.map(encoding).transpose()?;
    let failed = || IngestError::unread(&file.shown);
    let opened = File::open(&file.path).map_err(failed())?;
    let mut counted = BufReader::with_capacity(1 << 16, Counted { file: opened, progress });
    let packing = Packing::of(counted.fill_buf().map_err(failed())?.get(..4).unwrap_or_default());
    let mut raw: Box<dyn BufRead + Send + 'a> = match packing {
        Packing::None => Box::new(counted),
        Packing::Gzip => Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(counted))),
        Packing::Zstd => {
            let unpacked = zstd::stream::read::Decoder::with_buffer(counted).map_err(failed())?;
            Box::new(BufReader::with_capacity(1 << 16, unpacked))
        }
    };
    let start = raw.fill_buf().map_err(failed())?;
    let start = &start[..start.len().min(SNIFFED)];
    let encoding = match Encoding::for_bom(start) {
        Some((encoding, _)) => encoding,
        None => declared.unwrap_or_else(|| sniffed(start)),
    };
    let allowed = Allowed::new();
    let decoder = encoding.new_decoder_with_bom_removal();
    let text = Text { raw, decoder, decoded: Vec::new(), at: 0, is_done: false, allowed: allowed.clone() };
    Ok((text, allowed))
}

/// Detects UTF-16 without a byte order mark: table text is mostly ASCII, so every other byte is zero.
fn sniffed(start: &[u8]) -> &'static Encoding {
    let zeros = |odd: usize| start.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), start.len() / 2);
    if start.len() < 4 {
        UTF_8
    } else if even > half / 2 && odd < half / 8 {
        UTF_16BE
    } else if odd > half / 2 && even < half / 8 {
        UTF_16LE
    } else {
        UTF_8
    }
}

impl Read for Text<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.decoded.len() && !self.is_done {
            self.decode()?;
        }
        let count = (self.decoded.len() - self.at).min(buffer.len());
        buffer[..count].copy_from_slice(&self.decoded[self.at..self.at + count]);
        self.at += count;
        if self.allowed.0.bytes.fetch_sub(count as i64, Ordering::Relaxed) < count as i64 {
            let message = "a row is larger than 64 MiB; is the quote or the delimiter another one?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(count)
    }
}

impl Text<'_> {
    fn decode(&mut self) -> io::Result<()> {
        let raw = self.raw.fill_buf()?;
        let is_last = raw.is_empty();
        self.decoded.resize(self.decoder.max_utf8_buffer_length(raw.len()).unwrap_or(raw.len() * 3 + 16), 0);
        let (_, read, written, _) = self.decoder.decode_to_utf8(raw, &mut self.decoded, is_last);
        self.raw.consume(read);
        self.decoded.truncate(written);
        self.allowed.see(&self.decoded);
        self.at = 0;
        self.is_done = is_last;
        Ok(())
    }
}

/// Reports the bytes read to `progress`.
struct Counted<'a> {
    file: File,
    progress: Option<&'a dyn Progress>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(progress) = self.progress {
            progress.advance(count as u64);
        }
        Ok(count)
    }
}
