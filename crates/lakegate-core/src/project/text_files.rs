//! Parses the text file options of `[tables.NAME]`: `compression`, `delimiter`, `header`, `types` and `on_error`.
//!
//! Files must be UTF-8; files in other encodings have to be ingested.

use std::ops::Range;

use super::config::FileFormat;
use super::ingest::PlainKind;
use super::reader::Section;

/// The compression of a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileCompression {
    /// Uncompressed.
    None,
    /// gzip, `.gz`.
    Gzip,
    /// Zstandard, `.zst`.
    Zstd,
}

impl FileCompression {
    /// The compression that a file's last extension indicates.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name in the project.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The handling of values that are not of the declared type, and of rows that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnError {
    /// The table is not served.
    #[default]
    Fail,
    /// The value becomes NULL; a row that cannot be read is still a fault.
    Null,
    /// The row is left out.
    Reject,
}

impl OnError {
    /// The choices by name.
    pub const NAMES: [(&str, Self); 3] = [("fail", Self::Fail), ("null", Self::Null), ("reject", Self::Reject)];
}

/// The format of a table's text files, as far as the project declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFiles {
    /// The compression; `None` derives it from the files' names.
    pub compression: Option<FileCompression>,
    /// The delimiter of CSV.
    pub delimiter: u8,
    /// Whether the first line of a CSV file holds column names.
    pub has_header: bool,
    /// The declared types of columns; other types are inferred from the values.
    pub types: Vec<(String, PlainKind)>,
    /// The handling of values and rows that do not fit.
    pub on_error: OnError,
}

impl Default for TextFiles {
    fn default() -> Self {
        Self { compression: None, delimiter: b',', has_header: true, types: Vec::new(), on_error: OnError::Fail }
    }
}

pub(super) fn read(section: &mut Section<'_, '_>, format: Option<FileFormat>) -> TextFiles {
    let source = section.source();
    let mut files = TextFiles::default();
    let report = |span: &Range<usize>, message: String, help: &str| source.report(span, message, Some(help.to_owned()));
    if let Some(compression) = section.string("compression") {
        files.compression = match compression.value.as_str() {
            "none" => Some(FileCompression::None),
            "gzip" => Some(FileCompression::Gzip),
            "zstd" => Some(FileCompression::Zstd),
            other => {
                report(&compression.span, format!("`{other}` is not a compression"), "use `gzip`, `zstd` or `none`");
                None
            }
        };
        if format == Some(FileFormat::Parquet) {
            let message = "`compression` has no meaning for Parquet".to_owned();
            report(&compression.span, message, "remove it: Parquet files say it themselves");
        }
    }
    let not_csv = format.is_some_and(|format| format != FileFormat::Csv);
    if let Some(delimiter) = section.string("delimiter") {
        match delimiter.value.as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => {
                files.delimiter = *byte;
            }
            _ => report(
                &delimiter.span,
                "`delimiter` must be one character between values".to_owned(),
                "write it like `delimiter = \";\"` or `delimiter = \"\\t\"`; other files are to be ingested",
            ),
        }
        if not_csv {
            report(&delimiter.span, "`delimiter` has a meaning for CSV alone".to_owned(), "remove it");
        }
    }
    if let Some(header) = section.boolean("header") {
        files.has_header = header.value;
        if not_csv {
            report(&header.span, "`header` has a meaning for CSV alone".to_owned(), "remove it");
        }
    }
    let not_text = format == Some(FileFormat::Parquet);
    if let Some(types) = section.section("types") {
        if not_text {
            report(types.span(), "`types` has a meaning for CSV and NDJSON alone".to_owned(), "remove it");
        }
        for (column, kind) in types.named_strings() {
            match PlainKind::from_name(&kind.value) {
                Some(known) => files.types.push((column.value, known)),
                None => {
                    let names = PlainKind::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
                    report(
                        &kind.span,
                        format!("`{}` is not a type of a column", kind.value),
                        &format!("use one of {names}"),
                    );
                }
            }
        }
    }
    if let Some(on_error) = section.string("on_error") {
        match OnError::NAMES.iter().find(|(name, _)| *name == on_error.value) {
            Some((_, known)) => files.on_error = *known,
            None => {
                let message = format!("`{}` is not a way to go on", on_error.value);
                report(&on_error.span, message, "use `fail`, `null` or `reject`");
            }
        }
        if not_text {
            report(&on_error.span, "`on_error` has a meaning for CSV and NDJSON alone".to_owned(), "remove it");
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (TextFiles, Vec<String>) {
        let text = format!("[lake]\nlocation = \"l\"\n[tables.t]\nlocation = \"t\"\nshared = true\n{text}");
        let (config, findings) = config::read(&text, &Default::default());
        let findings = findings.iter().map(ToString::to_string).collect();
        (config.tables.get("t").map(|table| table.text.clone()).unwrap_or_default(), findings)
    }

    #[test]
    fn text_files_say_how_they_are_written() {
        assert_eq!(read(""), (TextFiles::default(), vec![]));
        let text = "format = \"csv\"\ncompression = \"gzip\"\ndelimiter = \"\\t\"\nheader = false";
        let default = TextFiles::default();
        let files =
            TextFiles { compression: Some(FileCompression::Gzip), delimiter: b'\t', has_header: false, ..default };
        assert_eq!(read(text), (files, vec![]));
        let text = "on_error = \"reject\"\ntypes = { id = \"string\", \"the day\" = \"date\" }";
        let types = vec![("id".to_owned(), PlainKind::String), ("the day".to_owned(), PlainKind::Date)];
        let files = TextFiles { types, on_error: OnError::Reject, ..TextFiles::default() };
        assert_eq!(read(text), (files, vec![]));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, said) in [
            ("compression = \"rar\"", "`rar` is not a compression"),
            ("format = \"parquet\"\ncompression = \"zstd\"", "no meaning for Parquet"),
            ("delimiter = \"||\"", "one character"),
            ("delimiter = \"a\"", "one character"),
            ("format = \"ndjson\"\nheader = true", "for CSV alone"),
            ("format = \"json\"", "`json` is not a format"),
            ("types = { a = \"int\" }", "`int` is not a type of a column"),
            ("on_error = \"skip\"", "`skip` is not a way to go on"),
            ("format = \"parquet\"\non_error = \"null\"", "for CSV and NDJSON alone"),
            ("format = \"parquet\"\ntypes = { a = \"string\" }", "for CSV and NDJSON alone"),
        ] {
            let (_, findings) = read(text);
            assert!(findings.len() == 1 && findings[0].contains(said), "{text}: {findings:?}");
        }
    }
}
