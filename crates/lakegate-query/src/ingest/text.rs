//! Reads the rows of CSV and NDJSON files one by one, each with its line number.
//!
//! A row that cannot be read is returned with the reason; reading continues with the next row.

use std::io::{self, BufRead, BufReader, Read};

use csv::StringRecord;
use lakegate_core::project::ingest::{SourceFormat, TextOptions};
use serde_json::{Map, Value as Json};

use super::decode::{self, Allowed, Text};
use super::files::SourceFile;
use super::numbers;
use super::quotes::Quotes;
use super::{IngestError, Progress};

/// Delimiters that detection tries.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The content of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// No value.
    Missing,
    Text(&'a str),
    Json(&'a Json),
}

/// One row.
#[derive(Debug)]
pub(super) enum Row<'a> {
    Csv(&'a StringRecord),
    Object(&'a Map<String, Json>),
}

/// The rows of a file.
pub(super) enum Rows<'a> {
    Csv { reader: csv::Reader<Quotes<Text<'a>>>, record: StringRecord, columns: Vec<String>, allowed: Allowed },
    Ndjson { reader: BufReader<Text<'a>>, line: u64, object: Map<String, Json>, allowed: Allowed },
}

/// The line number, and the row or the reason why it is invalid.
pub(super) type Read1<'r> = (u64, Result<Row<'r>, String>);

impl<'a> Rows<'a> {
    pub(super) fn open(
        file: &SourceFile,
        options: &TextOptions,
        progress: Option<&'a dyn Progress>,
    ) -> Result<Self, IngestError> {
        let (text, allowed) = decode::open(file, options.encoding.as_deref(), progress)?;
        if file.format == SourceFormat::Ndjson {
            return Ok(Self::Ndjson { reader: BufReader::new(text), line: 0, object: Map::new(), allowed });
        }
        let delimiter = match options.delimiter {
            Some(delimiter) => delimiter,
            None => detect(file, options)?,
        };
        let mut reader = builder(options, delimiter).from_reader(Quotes::new(text, options.quote, delimiter));
        let mut record = StringRecord::new();
        let columns = match &options.header {
            Some(header) => header.clone(),
            None => {
                read(&mut reader, &mut record, &allowed).map_err(IngestError::unread(&file.shown))?;
                if has_text_behind(&mut reader) {
                    let what = format!("the header of `{}`: {TEXT_BEHIND}", file.shown);
                    return Err(IngestError::unfit(what, "correct the file, or say another `quote`"));
                }
                record.iter().map(|name| name.trim().to_owned()).collect()
            }
        };
        if columns.is_empty() {
            return Err(IngestError::unfit(format!("`{}` has no header line", file.shown), "is it empty?"));
        }
        if let Some((at, name)) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
            let what = format!("`{}` has the column `{name}` twice, the second time in place {}", file.shown, at + 1);
            return Err(IngestError::unfit(what, "name the columns in `header`, or correct the file"));
        }
        if let Some(at) = columns.iter().position(String::is_empty) {
            let what = format!("column {} of `{}` has no name", at + 1, file.shown);
            return Err(IngestError::unfit(what, "name the columns in `header`, or correct the file"));
        }
        Ok(Self::Csv { reader, record, columns, allowed })
    }

    /// The columns, if the file names them before its rows.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match self {
            Self::Csv { columns, .. } => Some(columns),
            Self::Ndjson { .. } => None,
        }
    }

    /// The next row; `None` at the end. An error concerns the file as a whole: nothing after it can be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Read1<'_>>> {
        match self {
            Self::Csv { reader, record, columns, allowed } => {
                if !read(reader, record, allowed)? {
                    return Ok(None);
                }
                let line = line(record, reader.position().line(), allowed.is_crlf());
                if has_text_behind(reader) {
                    return Ok(Some((line, Err(TEXT_BEHIND.to_owned()))));
                }
                let (found, wanted) = (record.len(), columns.len());
                if found != wanted {
                    return Ok(Some((line, Err(format!("it has {found} cells, and the header {wanted}")))));
                }
                Ok(Some((line, Ok(Row::Csv(record)))))
            }
            Self::Ndjson { reader, line, object, allowed } => loop {
                allowed.refill();
                let mut text = String::new();
                // The decoder limits the length of a line.
                if reader.read_line(&mut text)? == 0 {
                    return Ok(None);
                }
                *line += 1;
                if text.trim().is_empty() {
                    continue;
                }
                return Ok(Some((
                    *line,
                    match numbers::json(&text) {
                        Ok(Json::Object(read)) => {
                            *object = read;
                            Ok(Row::Object(object))
                        }
                        Ok(_) => Err("it is not a JSON object".to_owned()),
                        Err(error) => Err(format!("it is not JSON: {error}")),
                    },
                )));
            },
        }
    }
}

