//! Suggests a project for a lake's files: names of tables, likely tenant keys, likely personal columns, and the text of
//! `[tables.*]`.
//!
//! A suggestion is no policy: the generated text fails `check` until somebody decides who sees the rows. Reads no
//! files: the found tables are an argument.

mod config_text;
mod keys;
mod known;
mod names;
mod personal;
mod words;

use std::collections::BTreeMap;

pub use config_text::{Declared, declared, new_project_text, table_text};
pub use keys::{Suggestion, suggest};
pub use known::is_same_location;
pub use names::{table_name, unique_names};
pub use personal::{MaskIdea, suggest_mask};

use crate::value::ScalarType;

/// A table that was found in a lake.
#[derive(Clone, Debug, Default)]
pub struct FoundTable {
    /// The suggested SQL name.
    pub name: String,
    /// The location of its files, below the lake.
    pub location: String,
    /// The format: `parquet`, `csv`, `ndjson`, `delta` or `iceberg`.
    pub format: String,
    /// Whether the project must state the format, because the files' extension does not.
    pub needs_format_key: bool,
    /// The delimiter of a text file, if it is not a comma.
    pub delimiter: Option<char>,
    /// Number of files; 0 if they were not counted.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Number of rows, if it is known without reading them.
    pub rows: Option<u64>,
    /// The columns of the files.
    pub columns: Vec<FoundColumn>,
    /// The hive partition columns with their types, outermost first.
    pub partitions: Vec<(String, ScalarType)>,
    /// Remarks for the reader of the generated text.
    pub notes: Vec<String>,
}

/// A column of a found table.
#[derive(Clone, Debug)]
pub struct FoundColumn {
    /// The name in the files.
    pub name: String,
    /// The type, for display.
    pub type_name: String,
    /// The class of values, on which suggestions of keys and masks depend.
    pub kind: ColumnClass,
    /// Statistics from a sample of rows.
    pub sample: Option<ColumnSample>,
    /// The smallest and the largest integer.
    pub range: Option<(i128, i128)>,
}

/// The class of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnClass {
    /// Whole numbers.
    Integer,
    /// Text.
    Text,
    /// A date or a time.
    Time,
    /// Anything else.
    Other,
}

/// Statistics of a column in a sample of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSample {
    /// Number of rows in the sample.
    pub rows: usize,
    /// Number of NULLs.
    pub nulls: usize,
    /// Number of distinct values.
    pub distinct: usize,
}

impl ColumnSample {
    /// Whether the sample has several rows, all with distinct non-NULL values.
    pub fn is_unique(self) -> bool {
        self.rows > 1 && self.nulls == 0 && self.distinct == self.rows
    }
}

impl FoundTable {
    fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The suggestions for each table, by its name.
pub type Suggestions = BTreeMap<String, Vec<Suggestion>>;
