//! Iterates over the rows of one text file, independently of the pieces in which it is read.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use lakegate_core::project::FileFormat;
use serde_json::value::RawValue;

use super::Layout;
use super::bytes::Pieces;
use super::csv::{Cells, Records};
use super::fault::{TextFault, Unread};
use super::json::{self, Members};
use super::lines::Lines;

/// A cursor over the rows of a file.
pub(super) struct Rows {
    pieces: Pieces,
    input: Bytes,
    is_done: bool,
    /// Whether the file has any text.
    has_text: bool,
    source: Source,
}

enum Source {
    Csv {
        records: Records,
        /// The column names; `None` if the file has no records.
        columns: Option<Vec<String>>,
        /// Whether the first record is a row, not a header, and `advance` has not returned it yet.
        is_waiting: bool,
    },
    Ndjson(Lines),
}

/// One row.
pub(super) enum Row<'a> {
    Cells(Cells<'a>),
    Members(Members<'a>),
}

impl Rows {
    /// Opens a file and reads its header.
    pub(super) async fn open(
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
        layout: &Layout,
    ) -> Result<Self, Unread> {
        Self::new(Pieces::open(store, object, layout.compression).await?, layout).await
    }

    /// Reads rows from pieces.
    pub(super) async fn new(pieces: Pieces, layout: &Layout) -> Result<Self, Unread> {
        let source = match layout.format {
            FileFormat::NdJson => Source::Ndjson(Lines::new()),
            _ => Source::Csv { records: Records::new(layout.text.delimiter), columns: None, is_waiting: false },
        };
        let mut rows = Self { pieces, input: Bytes::new(), is_done: false, has_text: false, source };
        if matches!(rows.source, Source::Csv { .. }) && rows.advance().await? {
            rows.begin(layout.text.has_header)?;
        }
        Ok(rows)
    }

    /// Uses the first record as the header or as the first row.
    fn begin(&mut self, has_header: bool) -> Result<(), TextFault> {
        let Source::Csv { records, columns, is_waiting } = &mut self.source else { return Ok(()) };
        let cells = records.record().cells()?;
        *is_waiting = !has_header;
        let names = match has_header {
            false => (1..=cells.len()).map(|at| format!("column_{at}")).collect(),
            true => header(cells, records.record().line)?,
        };
        *columns = Some(names);
        Ok(())
    }

    /// The column names of a CSV file; `None` for NDJSON or a file without records.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match &self.source {
            Source::Csv { columns, .. } => columns.as_deref(),
            Source::Ndjson(_) => None,
        }
    }

    pub(super) fn is_csv(&self) -> bool {
        matches!(self.source, Source::Csv { .. })
    }

    /// Whether the file is empty, without even a header.
    pub(super) fn is_empty(&self) -> bool {
        match &self.source {
            Source::Csv { columns, .. } => columns.is_none(),
            Source::Ndjson(_) => !self.has_text,
        }
    }

    /// Moves to the next row; false at the end.
    pub(super) async fn advance(&mut self) -> Result<bool, Unread> {
        if let Source::Csv { is_waiting: is_waiting @ true, .. } = &mut self.source {
            *is_waiting = false;
            return Ok(true);
        }
        while !self.is_done {
            let mut input = self.input.as_ref();
            let is_row = match &mut self.source {
                Source::Csv { records, .. } => records.read(&mut input)?,
                Source::Ndjson(lines) => lines.read(&mut input)?,
            };
            let left = input.len();
            drop(self.input.split_to(self.input.len() - left));
            if is_row {
                return Ok(true);
            }
            match self.pieces.next().await? {
                Some(piece) => (self.input, self.has_text) = (piece, true),
                None => {
                    self.is_done = true;
                    return Ok(match &mut self.source {
                        Source::Csv { records, .. } => records.finish()?,
                        Source::Ndjson(lines) => lines.finish(),
                    });
                }
            }
        }
        Ok(false)
    }

    /// The line where the row begins.
    pub(super) fn line(&self) -> u64 {
        match &self.source {
            Source::Csv { records, .. } => records.record().line,
            Source::Ndjson(lines) => lines.number(),
        }
    }

    /// Size of the row's text, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.source {
            Source::Csv { records, .. } => records.record().size(),
            Source::Ndjson(lines) => lines.size(),
        }
    }

    /// The current row; fails if it is malformed.
    pub(super) fn row(&self) -> Result<Row<'_>, TextFault> {
        match &self.source {
            Source::Csv { records, columns, .. } => {
                let cells = records.record().cells()?;
                let (found, wanted) = (cells.len(), columns.as_deref().unwrap_or_default().len());
                if found != wanted {
                    let what = format!("it has {found} cells, and the first line {wanted}");
                    return Err(TextFault::at(records.record().line, what));
                }
                Ok(Row::Cells(cells))
            }
            Source::Ndjson(lines) => {
                let told = |what| TextFault::at(lines.number(), what);
                Ok(Row::Members(json::object(lines.text()?).map_err(told)?))
            }
        }
    }
}

impl<'a> Row<'a> {
    /// The text of a CSV cell; `None` for NDJSON.
    pub(super) fn cell(&self, place: usize) -> Option<&'a str> {
        match self {
            Self::Cells(cells) => Some(cells.get(place)),
            Self::Members(_) => None,
        }
    }

    /// The value of an NDJSON member, expected at index `place`; `None` if there is none.
    pub(super) fn member(&self, name: &str, place: usize) -> Option<&'a RawValue> {
        match self {
            Self::Cells(_) => None,
            Self::Members(members) => members.get(name, place),
        }
    }
}

/// The names in a header; fails if two are equal.
fn header(cells: Cells<'_>, line: u64) -> Result<Vec<String>, TextFault> {
    let names = cells.iter().map(str::to_owned).collect::<Vec<_>>();
    if names.iter().any(|name| name.contains('\0')) {
        let what = "the header has NUL bytes, so it is not UTF-8; files in other encodings are to be ingested";
        return Err(TextFault::at(line, what));
    }
    let mut places = std::collections::HashMap::new();
    for (at, name) in names.iter().enumerate() {
        if let Some(before) = places.insert(name, at) {
            let (one, other) = (before + 1, at + 1);
            let what = format!("columns {one} and {other} are both called `{name}`; give one of them another name");
            return Err(TextFault::at(line, what));
        }
    }
    Ok(names)
}
