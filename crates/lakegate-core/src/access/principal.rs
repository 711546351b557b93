//! Principals: the record in the store, and the authenticated principal that is made from it.
//!
//! A [`Principal`] is proof that a token was looked up and accepted; only [`authenticate`] makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::assertion::Assertion;
use super::grant::Grant;
use super::scope::Scope;
use super::token::{TokenRecord, TokenState};
use crate::error::{Code, Error};
use crate::value::Value;

/// The stored record of a principal.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PrincipalRecord {
    /// Never reused for another principal.
    pub id: String,
    /// The unique name that people use.
    pub name: String,
    /// The attributes that policies read with `principal('…')`.
    pub attributes: BTreeMap<String, Value>,
    /// The roles that grants and policies can name instead of the principal.
    pub roles: BTreeSet<String>,
    /// The creation time.
    pub created_at: DateTime<Utc>,
    /// Once set, all of its tokens are refused.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// Everything known about a presented token: the proof, its principal, and the grants of the principal and its roles.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token, or the statement of an issuer.
    pub proof: Proof,
    /// The principal, shared with every [`Principal`] made from it.
    pub principal: Arc<PrincipalRecord>,
    /// Every grant to the principal or to one of its roles, including expired ones.
    pub grants: Arc<[Grant]>,
}

/// The proof of a caller's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token of this server's store.
    Token(TokenRecord),
    /// A JWT with a verified signature.
    Assertion(Assertion),
}

/// An authenticated caller. Cheap to clone.
#[derive(Clone)]
pub struct Principal {
    record: Arc<PrincipalRecord>,
    token_id: Arc<str>,
    scope: Arc<Scope>,
}

/// Authenticates the token of an endpoint call. An admin token is refused.
pub fn authenticate(credential: &Credential, now: DateTime<Utc>) -> Result<Principal, Error> {
    check_active(credential, now)?;
    if credential.proof.is_admin() {
        return Err(Error::new(Code::AccessAdminToken, "an admin token calls no endpoint")
            .hint("send a token that is not for administration"));
    }
    let scope = match &credential.proof {
        Proof::Token(token) => &token.scope,
        Proof::Assertion(assertion) => &assertion.scope,
    };
    Ok(Principal {
        record: Arc::clone(&credential.principal),
        token_id: credential.proof.token_id().into(),
        scope: Arc::new(scope.clone()),
    })
}

/// Checks that the token and its principal are active, for any use.
pub(super) fn check_active(credential: &Credential, now: DateTime<Utc>) -> Result<(), Error> {
    match &credential.proof {
        Proof::Token(token) => check_token_state(token.state(now), "ask the operator for a new token")?,
        Proof::Assertion(assertion) => {
            if assertion.is_early(now) {
                let reason = format!("token `{}` is not taken yet", assertion.token_id());
                return Err(Error::new(Code::AccessTokenUnknown, "the token is not known")
                    .hint("check that the whole token was sent")
                    .source(reason));
            }
            check_token_state(assertion.state(now), "get a new one from its issuer")?;
        }
    }
    if credential.principal.disabled_at.is_some() {
        return Err(Error::new(Code::AccessPrincipalDisabled, "the principal behind the token is disabled")
            .hint("ask the operator to enable it"));
    }
    Ok(())
}

fn check_token_state(state: TokenState, hint: &str) -> Result<(), Error> {
    match state {
        TokenState::Active => Ok(()),
        TokenState::Revoked => Err(Error::new(Code::AccessTokenRevoked, "the token was revoked").hint(hint)),
        TokenState::Expired => Err(Error::new(Code::AccessTokenExpired, "the token has expired").hint(hint)),
    }
}

impl Credential {
    /// The earliest expiry of the grants in force: until then they decide as they do now. `None` if none of them
    /// expires.
    ///
    /// Does not cover the proof itself, which [`authenticate`] checks.
    pub fn grants_expire_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.grants.iter().filter(|grant| !grant.has_expired(now)).filter_map(|grant| grant.expires_at).min()
    }
}

impl From<TokenRecord> for Proof {
    fn from(token: TokenRecord) -> Self {
        Proof::Token(token)
    }
}

impl Proof {
    /// The id of the token in logs; not secret.
    pub fn token_id(&self) -> String {
        match self {
            Proof::Token(token) => token.id.clone(),
            Proof::Assertion(assertion) => assertion.token_id(),
        }
    }

    /// Whether it is an admin API token. A JWT never is.
    pub fn is_admin(&self) -> bool {
        matches!(self, Proof::Token(token) if token.admin)
    }
}

impl PrincipalRecord {
    /// A principal without attributes and roles.
    pub fn new(id: impl Into<String>, name: impl Into<String>, created_at: DateTime<Utc>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            attributes: BTreeMap::new(),
            roles: BTreeSet::new(),
            created_at,
            disabled_at: None,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: Value) -> Self {
        self.attributes.insert(name.into(), value);
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.insert(role.into());
        self
    }
}

