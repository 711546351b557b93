//! Text files of a table, CSV and NDJSON: how the engine is told to read them, and what is looked at before it may.
//!
//! The engine holds a whole line in memory and takes every byte for UTF-8. A line without end, such as one of a few bytes
//! that become gigabytes when they are unpacked, is found here first, in a memory that does not grow.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::StreamExt;
use lakegate_core::project::{Compression, FileFormat, TextFiles};

use super::columns::Unreadable;
use super::parquet::Parquet;
use super::pinned::plain;
use super::store::is_away;

/// The longest line, in bytes: the engine has a whole one in memory.
const MOST_LINE_BYTES: usize = 16 << 20;
/// The most text of one file, unpacked. More is read through for too long each time when it is new.
const MOST_BYTES: u64 = 8 << 30;
/// The most bytes of a file of NDJSON as it lies: the engine has all of it in memory when it looks for columns.
const MOST_NDJSON_BYTES: u64 = 512 << 20;
/// The most columns of a table.
pub(super) const MOST_COLUMNS: usize = 2_000;

/// How the engine reads files of a format.
pub(super) fn engine_format(format: FileFormat, compression: Compression, text: &TextFiles) -> Arc<dyn Format> {
    let compression = match compression {
        Compression::None => FileCompressionType::UNCOMPRESSED,
        Compression::Gzip => FileCompressionType::GZIP,
        Compression::Zstd => FileCompressionType::ZSTD,
    };
    // The whole file is looked at, so that no row further down can be of another type than the column.
    match format {
        FileFormat::Parquet => Arc::new(Parquet::default()),
        FileFormat::Csv => Arc::new(
            CsvFormat::default()
                .with_has_header(text.has_header)
                .with_delimiter(text.delimiter)
                .with_schema_infer_max_rec(usize::MAX)
                .with_file_compression_type(compression),
        ),
        FileFormat::NdJson => Arc::new(
            JsonFormat::default()
                .with_newline_delimited(true)
                .with_schema_infer_max_rec(usize::MAX)
                .with_file_compression_type(compression),
        ),
    }
}

/// Reads a text file from end to end, and says what the engine could not bear.
pub(super) async fn check(
    store: &Arc<dyn ObjectStore>,
    is_remote: bool,
    object: &ObjectMeta,
    format: FileFormat,
    compression: Compression,
    text: &TextFiles,
) -> Result<(), Unreadable> {
    let wrong = |text: String| Unreadable { text, is_passing: false }.of(object);
    if format == FileFormat::NdJson && object.size > MOST_NDJSON_BYTES {
        return Err(wrong(format!(
            "is larger than {} MiB, which is too much NDJSON to be read as it is; ingest it",
            MOST_NDJSON_BYTES >> 20
        )));
    }
    let away = |error: datafusion::object_store::Error| {
        let is_passing = match &error {
            datafusion::object_store::Error::Precondition { .. } | datafusion::object_store::Error::NotFound { .. } => {
                true
            }
            error => is_remote && is_away(error),
        };
        Unreadable { text: error.to_string(), is_passing }.of(object)
    };
    let mut bytes = store.get(&object.location).await.map_err(away)?.into_stream();
    let mut unpacked = Unpacked::new(compression, Lines::new(format == FileFormat::Csv, text.delimiter))
        .map_err(|error| wrong(error.to_string()))?;
    while let Some(some) = bytes.next().await {
        let some = some.map_err(away)?;
        unpacked.write(&some).map_err(|error| wrong(said(&error, compression, &object.location)))?;
    }
    unpacked.finish().map_err(|error| wrong(said(&error, compression, &object.location)))
}

/// What is said of a file; what the unpacker says is about the file as it lies.
fn said(error: &io::Error, compression: Compression, location: &datafusion::object_store::path::Path) -> String {
    match error.get_ref().is_some_and(|inner| inner.is::<Fault>()) {
        true => error.to_string(),
        false => {
            let name = plain(location).rsplit('/').next().unwrap_or_default();
            format!("`{name}` is not whole or not {}: {error}", compression.name())
        }
    }
}

/// What is wrong with text, as the end of a sentence.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("a line is longer than {} MiB", MOST_LINE_BYTES >> 20)]
    Line,
    #[error("it has more than {} GiB of text; ingest it", MOST_BYTES >> 30)]
    Size,
    #[error("it has more than {MOST_COLUMNS} columns")]
    Columns,
    #[error("it is not UTF-8 at byte {0}; files in other encodings are to be ingested")]
    Encoding(u64),
    #[error("it ends within a quoted value")]
    Quote,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Unpacks what is written to it, and looks at the text.
