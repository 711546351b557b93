//! Grants: which principal or role may call which endpoint, and until when.
//!
//! [`super::authorize`] decides whether a grant applies to a call, and [`crate::catalog`] whether the arguments meet
//! its terms.

use std::fmt;

use chrono::{DateTime, Utc};

use super::principal::Principal;
use super::terms::Terms;

/// Allows a principal or role to call an endpoint, or denies it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The id in listings, decisions and the audit log.
    pub id: String,
    /// The principal or role.
    pub to: Grantee,
    /// The endpoints.
    pub endpoint: EndpointPattern,
    /// Whether the grant allows or denies.
    pub effect: Effect,
    /// The parts of the endpoint that it allows or denies.
    pub terms: Terms,
    /// The creation time.
    pub created_at: DateTime<Utc>,
    /// The expiry; `None` never expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Whether a grant allows or denies. A denial overrides every grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Allows the terms.
    #[default]
    Allow,
    /// Denies the columns and the unmasking that the terms name, or else the whole endpoint.
    Deny,
}

/// The principal or role of a grant, by exact name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grantee {
    /// One principal.
    Principal(String),
    /// Every principal with the role.
    Role(String),
}

/// The endpoints of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointPattern {
    /// Every endpoint of the project, including later ones.
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

    /// Sets the terms.
    #[must_use]
    pub fn with_terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// Makes it a denial.
    #[must_use]
    pub fn denying(mut self) -> Self {
        self.effect = Effect::Deny;
        self
    }

    /// Whether the grant has expired. The moment of expiry itself counts as expired.
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

    /// The effect with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Effect::Allow, Effect::Deny].into_iter().find(|effect| effect.name() == name)
    }
}

impl Grantee {
    /// Whether the grantee includes the principal.
    pub fn covers(&self, principal: &Principal) -> bool {
        match self {
            Grantee::Principal(name) => name == principal.name(),
            Grantee::Role(role) => principal.has_role(role),
        }
    }
}

impl EndpointPattern {
    /// Parses `*` or a name. Does not check the name; see [`super::name::NameKind`].
    pub fn from_text(text: &str) -> Self {
        match text {
            "*" => EndpointPattern::All,
            name => EndpointPattern::Named(name.to_owned()),
        }
    }

    /// Whether the pattern includes the endpoint of this name.
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
