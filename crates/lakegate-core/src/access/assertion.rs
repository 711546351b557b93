//! What an issuer says about a caller, verified: how long it counts, and for what.

use std::fmt;

use chrono::{DateTime, Utc};

use super::principal::PrincipalRecord;
use super::scope::Scope;
use super::token::{TokenHash, TokenState};

/// A verified statement of an issuer. It can not be revoked here, only its principal disabled, its keys taken away, or
/// waited for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The issuer's name in the project.
    pub issuer: String,
    /// Names the token in logs: its `jti`, or a fingerprint of it. No secret.
    pub id: String,
    /// From this time on it is not taken; the leeway is in it.
    pub expires_at: DateTime<Utc>,
    /// Before this time it is not taken; the leeway is in it.
    pub not_before: Option<DateTime<Utc>>,
    /// For what it is.
    pub scope: Scope,
}

/// A verified statement with the principal that it is about, whose attributes and roles come from the claims alone.
/// [`Asserted::of`] is the only source.
#[derive(Clone)]
pub struct Asserted {
    pub(super) assertion: Assertion,
    pub(super) principal: PrincipalRecord,
    pub(super) hash: TokenHash,
}

impl Assertion {
    /// How the token is called in logs.
    pub fn token_id(&self) -> String {
        format!("jwt:{}:{}", self.issuer, self.id)
    }

    /// Whether its time has not come.
    pub fn is_early(&self, now: DateTime<Utc>) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }

    /// What it is worth, once its time has come. The moment of expiry is already outside.
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        if self.expires_at <= now { TokenState::Expired } else { TokenState::Active }
    }
}

impl Asserted {
    /// The statement.
    pub fn assertion(&self) -> &Assertion {
        &self.assertion
    }

    /// Whom it is about.
    pub fn principal(&self) -> &PrincipalRecord {
        &self.principal
    }

    /// What the token is remembered by.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }
}

impl fmt::Debug for Asserted {
    /// Without attributes, which have no business in a log line by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asserted").field("assertion", &self.assertion).finish_non_exhaustive()
    }
}