enum Unpacked {
    Plain(Lines),
    Gzip(Box<flate2::write::MultiGzDecoder<Lines>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Lines>>),
}

impl Unpacked {
    fn new(compression: Compression, lines: Lines) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(lines),
            Compression::Gzip => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(lines))),
            Compression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Decoder::new(lines)?)),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(lines) => lines.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        let lines = match self {
            Self::Plain(lines) => lines,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        lines.finish()
    }
}

/// Looks at text that is written to it piece by piece.
struct Lines {
    is_csv: bool,
    delimiter: u8,
    /// All bytes so far.
    bytes: u64,
    /// Those of the line that is not at its end yet.
    line: usize,
    is_quoted: bool,
    /// Delimiters of the first line, until it is at its end.
    delimiters: Option<usize>,
    /// The begin of a character whose end has not come yet.
    part: Vec<u8>,
}

impl Lines {
    fn new(is_csv: bool, delimiter: u8) -> Self {
        let delimiters = is_csv.then_some(0);
        Self { is_csv, delimiter, bytes: 0, line: 0, is_quoted: false, delimiters, part: Vec::new() }
    }

    fn look(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.check_encoding(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > MOST_BYTES {
            return Err(Fault::Size);
        }
        for byte in bytes {
            self.line += 1;
            match *byte {
                b'"' if self.is_csv => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => (self.line, self.delimiters) = (0, None),
                byte if byte == self.delimiter && !self.is_quoted => {
                    if let Some(delimiters) = &mut self.delimiters {
                        *delimiters += 1;
                        if *delimiters >= MOST_COLUMNS {
                            return Err(Fault::Columns);
                        }
                    }
                }
                _ => {}
            }
            if self.line > MOST_LINE_BYTES {
                return Err(Fault::Line);
            }
        }
        Ok(())
    }

    /// A character may come in two pieces.
    fn check_encoding(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let joined;
        let held = self.part.len() as u64;
        let text = match self.part.is_empty() {
            true => bytes,
            false => {
                joined = [self.part.as_slice(), bytes].concat();
                &joined
            }
        };
        let (good, part) = match std::str::from_utf8(text) {
            Ok(text) => (text, Vec::new()),
            Err(error) => {
                let at = error.valid_up_to();
                if error.error_len().is_some() {
                    return Err(Fault::Encoding(self.bytes + at as u64 - held));
                }
                (std::str::from_utf8(&text[..at]).unwrap_or_default(), text[at..].to_vec())
            }
        };
        // Text of two bytes a character without a mark at its begin is full of these.
        if let Some(at) = good.bytes().position(|byte| byte == 0) {
            return Err(Fault::Encoding(self.bytes + at as u64 - held.min(at as u64)));
        }
        self.part = part;
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        if !self.part.is_empty() {
            return Err(Fault::Encoding(self.bytes - self.part.len() as u64).into());
        }
        if self.is_quoted {
            return Err(Fault::Quote.into());
        }
        Ok(())
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pieces: &[&[u8]]) -> Result<(), String> {
        let mut lines = Lines::new(true, b',');
        for piece in pieces {
            lines.write_all(piece).map_err(|error| error.to_string())?;
        }
        lines.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn text_in_pieces_is_text() {
        assert_eq!(look(&["a,é\n".as_bytes()]), Ok(()));
        let text = "name\nJos\u{e9} \u{1f600}\n".as_bytes();
        for at in 0..text.len() {
            assert_eq!(look(&[&text[..at], &text[at..]]), Ok(()), "{at}");
        }
    }

    #[test]
    fn other_encodings_are_told_with_their_place() {
        assert!(look(&[b"name\nJos\xe9,\n"]).unwrap_err().contains("at byte 8"));
        assert!(look(&[b"\xff\xfea\0"]).unwrap_err().contains("at byte 0"));
        assert!(look(&[b"a\0b\0"]).unwrap_err().contains("at byte 1"));
        assert!(look(&[b"name\nJos\xc3"]).unwrap_err().contains("at byte 8"));
    }

    #[test]
    fn lines_without_end_are_found() {
        let piece = vec![b'x'; 1 << 20];
        assert!(look(&[piece.as_slice(); 17]).unwrap_err().contains("longer than 16 MiB"));
        let quoted = [b"a\n\"".as_slice(), &[b'\n'; 1 << 20]].concat();
        assert!(look(&[quoted.as_slice()]).unwrap_err().contains("within a quoted value"));
        assert!(look(&[b",".repeat(9_999).as_slice()]).unwrap_err().contains("more than 2000 columns"));
    }
}
