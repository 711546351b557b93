//! Grants: who may call which endpoint, and until when.
//!
//! Whether one applies to a call is decided in [`super::authorize`], and whether the arguments meet its terms in
//! [`crate::catalog`].

use std::fmt;

use chrono::{DateTime, Utc};

use super::principal::Principal;
use super::terms::Terms;

/// "This principal or role may call this endpoint", or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Names the grant in listings, decisions and the audit.
    pub id: String,
    /// Who may.
    pub to: Grantee,
    /// What they may call.
    pub endpoint: EndpointPattern,
    /// Whether it gives or takes away.
    pub effect: Effect,
    /// What it gives of the endpoint, or takes away of it.
    pub terms: Terms,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From this time on it does not count.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Whether a grant gives or takes away. What one takes away no other gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// It gives what its terms say.
    #[default]
    Allow,
    /// It takes away the columns and the unmasking that its terms name; without any, the endpoint.
    Deny,
}

/// Whom a grant is for, by exact name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grantee {
    /// One principal.
    Principal(String),
    /// Every principal with the role.
    Role(String),
}

/// Which endpoints a grant is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointPattern {
    /// Every endpoint of the project, also those that are added later.
    All,
    /// One endpoint, by exact name.
    Named(String),
}

impl Grant {
    /// A grant of the whole endpoint that never expires.
    pub fn new(id: impl Into<String>, to: Grantee, endpoint: EndpointPattern, created_at: DateTime<Utc>) -> Self {
        let (effect, terms) = (Effect::Allow, Terms::default());
        Self { id: id.into(), to, endpoint, effect, terms, created_at, expires_at: None }
    }

    /// With these terms.
    #[must_use]
    pub fn with_terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// As one that takes away.
    #[must_use]
    pub fn denying(mut self) -> Self {
        self.effect = Effect::Deny;
        self
    }

    /// Whether it no longer counts. The moment of expiry is already outside.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }
}

impl Effect {
    /// `allow` or `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        }
    }

    /// The effect of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Effect::Allow, Effect::Deny].into_iter().find(|effect| effect.name() == name)
    }
}

impl Grantee {
    /// Whether the principal is meant.
    pub fn covers(&self, principal: &Principal) -> bool {
        match self {
            Grantee::Principal(name) => name == principal.name(),
            Grantee::Role(role) => principal.has_role(role),
        }
    }
}

impl EndpointPattern {
    /// Reads `*` or a name. The name is not checked; see [`super::name::NameKind`].
    pub fn from_text(text: &str) -> Self {
        match text {
            "*" => EndpointPattern::All,
            name => EndpointPattern::Named(name.to_owned()),
        }
    }

    /// Whether the endpoint of this name is meant.
    pub fn covers(&self, endpoint: &str) -> bool {
        match self {
            EndpointPattern::All => true,
            EndpointPattern::Named(name) => name == endpoint,
        }
    }

    /// `*`, or the name.
    pub fn as_str(&self) -> &str {
        match self {
            EndpointPattern::All => "*",
            EndpointPattern::Named(name) => name,
        }
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grantee::Principal(name) => write!(f, "principal `{name}`"),
            Grantee::Role(name) => write!(f, "role `{name}`"),
        }
    }
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointPattern::All => f.write_str("every endpoint"),
            EndpointPattern::Named(name) => write!(f, "endpoint `{name}`"),
        }
    }
}
