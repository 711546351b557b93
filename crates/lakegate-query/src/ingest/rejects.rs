//! The report of rejected rows: one line per row, with file, line, column and reason.
//!
//! It contains shortened values of the files, so only people with access to the files should read it.

use std::io::{self, Write};

use serde_json::json;

/// Characters of a value that are shown.
const SHOWN: usize = 60;
/// Rejected rows that are kept in memory, to be shown after the run.
const SAMPLES: usize = 5;

/// A rejected row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The file, as the recipe names it.
    pub file: String,
    /// Line at which the row begins; for Parquet, the row number.
    pub line: u64,
    /// The column with the fault; `None` when the whole row is invalid.
    pub column: Option<String>,
    /// The reason.
    pub why: String,
    /// The value, shortened.
    pub value: Option<String>,
}

/// Collects rejected rows, and writes them to a file.
#[derive(Default)]
pub struct Report {
    to: Option<Box<dyn Write + Send>>,
    is_csv: bool,
    rejected: u64,
    samples: Vec<Reject>,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("rejected", &self.rejected).finish_non_exhaustive()
    }
}

impl Report {
    /// A report that is written to `to` as NDJSON or CSV.
    pub fn to(to: Box<dyn Write + Send>, is_csv: bool) -> Self {
        Self { to: Some(to), is_csv, ..Self::default() }
    }

    /// Number of rejected rows.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The first rejected rows.
    pub fn samples(&self) -> &[Reject] {
        &self.samples
    }

    /// Flushes the report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(to) = &mut self.to {
            if self.is_csv && self.rejected == 0 {
                to.write_all(HEADER)?;
            }
            to.flush()?;
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, reject: Reject) -> io::Result<()> {
        if self.is_csv && self.rejected == 0 {
            self.line(HEADER)?;
        }
        self.rejected += 1;
        self.write(&reject, "rejected")?;
        if self.samples.len() < SAMPLES {
            self.samples.push(reject);
        }
        Ok(())
    }

    /// Reports a row that was read, but superseded by a later one.
    pub(super) fn superseded(&mut self, file: &str, line: u64, by: u64) -> io::Result<()> {
        let why = format!("the row of line {by} has the same key and is later");
        let reject = Reject { file: file.to_owned(), line, column: None, why, value: None };
        self.write(&reject, "superseded")
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), |to| to.write_all(line))
    }

    fn write(&mut self, reject: &Reject, what: &str) -> io::Result<()> {
        if self.to.is_none() {
            return Ok(());
        }
        let Reject { file, line, column, why, value } = reject;
        if self.is_csv {
            let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
            let (column, value) = (column.as_deref().unwrap_or_default(), value.as_deref().unwrap_or_default());
            writer.write_record([file.as_str(), &line.to_string(), column, why.as_str(), value, what])?;
            let record = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
            return self.line(&record);
        }
        let object = json!({
            "file": file, "line": line, "column": column, "why": why, "value": value, "what": what,
        });
        self.line(format!("{object}\n").as_bytes())
    }
}

const HEADER: &[u8] = b"file,line,column,why,value,what\n";

/// Shortens a value for the report.
pub(super) fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
