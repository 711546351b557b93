//! A fault of one file that is found while its rows are read: which file of which table it is, for the operator's log.

use std::error::Error as StdError;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::object_store::ObjectMeta;
use datafusion::parquet::errors::ParquetError;

use super::pinned::plain;

/// Why the rows of a file cannot be read. The path is that in the lake.
#[derive(Debug, thiserror::Error)]
#[error("{table}`{path}` cannot be read: {why}")]
pub(crate) struct Unread {
    /// The table, as the beginning of a sentence.
    table: String,
    path: String,
    why: String,
    #[source]
    cause: Option<DataFusionError>,
}

/// A file of a table that is read.
#[derive(Clone, Debug)]
pub(crate) struct FileOf {
    pub(crate) table: Arc<str>,
    pub(crate) object: Arc<ObjectMeta>,
}

impl FileOf {
    /// The error of a scan that says which file it is of, where the file is what is wrong. Errors of expressions, of memory
    /// and of the query's end stay as they are.
    pub(super) fn error(&self, error: DataFusionError) -> DataFusionError {
        if !is_of_a_file(&error) || unread(&error).is_some() {
            return error;
        }
        let why = super::columns::one_line(&error.find_root().strip_backtrace());
        self.unread(why, Some(error))
    }

    /// The error of a file at which a reader panicked.
    pub(super) fn panicked(&self) -> DataFusionError {
        self.unread("it is broken".to_owned(), None)
    }

    /// The error of a file that is not what its footer says.
    pub(crate) fn broken(&self, why: &str) -> DataFusionError {
        self.unread(why.to_owned(), None)
    }

    fn unread(&self, why: String, cause: Option<DataFusionError>) -> DataFusionError {
        let path = plain(&self.object.location).to_owned();
        let table = if self.table.is_empty() { String::new() } else { format!("table `{}`: ", self.table) };
        DataFusionError::External(Box::new(Unread { table, path, why, cause }))
    }
}

/// The fault of a file, where that is behind an error.
pub(crate) fn unread(error: &DataFusionError) -> Option<&Unread> {
    let mut next = Some(error as &(dyn StdError + 'static));
    while let Some(cause) = next {
        if let Some(unread) = cause.downcast_ref::<Unread>() {
            return Some(unread);
        }
        next = cause.source();
    }
    None
}

fn is_of_a_file(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::ParquetError(_)
                | ArrowError::CsvError(_)
                | ArrowError::JsonError(_)
                | ArrowError::IoError(..)
                | ArrowError::ExternalError(_)
        ),
        DataFusionError::External(error) => error.is::<ParquetError>() || error.is::<std::io::Error>(),
        _ => false,
    }
}
