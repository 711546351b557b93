//! Why new files did not become the table. Whatever it is, the table is as it was.

use std::io;

use lakegate_core::error::Source;

/// Why a table was not written. Paths in it are those of the lake, never of the machine.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It can not be done like this.
    #[error("{what}; {help}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        help: String,
    },
    /// Another process is writing the table.
    #[error("another process is writing this table; wait for it to end, and run this again")]
    Busy,
    /// Somebody has changed the table meanwhile.
    #[error("the table was changed by somebody else meanwhile, and is left as it is now; run this again")]
    Conflict,
    /// The file system refused.
    #[error("cannot {doing}; the table is as it was")]
    File {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The object store refused, or what was read there is broken.
    #[error("cannot {doing}; the table is as it was")]
    Store {
        /// What was tried.
        doing: String,
        /// What the store said.
        #[source]
        source: Source,
    },
    /// The rows can not be encoded.
    #[error("cannot write the rows as Parquet; the table is as it was")]
    Encode(#[source] Source),
}

impl PublishError {
    pub(crate) fn refused(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), help: help.into() }
    }

    pub(crate) fn file(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::File { doing, source }
    }

    pub(crate) fn store<E: Into<Source>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Store { doing, source: source.into() }
    }
}
