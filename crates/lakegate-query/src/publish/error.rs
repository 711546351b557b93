//! Errors of table writes. Every error leaves the table unchanged.

use std::io;

use lakegate_core::error::Cause;

/// Why a table was not written. Paths are relative to the lake, never paths of the machine.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// This table or location does not support the change.
    #[error("{what}; {help}")]
    Refused {
        /// The obstacle.
        what: String,
        /// Advice for the user.
        help: String,
    },
    /// Another process holds the lock of the table.
    #[error("another process is writing this table; wait for it to end, and run this again")]
    Busy,
    /// Another writer changed the table in the meantime.
    #[error("the table was changed by somebody else meanwhile, and is left as it is now; run this again")]
    Conflict,
    /// A file system call failed.
    #[error("cannot {doing}; the table is as it was")]
    File {
        /// The operation that failed.
        doing: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The object store failed, or an object in it is corrupt.
    #[error("cannot {doing}; the table is as it was")]
    Store {
        /// The operation that failed.
        doing: String,
        /// The error of the store.
        #[source]
        source: Cause,
    },
    /// The rows cannot be encoded.
    #[error("cannot write the rows as Parquet; the table is as it was")]
    Encode(#[source] Cause),
}

impl PublishError {
    pub(crate) fn refused(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), help: help.into() }
    }

    pub(crate) fn file(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::File { doing, source }
    }

    pub(crate) fn store<E: Into<Cause>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Store { doing, source: source.into() }
    }
}
