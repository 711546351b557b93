//! Errors in text files: the line, the column and the kind of the value, never the value itself.
//!
//! The caller that opens the table adds the file's name.

use std::fmt;

use datafusion::common::DataFusionError;
use datafusion::object_store::Error as StoreError;

/// An error in a text file, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextFault {
    /// The line where the row begins; the first line is 1. `None` if the error concerns the whole file.
    pub(super) line: Option<u64>,
    pub(super) column: Option<String>,
    /// A clause such as `it has 3 cells, and the header 2`.
    pub(super) what: String,
}

impl TextFault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { line: None, column: None, what: what.into() }
    }

    pub(super) fn at(line: u64, what: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(what) }
    }

    pub(super) fn in_column(self, column: impl Into<String>) -> Self {
        Self { column: Some(column.into()), ..self }
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, &self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column `{column}`: ")?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            (None, Some(column)) => write!(f, "column `{column}`: ")?,
            (None, None) => {}
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for TextFault {}

/// Why a text file cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    Fault(TextFault),
    Store(StoreError),
}

impl From<TextFault> for Unread {
    fn from(fault: TextFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether a query failed because a text file no longer is what was read when its table was opened.
pub(crate) fn is_text_fault(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::External(external) if external.is::<TextFault>())
}

impl From<Unread> for DataFusionError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Fault(fault) => Self::External(Box::new(fault)),
            Unread::Store(error) => Self::ObjectStore(Box::new(error)),
        }
    }
}
