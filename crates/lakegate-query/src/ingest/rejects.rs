//! The report of rows that could not be taken: one line each, with file, line, column and why.
//!
//! It holds values of the files, shortened. It is for whoever has the files.

use std::io::{self, Write};

use serde_json::json;

/// How many characters of a value are told.
const SHOWN: usize = 60;
/// How many rejects are kept to be told at once.
const SAMPLES: usize = 5;

/// A row that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The file, as it was named.
    pub file: String,
    /// The line on which the row begins; of Parquet, the number of the row.
    pub line: u64,
    /// The column, where it is one.
    pub column: Option<String>,
    /// Why.
    pub why: String,
    /// The value, shortened.
    pub value: Option<String>,
}

/// Where rejects go.
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
    /// A report that is written as NDJSON, or as CSV.
    pub fn to(to: Box<dyn Write + Send>, is_csv: bool) -> Self {
        Self { to: Some(to), is_csv, ..Self::default() }
    }

    /// How many rows were rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The first of them.
    pub fn samples(&self) -> &[Reject] {
        &self.samples
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// When the file can not take it.
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

    /// A row that was read and gave way to a later one.
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

/// A value as a report tells it.
pub(super) fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
