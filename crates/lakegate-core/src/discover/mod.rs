//! What a lake's files suggest of a project: names of tables, keys that look like those of tenants, columns that look
//! personal, and the text of `[tables.*]` with it.
//!
//! A suggestion is no policy. Nothing here decides who sees a row: the text that is written fails `check` until somebody
//! does. Reads no files: what was found comes in.

mod config_text;
mod keys;
mod known;
mod names;
mod personal;
mod words;

use std::collections::BTreeMap;

pub use config_text::{Declared, declared, head_text, table_text};
pub use keys::{Suggestion, suggest};
pub use known::is_same_place;
pub use names::{name_of_table, unique_names};
pub use personal::{MaskIdea, mask_idea};

use crate::value::ScalarType;

/// A table that was found in a lake.
#[derive(Clone, Debug, Default)]
pub struct FoundTable {
    /// The name that it would have in SQL.
    pub name: String,
    /// Where its files are, below the lake.
    pub location: String,
    /// What the files are: `parquet`, `csv`, `ndjson`, `delta`, `iceberg`.
    pub format: String,
    /// Whether the files' extension does not tell the format.
    pub says_format: bool,
    /// What parts the values of a line, where it is no comma.
    pub delimiter: Option<char>,
    /// How many files it has; 0 when they were not counted.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many rows it has, when that is known without reading them.
    pub rows: Option<u64>,
    /// The columns of the files.
    pub columns: Vec<FoundColumn>,
    /// The columns of hive folders with their types, from the outermost.
    pub partitions: Vec<(String, ScalarType)>,
    /// What one should know of it.
    pub notes: Vec<String>,
}

/// A column of a table that was found.
#[derive(Clone, Debug)]
pub struct FoundColumn {
    /// The name, as it stands in the files.
    pub name: String,
    /// The type, in words.
    pub type_name: String,
    /// What it holds, as far as keys and masks go by it.
    pub kind: ColumnKind,
    /// What was seen in a sample of rows.
    pub sample: Option<ColumnSample>,
    /// The least and the greatest integer.
    pub range: Option<(i128, i128)>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Whole numbers.
    Integer,
    /// Text.
    Text,
    /// A date or a time.
    Time,
    /// Anything else.
    Other,
}

/// What was seen of a column in some rows of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSample {
    /// How many rows were looked at.
    pub rows: usize,
    /// How many of them had no value.
    pub nulls: usize,
    /// How many different values there were.
    pub distinct: usize,
}

impl ColumnSample {
    /// Whether every row had a value of its own.
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
