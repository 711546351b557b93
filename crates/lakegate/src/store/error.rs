//! What can go wrong with the access store, for the operator who changes it and for the caller who waits for it.

use chrono::{DateTime, Utc};
use lakegate_core::access::TermsError;
use lakegate_core::access::name::NameError;
use lakegate_core::error::{Code, Error};

/// A failure of the access store, or a change that it refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The text that should say where the store is does not.
    #[error("access store `{text}` {problem}")]
    Location {
        /// The text, without a password.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// The file can not be made or opened.
    #[error("the access store `{path}` can not be opened; check that the folder exists and that you may write there")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is a database of something else.
    #[error("`{path}` is not an access store of lakegate; name another file with `--store sqlite:PATH`")]
    NotAStore {
        /// The file.
        path: String,
    },
    /// A newer lakegate has changed its tables.
    #[error("the access store was made by a newer lakegate (its tables have version {found}); use that one")]
    Newer {
        /// The version of its tables.
        found: i64,
    },
    /// Another change holds the write lock.
    #[error("the access store is busy with another change; try again in a moment")]
    Busy,
    /// Anything else that the database reports.
    #[error("the access store does not answer")]
    Database(#[source] sqlx::Error),
    /// The tables can not be brought up to date.
    #[error("the tables of the access store can not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A read took too long.
    #[error("the access store took too long to answer")]
    Slow,
    /// A cell that this lakegate did not write.
    #[error("the access store holds something unreadable: {0}")]
    Corrupt(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),

    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The terms of a grant make no sense.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// There is no such thing.
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
    /// Such a grant is in force, with another expiry.
    #[error("grant `{id}` for the same endpoint is in force already, {until}; end it first with `lakegate grant revoke {id}`", until = until(.expires_at))]
    GrantExists {
        /// The grant.
        id: String,
        /// Its expiry.
        expires_at: Option<DateTime<Utc>>,
    },
    /// A revoked token has no successor.
    #[error("token `{id}` is revoked; make a new one with `lakegate token issue {principal}`")]
    TokenRevoked {
        /// The token.
        id: String,
        /// Its principal.
        principal: String,
    },
    /// A token that already has a successor.
    #[error("token `{id}` was rotated already, to `{successor}`; rotate that one")]
    TokenRotated {
        /// The token.
        id: String,
        /// The one that replaced it.
        successor: String,
    },
    /// An expiry that has passed.
    #[error("the expiry {0} is not in the future")]
    ExpiryInThePast(DateTime<Utc>),
    /// Any other request that makes no sense, with what to do in the text.
    #[error("{0}")]
    Refused(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // 5 is SQLITE_BUSY, 6 is SQLITE_LOCKED; the extended codes keep them in the low byte.
        let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
        match code {
            Some(code) if matches!(code & 0xff, 5 | 6) => StoreError::Busy,
            None if matches!(error, sqlx::Error::PoolTimedOut) => StoreError::Busy,
            _ => StoreError::Database(error),
        }
    }
}

impl From<StoreError> for Error {
    /// For a caller of an endpoint there is one answer: it can not be decided now, so the answer is no.
    fn from(error: StoreError) -> Self {
        Error::new(Code::AccessStoreUnavailable, "access can not be decided now")
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