impl Principal {
    /// The id in the store.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The id of the token that was presented; not secret.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// The scope of the presented token.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The attribute with this name.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.record.attributes.get(name)
    }

    /// All attributes.
    pub fn attributes(&self) -> &BTreeMap<String, Value> {
        &self.record.attributes
    }

    /// Whether the principal has this role, by exact name.
    pub fn has_role(&self, role: &str) -> bool {
        self.record.roles.contains(role)
    }

    /// All roles, in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.record.roles.iter().map(String::as_str)
    }
}

impl fmt::Debug for Principal {
    /// Writes the name and the token's id only, so that attribute values are not logged by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("name", &self.name())
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Scalar;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn credential() -> Credential {
        let principal = PrincipalRecord::new("p1", "client-4562", at(0))
            .with_attribute("client_id", Value::Scalar(Scalar::Integer(4562)))
            .with_role("client");
        let proof = TokenRecord::new("t1", at(0)).into();
        Credential { proof, principal: Arc::new(principal), grants: Arc::new([]) }
    }

    fn with_token(change: impl FnOnce(&mut TokenRecord)) -> Credential {
        let mut token = TokenRecord::new("t1", at(0));
        change(&mut token);
        Credential { proof: Proof::Token(token), ..credential() }
    }

    fn code(credential: &Credential, now: DateTime<Utc>) -> Code {
        authenticate(credential, now).unwrap_err().code
    }

    #[test]
    fn a_good_token_gives_the_principal() {
        let principal = authenticate(&credential(), at(1)).unwrap();
        assert_eq!((principal.name(), principal.id(), principal.token_id()), ("client-4562", "p1", "t1"));
        assert_eq!(principal.attribute("client_id"), Some(&Value::Scalar(Scalar::Integer(4562))));
        assert_eq!(principal.attribute("CLIENT_ID"), None);
        assert!(principal.has_role("client") && !principal.has_role("Client") && !principal.has_role(""));
        assert_eq!(principal.roles().collect::<Vec<_>>(), ["client"]);
        assert!(!format!("{principal:?}").contains("4562}"));
    }

    #[test]
    fn a_decision_holds_until_the_next_grant_ends() {
        let grant = |id: &str, expires_at: Option<i64>| {
            let endpoint = crate::access::EndpointPattern::All;
            let grant = Grant::new(id, crate::access::Grantee::Role("client".to_owned()), endpoint, at(0));
            Grant { expires_at: expires_at.map(at), ..grant }
        };
        let with = |grants: Vec<Grant>| Credential { grants: grants.into(), ..credential() };
        assert_eq!(with(vec![]).grants_expire_at(at(1)), None);
        assert_eq!(with(vec![grant("a", None)]).grants_expire_at(at(1)), None);
        let several = with(vec![grant("a", Some(30)), grant("b", Some(10)).denying(), grant("c", None)]);
        assert_eq!(several.grants_expire_at(at(9)), Some(at(10)));
        // A grant is expired at the exact moment of its expiry.
        assert_eq!(several.grants_expire_at(at(10)), Some(at(30)));
        assert_eq!(several.grants_expire_at(at(30)), None);
    }

    #[test]
    fn every_other_token_gives_its_own_code() {
        let expired = with_token(|token| token.expires_at = Some(at(10)));
        assert!(authenticate(&expired, at(9)).is_ok());
        assert_eq!(code(&expired, at(10)), Code::AccessTokenExpired);

        let revoked = with_token(|token| (token.expires_at, token.revoked_at) = (Some(at(10)), Some(at(5))));
        assert_eq!(code(&revoked, at(10)), Code::AccessTokenRevoked);

        let mut disabled = credential();
        Arc::make_mut(&mut disabled.principal).disabled_at = Some(at(5));
        assert_eq!(code(&disabled, at(6)), Code::AccessPrincipalDisabled);
    }

    #[test]
    fn what_an_issuer_says_is_held_against_the_time_of_each_request() {
        let assertion = Assertion {
            issuer: "acme".to_owned(),
            id: "j1".to_owned(),
            expires_at: at(20),
            not_before: Some(at(10)),
            scope: Scope { endpoints: Some(BTreeSet::from(["orders".to_owned()])), masked: false },
        };
        let said = Credential { proof: Proof::Assertion(assertion), ..credential() };
        assert_eq!(code(&said, at(9)), Code::AccessTokenUnknown);
        let principal = authenticate(&said, at(10)).unwrap();
        assert_eq!(principal.token_id(), "jwt:acme:j1");
        assert!(principal.scope().covers("orders") && !principal.scope().covers("other"));
        assert!(authenticate(&said, at(19)).is_ok());
        assert_eq!(code(&said, at(20)), Code::AccessTokenExpired);
        let mut disabled = said.clone();
        Arc::make_mut(&mut disabled.principal).disabled_at = Some(at(5));
        assert_eq!(code(&disabled, at(15)), Code::AccessPrincipalDisabled);
        assert!(!said.proof.is_admin() && !credential().proof.is_admin());
        assert!(with_token(|token| token.admin = true).proof.is_admin());
    }
}
