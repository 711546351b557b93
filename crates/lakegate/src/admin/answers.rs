//! The JSON form of principals, tokens, grants and endpoints, for the admin API and `--json`.

use chrono::{DateTime, SecondsFormat, Utc};
use lakegate_core::access::{Grant, Grantee, NewToken, PrincipalRecord, Scope, Terms};
use lakegate_query::plan::PlannedEndpoint;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::service::PrincipalDetails;
use crate::store::{GrantListing, SecretAttributes, TokenListing};

/// A time in RFC 3339, to the second.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The name of a grant's state.
pub fn grant_state(grant: &Grant, revoked_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> &'static str {
    match revoked_at {
        Some(_) => "revoked",
        None if grant.has_expired(now) => "expired",
        None => "active",
    }
}

/// A principal.
#[derive(Serialize)]
pub struct PrincipalAnswer {
    name: String,
    attributes: Map<String, Json>,
    attribute_types: Map<String, Json>,
    roles: Vec<String>,
    created_at: String,
    disabled_at: Option<String>,
}

impl PrincipalAnswer {
    /// Builds the answer.
    pub fn new(principal: &PrincipalRecord, secret: &SecretAttributes) -> Self {
        let attributes = principal.attributes.iter().map(|(name, value)| (name.clone(), secret.listed(name, value)));
        let types = principal.attributes.iter().map(|(name, value)| (name.clone(), value.value_type().name().into()));
        Self {
            name: principal.name.clone(),
            attributes: attributes.collect(),
            attribute_types: types.collect(),
            roles: principal.roles.iter().cloned().collect(),
            created_at: time(principal.created_at),
            disabled_at: principal.disabled_at.map(time),
        }
    }
}

/// A principal with its tokens, and the grants to it and its roles.
#[derive(Serialize)]
pub struct PrincipalDetailsAnswer {
    #[serde(flatten)]
    principal: PrincipalAnswer,
    tokens: Vec<TokenAnswer>,
    grants: Vec<GrantAnswer>,
}

impl PrincipalDetailsAnswer {
    /// Builds the answer, with states as of `now`.
    pub fn new(details: &PrincipalDetails, secret: &SecretAttributes, now: DateTime<Utc>) -> Self {
        Self {
            principal: PrincipalAnswer::new(&details.principal, secret),
            tokens: details.tokens.iter().map(|listing| TokenAnswer::new(listing, now)).collect(),
            grants: details.grants.iter().map(|listing| GrantAnswer::new(listing, now)).collect(),
        }
    }
}

/// A token, without its secret, which is not stored.
#[derive(Serialize)]
pub struct TokenAnswer {
    id: String,
    principal: String,
    label: Option<String>,
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
    successor: Option<String>,
    scope: Scope,
    admin: bool,
}

impl TokenAnswer {
    /// Builds the answer, with states as of `now`.
    pub fn new(listing: &TokenListing, now: DateTime<Utc>) -> Self {
        let TokenListing { token, principal } = listing;
        Self {
            id: token.id.clone(),
            principal: principal.clone(),
            label: token.label.clone(),
            state: token.state(now).name(),
            created_at: time(token.created_at),
            expires_at: token.expires_at.map(time),
            revoked_at: token.revoked_at.map(time),
            last_used_at: token.last_used_at.map(time),
            successor: token.successor.clone(),
            scope: token.scope.clone(),
            admin: token.admin,
        }
    }
}

/// A new token with its secret. No other answer contains a secret.
#[derive(Serialize)]
pub struct IssuedAnswer {
    #[serde(flatten)]
    listing: TokenAnswer,
    token: String,
}

impl IssuedAnswer {
    /// Builds the answer.
    pub fn new(token: &NewToken, listing: &TokenListing) -> Self {
        Self { listing: TokenAnswer::new(listing, listing.token.created_at), token: token.text().to_owned() }
    }
}

/// A grant.
#[derive(Serialize)]
pub struct GrantAnswer {
    id: String,
    principal: Option<String>,
    role: Option<String>,
    endpoint: String,
    effect: &'static str,
    terms: Terms,
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl GrantAnswer {
    /// Builds the answer, with states as of `now`.
    pub fn new(listing: &GrantListing, now: DateTime<Utc>) -> Self {
        let GrantListing { grant, revoked_at } = listing;
        let (principal, role) = match &grant.to {
            Grantee::Principal(name) => (Some(name.clone()), None),
            Grantee::Role(name) => (None, Some(name.clone())),
        };
        Self {
            id: grant.id.clone(),
            principal,
            role,
            endpoint: grant.endpoint.as_str().to_owned(),
            effect: grant.effect.name(),
            terms: grant.terms.clone(),
            state: grant_state(grant, *revoked_at, now),
            created_at: time(grant.created_at),
            expires_at: grant.expires_at.map(time),
            revoked_at: revoked_at.map(time),
        }
    }
}

/// An endpoint of the project; hidden ones are included.
#[derive(Serialize)]
pub struct EndpointAnswer {
    name: String,
    summary: String,
    hidden: bool,
    parameters: Vec<ParameterAnswer>,
    columns: Vec<ColumnAnswer>,
}

#[derive(Serialize)]
struct ParameterAnswer {
    name: String,
    r#type: String,
    required: bool,
}

#[derive(Serialize)]
struct ColumnAnswer {
    name: String,
    r#type: String,
}

impl EndpointAnswer {
    /// Builds the answer.
    pub fn new(planned: &PlannedEndpoint) -> Self {
        let endpoint = planned.endpoint();
        let parameters = endpoint.params.iter().map(|param| ParameterAnswer {
            name: param.name.clone(),
            r#type: param.value_type.name(),
            required: param.required,
        });
        let columns = planned.columns();
        let columns = columns
            .iter()
            .map(|column| ColumnAnswer { name: column.name.to_string(), r#type: column.type_name.to_string() });
        Self {
            name: endpoint.name.clone(),
            summary: endpoint.summary.clone(),
            hidden: endpoint.hidden,
            parameters: parameters.collect(),
            columns: columns.collect(),
        }
    }
}
