//! The JSON requests of the admin API, and their conversion to what the store takes.
//!
//! The command line converts its options to the same types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Effect, EndpointPattern, Grantee, Scope, Terms, attribute};
use lakegate_core::value::Value;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::parse::{parse_duration, parse_time};
use crate::store::{Expiry, GrantRequest, NewPrincipal, PrincipalChange, Rotation, StoreError, TokenRequest};

/// An empty request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A principal to add.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPrincipal {
    name: String,
    #[serde(default)]
    attributes: Members<Json>,
    #[serde(default)]
    attribute_types: Members<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
}

/// The changes to a principal.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangePrincipal {
    attributes: Members<Json>,
    attribute_types: Members<String>,
    remove_attributes: BTreeSet<String>,
    add_roles: BTreeSet<String>,
    remove_roles: BTreeSet<String>,
}

/// A token to issue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueToken {
    /// The principal that owns the token.
    pub principal: String,
    label: Option<String>,
    expires_at: Option<String>,
    expires_in: Option<String>,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    admin: bool,
}

/// The options of a token rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateToken {
    grace: Option<String>,
    expires_at: Option<String>,
    expires_in: Option<String>,
}

/// A grant or a denial to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddGrant {
    principal: Option<String>,
    role: Option<String>,
    endpoint: String,
    effect: Option<String>,
    #[serde(default)]
    terms: Terms,
    expires_at: Option<String>,
    expires_in: Option<String>,
}

impl AddPrincipal {
    /// Converts the request for the store.
    ///
    /// # Errors
    /// The first invalid attribute.
    pub fn into_new(self) -> Result<NewPrincipal, StoreError> {
        let attributes = typed(&self.attributes, &self.attribute_types)?;
        Ok(NewPrincipal { name: self.name, attributes, roles: self.roles })
    }
}

impl ChangePrincipal {
    /// Converts the request for the store.
    ///
    /// # Errors
    /// The first invalid attribute, or that nothing changes.
    pub fn into_change(self) -> Result<PrincipalChange, StoreError> {
        let change = PrincipalChange {
            set_attributes: typed(&self.attributes, &self.attribute_types)?,
            remove_attributes: self.remove_attributes,
            add_roles: self.add_roles,
            remove_roles: self.remove_roles,
        };
        if change.is_empty() {
            let what = "nothing to change; give `attributes`, `remove_attributes`, `add_roles` or `remove_roles`";
            return Err(refused(what));
        }
        Ok(change)
    }
}

impl IssueToken {
    /// Converts the request for the store.
    ///
    /// # Errors
    /// If the expiry is malformed.
    pub fn into_request(self, now: DateTime<Utc>) -> Result<TokenRequest, StoreError> {
        let expires_at = expiry(self.expires_at.as_deref(), self.expires_in.as_deref(), now)?;
        Ok(TokenRequest { label: self.label, expires_at, scope: self.scope, admin: self.admin })
    }
}

impl RotateToken {
    /// Converts the request for the store.
    ///
    /// # Errors
    /// If the grace period or the expiry is malformed.
    pub fn into_rotation(self, now: DateTime<Utc>) -> Result<Rotation, StoreError> {
        let grace = parse_duration(self.grace.as_deref().unwrap_or("0"))
            .map_err(|error| refused(format!("`grace`: {error}")))?;
        let expiry = expiry(self.expires_at.as_deref(), self.expires_in.as_deref(), now)?;
        Ok(Rotation { grace, expiry: expiry.map_or(Expiry::SameLifetime, Expiry::At) })
    }
}

impl AddGrant {
    /// Converts the request for the store.
    ///
    /// # Errors
    /// If it names no grantee or two, or if the effect or the expiry is malformed.
    pub fn into_request(self, now: DateTime<Utc>) -> Result<GrantRequest, StoreError> {
        let to = match (self.principal, self.role) {
            (Some(name), None) => Grantee::Principal(name),
            (None, Some(role)) => Grantee::Role(role),
            _ => return Err(refused("say whom it is for: either `principal` or `role`")),
        };
        let effect = match self.effect.as_deref() {
            None => Effect::Allow,
            Some(name) => Effect::from_name(name).ok_or_else(|| refused("`effect` is `allow` or `deny`"))?,
        };
        let expires_at = expiry(self.expires_at.as_deref(), self.expires_in.as_deref(), now)?;
        let endpoint = EndpointPattern::from_text(&self.endpoint);
        Ok(GrantRequest { effect, terms: self.terms, expires_at, ..GrantRequest::new(to, endpoint) })
    }
}

/// The attributes with their given types, or types inferred from their values.
fn typed(attributes: &Members<Json>, types: &Members<String>) -> Result<BTreeMap<String, Value>, StoreError> {
    if let Some(name) = types.0.keys().find(|name| !attributes.0.contains_key(*name)) {
        return Err(refused(format!("`attribute_types` names `{name}`, which is not among `attributes`")));
    }
    let value = |(name, json): (&String, &Json)| {
        let value = attribute::from_json(name, types.0.get(name).map(String::as_str), json);
        Ok((name.clone(), value.map_err(|error| refused(error.to_string()))?))
    };
    attributes.0.iter().map(value).collect()
}

/// The time of expiry; `None` for never.
fn expiry(at: Option<&str>, after: Option<&str>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
    match (at, after) {
        (Some(_), Some(_)) => Err(refused("give `expires_at` or `expires_in`, not both")),
        (Some(at), None) => parse_time(at).map(Some).map_err(|error| refused(format!("`expires_at` is {error}"))),
        (None, Some(after)) => {
            let after = parse_duration(after).map_err(|error| refused(format!("`expires_in`: {error}")))?;
            let end = now.checked_add_signed(after);
            end.map(Some).ok_or_else(|| refused("`expires_in` is too far in the future"))
        }
        (None, None) => Ok(None),
    }
}

fn refused(what: impl Into<String>) -> StoreError {
    StoreError::Refused(what.into())
}

/// The members of an object. Duplicate names are refused, because it is unclear which value was meant.
struct Members<T>(BTreeMap<String, T>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = Members<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
            }
            members.insert(name, value);
        }
        Ok(Members(members))
    }
}
