//! A verified statement of an issuer about a caller, with its validity period and scope.

use std::fmt;

use chrono::{DateTime, Utc};

use super::principal::PrincipalRecord;
use super::scope::Scope;
use super::token::{TokenHash, TokenState};

/// A verified statement of an issuer. It cannot be revoked here: disable its principal, remove the issuer's keys, or
/// wait until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The issuer's name in the project.
    pub issuer: String,
    /// Identifies the token in logs: its `jti`, or a fingerprint of it. Not secret.
    pub id: String,
    /// The token is refused from this time on; includes the leeway.
    pub expires_at: DateTime<Utc>,
    /// The token is refused before this time; includes the leeway.
    pub not_before: Option<DateTime<Utc>>,
    /// The endpoints that the token is for.
    pub scope: Scope,
}

/// A verified statement and its principal, whose attributes and roles come only from the claims. Only [`VerifiedAssertion::from_claims`]
/// makes one.
#[derive(Clone)]
pub struct VerifiedAssertion {
    pub(super) assertion: Assertion,
    pub(super) principal: PrincipalRecord,
    pub(super) hash: TokenHash,
}

impl Assertion {
    /// The id of the token in logs.
    pub fn token_id(&self) -> String {
        format!("jwt:{}:{}", self.issuer, self.id)
    }

    /// Whether the token is not valid yet.
    pub fn is_early(&self, now: DateTime<Utc>) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }

    /// Whether the token is active or expired, ignoring `not_before`. It is expired at the exact moment of
    /// `expires_at`.
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        if self.expires_at <= now { TokenState::Expired } else { TokenState::Active }
    }
}

impl VerifiedAssertion {
    /// The statement.
    pub fn assertion(&self) -> &Assertion {
        &self.assertion
    }

    /// The principal of the statement.
    pub fn principal(&self) -> &PrincipalRecord {
        &self.principal
    }

    /// The hash of the token, used as its cache key.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }
}

impl fmt::Debug for VerifiedAssertion {
    /// Leaves out attributes, so that they are not logged by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedAssertion").field("assertion", &self.assertion).finish_non_exhaustive()
    }
}
