//! The representations of a response: formats, content codings, and their negotiation.
//!
//! `lakegate` reads the headers, and `lakegate_query` encodes the bytes.

mod accept;
mod coding;
mod quality_values;

use std::fmt;

pub use accept::choose as choose_format;
pub use coding::{Coding, Compression, choose as choose_compression};

/// A response format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// A JSON array of records.
    Json,
    /// A JSON record on each line.
    Ndjson,
    /// Comma-separated text (RFC 4180) with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
    /// An Excel workbook.
    Xlsx,
}

/// The properties of a format.
struct FormatInfo {
    format: Format,
    /// The name in `?format=`, and in the text form of a [`Representation`].
    name: &'static str,
    /// The media types in `Accept`. The first is also used in `Content-Type`.
    media_types: &'static [&'static str],
    /// The parameters after the media type in `Content-Type`.
    parameters: &'static str,
    extension: &'static str,
    /// Whether it is a file that people save, rather than a body that programs read.
    is_file: bool,
    /// Whether the format has its own compression.
    is_compressed: bool,
}

/// Every format. If the caller has no preference, the first acceptable one is used.
const FORMATS: [FormatInfo; 6] = [
    FormatInfo {
        format: Format::Json,
        name: "json",
        media_types: &["application/json"],
        parameters: "",
        extension: "json",
        is_file: false,
        is_compressed: false,
    },
    FormatInfo {
        format: Format::Ndjson,
        name: "ndjson",
        media_types: &["application/x-ndjson", "application/ndjson", "application/jsonl"],
        parameters: "",
        extension: "ndjson",
        is_file: false,
        is_compressed: false,
    },
    FormatInfo {
        format: Format::Csv,
        name: "csv",
        media_types: &["text/csv"],
        parameters: "; charset=utf-8; header=present",
        extension: "csv",
        is_file: true,
        is_compressed: false,
    },
    FormatInfo {
        format: Format::Arrow,
        name: "arrow",
        media_types: &["application/vnd.apache.arrow.stream"],
        parameters: "",
        extension: "arrows",
        is_file: true,
        is_compressed: false,
    },
    FormatInfo {
        format: Format::Parquet,
        name: "parquet",
        media_types: &["application/vnd.apache.parquet"],
        parameters: "",
        extension: "parquet",
        is_file: true,
        is_compressed: true,
    },
    FormatInfo {
        format: Format::Xlsx,
        name: "xlsx",
        media_types: &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
        parameters: "",
        extension: "xlsx",
        is_file: true,
        is_compressed: true,
    },
];

impl Format {
    /// All formats, the default first.
    pub const ALL: [Self; 6] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow, Self::Parquet, Self::Xlsx];

    fn info(self) -> &'static FormatInfo {
        // The table is in the order of the variants; a test checks this.
        &FORMATS[self as usize]
    }

    /// The format with this exact name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|info| info.name == name).map(|info| info.format)
    }

    /// The name, as in `?format=`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The media type, without parameters.
    pub fn media_type(self) -> &'static str {
        self.info().media_types[0]
    }

    /// The media types that request it; the first is [`Self::media_type`].
    pub fn media_types(self) -> &'static [&'static str] {
        self.info().media_types
    }

    /// The media type with its parameters.
    pub fn content_type(self) -> String {
        format!("{}{}", self.media_type(), self.info().parameters)
    }

    /// The file extension, without a dot.
    pub fn extension(self) -> &'static str {
        self.info().extension
    }

    /// Whether responses are files that people save.
    pub fn is_file(self) -> bool {
        self.info().is_file
    }

    /// Whether the format has its own compression.
    pub fn is_compressed(self) -> bool {
        self.info().is_compressed
    }
}

/// Everything that a caller can choose about the bytes of a response, except its rows.
///
/// Two responses with the same rows and the same representation have the same content, although they may be split into
/// pieces and compressed blocks differently. Its text form is stable, so stored results can be keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Representation {
    /// The format.
    pub format: Format,
    /// The compression; `None` is uncompressed.
    pub compression: Option<Compression>,
    /// Whether CSV text that a spreadsheet would read as a formula is escaped.
    pub csv_guard: bool,
}

impl Representation {
    /// Default representation in this format.
    pub fn plain(format: Format) -> Self {
        Self { format, compression: None, csv_guard: true }
    }
}

impl fmt::Display for Representation {
    /// For example `json`, `csv.raw+gzip` or `json+zstd!`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.format.name())?;
        if self.format == Format::Csv && !self.csv_guard {
            f.write_str(".raw")?;
        }
        match self.compression {
            Some(compression) if compression.always => write!(f, "+{}!", compression.coding.name()),
            Some(compression) => write!(f, "+{}", compression.coding.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_formats() {
        for (info, format) in FORMATS.iter().zip(Format::ALL) {
            assert_eq!((info.format, format.info().format), (format, format));
            assert_eq!(Format::named(info.name), Some(format));
        }
    }

    #[test]
    fn a_csv_says_how_it_is_written() {
        assert_eq!(Format::Csv.content_type(), "text/csv; charset=utf-8; header=present");
        assert_eq!(Format::Json.content_type(), "application/json");
    }

    #[test]
    fn representations_differ_as_text_where_their_bytes_do() {
        let raw = Representation { csv_guard: false, ..Representation::plain(Format::Csv) };
        let zstd = Compression { coding: Coding::Zstd, always: false };
        let small_too = Compression { always: true, ..zstd };
        let json =
            |compression| Representation { compression: Some(compression), ..Representation::plain(Format::Json) };
        assert_eq!(Representation::plain(Format::Json).to_string(), "json");
        assert_eq!(raw.to_string(), "csv.raw");
        assert_eq!(json(zstd).to_string(), "json+zstd");
        assert_eq!(json(small_too).to_string(), "json+zstd!");
        // The guard only affects CSV.
        assert_eq!(Representation { format: Format::Ndjson, ..raw }.to_string(), "ndjson");
    }
}