impl<'a> Row<'a> {
    /// The cell of a column: by index in CSV, by name in NDJSON.
    pub(super) fn cell(&self, place: usize, name: &str) -> Cell<'a> {
        match self {
            Self::Csv(record) => record.get(place).map_or(Cell::Missing, Cell::Text),
            Self::Object(object) => match object.get(name) {
                None | Some(Json::Null) => Cell::Missing,
                Some(value) => Cell::Json(value),
            },
        }
    }

    /// Whether some text could not be decoded.
    pub(super) fn has_undecoded(&self) -> bool {
        match self {
            Self::Csv(record) => record.as_slice().contains('\u{FFFD}'),
            Self::Object(object) => {
                object.values().any(|value| value.as_str().is_some_and(|text| text.contains('\u{FFFD}')))
            }
        }
    }
}

/// The line at which a record begins. The reader's position is too early after empty lines or a CR LF.
fn line(record: &StringRecord, after: u64, is_crlf: bool) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let lag = u64::from(is_crlf);
    let from_start = position.line() + if position.byte() > 0 { lag } else { 0 };
    let inner = record.as_slice().matches('\n').count() as u64;
    from_start.max((after + lag).saturating_sub(1 + inner))
}

fn builder(options: &TextOptions, delimiter: u8) -> csv::ReaderBuilder {
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    match options.quote {
        Some(quote) => builder.quote(quote),
        None => builder.quoting(false),
    };
    builder
}

/// Why a row with text behind a closing quote is rejected.
const TEXT_BEHIND: &str = "text stands behind a closing quote; a quote in a quoted value is written twice";

/// Whether the record that was just read has text behind a closing quote.
fn has_text_behind<R: Read>(reader: &mut csv::Reader<Quotes<R>>) -> bool {
    let end = reader.position().byte();
    reader.get_mut().has_text_behind(end)
}

/// Reads a record. An unclosed quote is an error of the file, because nobody knows how many rows it contains.
fn read<R: Read>(
    reader: &mut csv::Reader<Quotes<R>>,
    record: &mut StringRecord,
    allowed: &Allowed,
) -> io::Result<bool> {
    allowed.refill();
    let is_one = reader.read_record(record).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, "it is not text"),
    })?;
    match reader.get_ref().unclosed() {
        None => Ok(is_one),
        Some(line) => {
            let message = format!(
                "it ends in a quoted value that begins in line {line}; is it cut off, or is `quote` another one?"
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Detects the delimiter: the one that splits the first lines into equally many cells, and into the most.
fn detect(file: &SourceFile, options: &TextOptions) -> Result<u8, IngestError> {
    let (text, _) = decode::open(file, options.encoding.as_deref(), None)?;
    let mut start = Vec::new();
    text.take(1 << 16).read_to_end(&mut start).map_err(IngestError::unread(&file.shown))?;
    let start = String::from_utf8_lossy(&start).into_owned();
    let score = |delimiter: u8| {
        let mut reader = builder(options, delimiter).from_reader(start.as_bytes());
        let mut counts = reader.records().take(50).map_while(Result::ok).map(|record| record.len());
        let first = counts.next().unwrap_or(0);
        let (mut same, mut all) = (0_usize, 0_usize);
        for count in counts {
            all += 1;
            same += usize::from(count == first);
        }
        // The last record may be truncated, so one may differ.
        let is_even = same + 1 >= all;
        (is_even && first > 1, first)
    };
    let best = DELIMITERS.into_iter().max_by_key(|delimiter| {
        let place = DELIMITERS.iter().position(|other| other == delimiter).unwrap_or(0);
        (score(*delimiter), DELIMITERS.len() - place)
    });
    Ok(best.unwrap_or(b','))
}
