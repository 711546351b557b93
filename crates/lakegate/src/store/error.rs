//! The errors of the access store, for operators who change it and callers who wait for it.

use chrono::{DateTime, Utc};
use lakegate_core::access::TermsError;
use lakegate_core::access::name::NameError;
use lakegate_core::error::{Code, Error};

/// A failure of the access store, or a change that it refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The location of the store is malformed.
    #[error("access store `{text}` {problem}")]
    Location {
        /// The text, without a password.
        text: String,
        /// The problem.
        problem: String,
    },
    /// The file cannot be created or opened.
    #[error("the access store `{path}` cannot be opened; check that the folder exists and that you may write there")]
    Open {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is a database of another program.
    #[error("`{path}` is not an access store of lakegate; name another file with `--store sqlite:PATH`")]
    NotAStore {
        /// The file.
        path: String,
    },
    /// A newer lakegate has migrated the store.
    #[error("the access store was made by a newer lakegate (its tables have version {found}); use that one")]
    Newer {
        /// The schema version of the store.
        found: i64,
    },
    /// Another change holds the write lock.
    #[error("the access store is busy with another change; try again in a moment")]
    Busy,
    /// Any other database error.
    #[error("the access store does not answer")]
    Database(#[source] sqlx::Error),
    /// The schema migration failed.
    #[error("the tables of the access store cannot be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A read timed out.
    #[error("the access store took too long to answer")]
    Slow,
    /// A value that this lakegate did not write.
    #[error("the access store holds something unreadable: {0}")]
    Corrupt(String),
    /// The system has no random source.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),

    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The terms of a grant are contradictory.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The principal, token or grant does not exist.
    #[error("there is no {what} `{name}`; see `lakegate {what} list`")]
    Missing {
        /// `principal`, `token` or `grant`.
        what: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The name is taken.
    #[error("principal `{name}` exists already; change it with `lakegate principal set {name}`")]
    PrincipalExists {
        /// The name.
        name: String,
    },
    /// An equal grant with another expiry is in force.
    #[error("grant `{id}` for the same endpoint is in force already, {until}; end it first with `lakegate grant revoke {id}`", until = until(.expires_at))]
    GrantExists {
        /// The grant.
        id: String,
        /// Its expiry.
        expires_at: Option<DateTime<Utc>>,
    },
    /// A revoked token cannot be rotated.
    #[error("token `{id}` is revoked; make a new one with `lakegate token issue {principal}`")]
    TokenRevoked {
        /// The token.
        id: String,
        /// Its principal.
        principal: String,
    },
    /// The token already has a successor.
    #[error("token `{id}` was rotated already, to `{successor}`; rotate that one")]
    TokenRotated {
        /// The token.
        id: String,
        /// Its successor.
        successor: String,
    },
    /// The expiry is in the past.
    #[error("the expiry {0} is not in the future")]
    ExpiryInThePast(DateTime<Utc>),
    /// Any other invalid request; the text states what to do.
    #[error("{0}")]
    Refused(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // 5 is SQLITE_BUSY, 6 is SQLITE_LOCKED; extended codes keep them in the low byte.
        let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
        match code {
            Some(code) if matches!(code & 0xff, 5 | 6) => StoreError::Busy,
            None if matches!(error, sqlx::Error::PoolTimedOut) => StoreError::Busy,
            _ => StoreError::Database(error),
        }
    }
}

impl From<StoreError> for Error {
    /// Callers of endpoints get one answer for every error: access cannot be decided now, so it is refused.
    fn from(error: StoreError) -> Self {
        Error::new(Code::AccessStoreUnavailable, "access cannot be decided now")
            .hint("try again in a moment")
            .source(error)
    }
}

fn until(expires_at: &Option<DateTime<Utc>>) -> String {
    match expires_at {
        Some(expiry) => format!("until {}", expiry.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
        None => "without an expiry".to_owned(),
    }
}
