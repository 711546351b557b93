//! Reads columns with a type declared in the project (`types`), and applies `on_error` to rows and values that do not
//! fit.
//!
//! Values are parsed as `ingest` parses them. Skipped values and rows are counted, and reported when the table is
//! opened.

use std::fmt;

use lakegate_core::project::ingest::PlainKind;
use lakegate_core::project::{OnError, TextFiles};
use serde_json::value::RawValue;

use super::cell;
use super::fault::TextFault;
use super::json;
use super::rows::{Row, Rows};
use crate::ingest::{Reading, Value};

/// Counts of values, rows and files that are not served as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Values read as NULL because they do not fit the declared type.
    pub values: u64,
    /// Rows left out.
    pub rows: u64,
    /// Files without any text.
    pub files: u64,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, rows, files } = self;
        write!(f, "{rows} rows left out, {values} values read as NULL, {files} empty files")
    }
}

impl Skipped {
    /// Whether everything is served as written.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.values += other.values;
        self.rows += other.rows;
        self.files += other.files;
    }
}

/// The declared columns of a file.
pub(super) struct Declared {
    columns: Vec<Column>,
    on_error: OnError,
    pub(super) skipped: Skipped,
}

struct Column {
    name: String,
    kind: PlainKind,
    reading: Reading,
    place: usize,
}

/// A row to keep, with the values of its declared columns.
pub(super) type Taken<'a> = (Row<'a>, Vec<Option<Value>>);

impl Declared {
    /// Selects the declared columns for which `is_wanted` is true; all of them with `on_error = "reject"`, because each
    /// can reject a row.
    pub(super) fn new(text: &TextFiles, columns: Option<&[String]>, is_wanted: impl Fn(&str) -> bool) -> Self {
        let decides = text.on_error == OnError::Reject;
        let wanted = text.types.iter().filter(|(name, _)| decides || is_wanted(name));
        let columns = wanted.map(|(name, kind)| {
            let place = columns.and_then(|columns| columns.iter().position(|column| column == name));
            Column { name: name.clone(), kind: *kind, reading: Reading::declared(*kind), place: place.unwrap_or(0) }
        });
        Self { columns: columns.collect(), on_error: text.on_error, skipped: Skipped::default() }
    }

    /// Index of a column among a row's declared values.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The row that `rows` is at; `None` if it is left out.
    pub(super) fn take<'r>(&mut self, rows: &'r Rows) -> Result<Option<Taken<'r>>, TextFault> {
        let row = match rows.row() {
            Ok(row) => row,
            Err(_) if self.on_error == OnError::Reject => {
                self.skipped.rows += 1;
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let mut values = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            match (column.read(&row), self.on_error) {
                (Ok(value), _) => values.push(value),
                (Err(what), OnError::Fail) => return Err(TextFault::at(rows.line(), what).in_column(&column.name)),
                (Err(_), OnError::Null) => {
                    self.skipped.values += 1;
                    values.push(None);
                }
                (Err(_), OnError::Reject) => {
                    self.skipped.rows += 1;
                    return Ok(None);
                }
            }
        }
        Ok(Some((row, values)))
    }
}

impl Column {
    fn read(&self, row: &Row<'_>) -> Result<Option<Value>, String> {
        match row.cell(self.place) {
            Some(text) => self.text(text),
            None => row.member(&self.name, self.place).map_or(Ok(None), |raw| self.json(raw)),
        }
    }

    fn text(&self, text: &str) -> Result<Option<Value>, String> {
        self.reading.text(text).map_err(|why| self.unfit(cell::kind(text), &why))
    }

    fn json(&self, raw: &RawValue) -> Result<Option<Value>, String> {
        let is_text = self.kind == PlainKind::String;
        match json::value(raw)? {
            json::Value::Null => Ok(None),
            json::Value::Text(text) if is_text => Ok(Some(Value::Text(text.into_owned()))),
            _ if is_text => Ok(Some(Value::Text(raw.get().to_owned()))),
            json::Value::Text(text) => self.text(&text),
            json::Value::Boolean(_) | json::Value::Number(_) => self.text(raw.get()),
            json::Value::List(_) => Err(self.unfit("a list", "it has several values")),
            json::Value::Object(_) => Err(self.unfit("an object", "it has several values")),
        }
    }

    fn unfit(&self, kind: &str, why: &str) -> String {
        let name = PlainKind::NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name);
        format!("it holds {kind}, and `types` says `{name}`: {why}")
    }
}
