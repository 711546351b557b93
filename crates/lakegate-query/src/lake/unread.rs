//! The error for a file that fails while its rows are read. It names the table and the file, for the operator's log.

use std::error::Error as StdError;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::object_store::ObjectMeta;
use datafusion::parquet::errors::ParquetError;

use super::pinned::plain;

/// Why the rows of a file cannot be read. `path` is the path in the lake.
#[derive(Debug, thiserror::Error)]
#[error("{table}`{path}` cannot be read: {why}")]
pub(crate) struct Unread {
    /// The start of the message: empty, or the table's name and a colon.
    table: String,
    path: String,
    why: String,
    #[source]
    cause: Option<DataFusionError>,
}

/// A file that a scan reads, and its table.
#[derive(Clone, Debug)]
pub(crate) struct FileOf {
    pub(crate) table: Arc<str>,
    pub(crate) object: Arc<ObjectMeta>,
}

impl FileOf {
    /// Adds the file to an error of a scan that the file caused. Errors of expressions and memory and the query's
    /// cancellation pass unchanged.
    pub(super) fn error(&self, error: DataFusionError) -> DataFusionError {
        if !is_of_a_file(&error) || unread(&error).is_some() {
            return error;
        }
        let why = super::columns::one_line(&error.find_root().strip_backtrace());
        self.unread(why, Some(error))
    }

    /// The error for a file that made a reader panic.
    pub(super) fn panicked(&self) -> DataFusionError {
        self.unread("it is broken".to_owned(), None)
    }

    /// The error for a file that contradicts its footer.
    pub(crate) fn broken(&self, why: &str) -> DataFusionError {
        self.unread(why.to_owned(), None)
    }

    fn unread(&self, why: String, cause: Option<DataFusionError>) -> DataFusionError {
        let path = plain(&self.object.location).to_owned();
        let table = if self.table.is_empty() { String::new() } else { format!("table `{}`: ", self.table) };
        DataFusionError::External(Box::new(Unread { table, path, why, cause }))
    }
}

/// The [`Unread`] in the error chain, if any.
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
