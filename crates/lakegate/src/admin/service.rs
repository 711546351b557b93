//! The admin service: all administrative operations on an access store, on behalf of the author of changes.

use chrono::{DateTime, Utc};
use lakegate_core::access::import::ImportPlan;
use lakegate_core::access::{Grantee, NewToken, PrincipalRecord, TokenState};
use serde::Deserialize;

use crate::store::{
    ChangeAuthor, ChangeRecord, GrantListing, GrantRequest, Granting, ImportOutcome, NewPrincipal, PrincipalChange,
    Rotation, SecretAttributes, Store, StoreError, StoreWriter, TokenListing, TokenRequest, new_token,
};

/// The maximum and the default number of listed changes.
const CHANGES_LIMITS: (u32, u32) = (1_000, 100);

/// An access store with an author who may read and change everything.
#[derive(Clone, Debug)]
pub struct AdminService {
    store: Store,
    author: ChangeAuthor,
    secret: SecretAttributes,
}

/// The filter for listing principals.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrincipalFilter {
    /// Only principals with this role.
    pub role: Option<String>,
}

/// The filter for listing tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenFilter {
    /// Only tokens of this principal.
    pub principal: Option<String>,
    /// Only tokens that are valid now.
    pub active: bool,
}

/// The filter for listing grants.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantFilter {
    /// Only grants to this principal itself.
    pub principal: Option<String>,
    /// Only grants to this role.
    pub role: Option<String>,
    /// Only grants for this endpoint, by its name or `*`.
    pub endpoint: Option<String>,
    /// Include revoked grants.
    pub all: bool,
}

/// The filter for listing changes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangesFilter {
    /// The maximum number of changes.
    pub limit: Option<u32>,
    /// Only changes before the one with this id.
    pub before: Option<i64>,
}

/// A principal with its tokens, and the grants to it and its roles.
#[derive(Debug)]
pub struct PrincipalDetails {
    /// The principal.
    pub principal: PrincipalRecord,
    /// Its tokens, including expired and revoked ones.
    pub tokens: Vec<TokenListing>,
    /// The grants to it and its roles, without revoked ones.
    pub grants: Vec<GrantListing>,
}

impl AdminService {
    /// The service for this author of all changes.
    pub fn new(store: Store, author: ChangeAuthor, secret: SecretAttributes) -> Self {
        Self { store, author, secret }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The attributes with secret values.
    pub fn secret(&self) -> &SecretAttributes {
        &self.secret
    }

    fn writer(&self) -> StoreWriter<'_> {
        self.store.writer(&self.author, &self.secret)
    }

    /// Adds a principal.
    pub async fn add_principal(&self, new: NewPrincipal, now: DateTime<Utc>) -> Result<PrincipalRecord, StoreError> {
        self.writer().add_principal(new, now).await
    }

    /// Changes a principal. Returns the changed principal.
    pub async fn change_principal(
        &self,
        name: &str,
        change: PrincipalChange,
        now: DateTime<Utc>,
    ) -> Result<PrincipalRecord, StoreError> {
        self.writer().change_principal(name, change, now).await
    }

    /// Disables a principal. Returns `false` if it was already disabled.
    pub async fn disable_principal(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(PrincipalRecord, bool), StoreError> {
        let changed = self.writer().disable_principal(name, now).await?;
        Ok((self.store.principal(name).await?, changed))
    }

    /// Enables a principal. Returns `false` if it was not disabled.
    pub async fn enable_principal(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(PrincipalRecord, bool), StoreError> {
        let changed = self.writer().enable_principal(name, now).await?;
        Ok((self.store.principal(name).await?, changed))
    }

    /// Principals, by name.
    pub async fn principals(&self, filter: &PrincipalFilter) -> Result<Vec<PrincipalRecord>, StoreError> {
        let mut principals = self.store.principals().await?;
        if let Some(role) = &filter.role {
            principals.retain(|principal| principal.roles.contains(role));
        }
        Ok(principals)
    }

    /// A principal, with its tokens and grants.
    pub async fn principal(&self, name: &str) -> Result<PrincipalDetails, StoreError> {
        let principal = self.store.principal(name).await?;
        let tokens = self.store.tokens(Some(name)).await?;
        let grants = self.store.grants_of(name).await?;
        let grants = grants.into_iter().map(|grant| GrantListing { grant, revoked_at: None }).collect();
        Ok(PrincipalDetails { principal, tokens, grants })
    }

    /// Issues a token for a principal.
    pub async fn issue_token(
        &self,
        principal: &str,
        request: TokenRequest,
        now: DateTime<Utc>,
    ) -> Result<(NewToken, TokenListing), StoreError> {
        let token = new_token()?;
        let listing = self.writer().issue_token(principal, &token, request, now).await?;
        Ok((token, listing))
    }

    /// Replaces a token with a new one.
    pub async fn rotate_token(
        &self,
        id: &str,
        rotation: Rotation,
        now: DateTime<Utc>,
    ) -> Result<(NewToken, TokenListing), StoreError> {
        let token = new_token()?;
        let listing = self.writer().rotate_token(id, &token, rotation, now).await?;
        Ok((token, listing))
    }

    /// Revokes a token. Returns `false` if it was already revoked.
    pub async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<(TokenListing, bool), StoreError> {
        self.writer().revoke_token(id, now).await
    }

    /// Tokens, by principal, newest last.
    pub async fn tokens(&self, filter: &TokenFilter, now: DateTime<Utc>) -> Result<Vec<TokenListing>, StoreError> {
        let mut tokens = self.store.tokens(filter.principal.as_deref()).await?;
        if filter.active {
            tokens.retain(|listing| listing.token.state(now) == TokenState::Active);
        }
        Ok(tokens)
    }

    /// Adds a grant or a denial.
    pub async fn add_grant(&self, request: GrantRequest, now: DateTime<Utc>) -> Result<Granting, StoreError> {
        self.writer().add_grant(request, now).await
    }

    /// Revokes a grant. Returns `false` if it was already revoked.
    pub async fn revoke_grant(&self, id: &str, now: DateTime<Utc>) -> Result<(GrantListing, bool), StoreError> {
        self.writer().revoke_grant(id, now).await
    }

    /// The grant with this id, even if expired or revoked.
    pub async fn grant(&self, id: &str) -> Result<GrantListing, StoreError> {
        self.store.grant(id).await
    }

    /// Grants; those to principals first, by name.
    pub async fn grants(&self, filter: &GrantFilter) -> Result<Vec<GrantListing>, StoreError> {
        let to = match (&filter.principal, &filter.role) {
            (Some(_), Some(_)) => {
                return Err(StoreError::Refused("name a principal or a role, not both".to_owned()));
            }
            (Some(name), None) => Some(Grantee::Principal(self.store.principal(name).await?.name)),
            (None, Some(role)) => Some(Grantee::Role(role.clone())),
            (None, None) => None,
        };
        let mut grants = self.store.grants().await?;
        grants.retain(|listing| {
            let endpoint = filter.endpoint.as_ref().is_none_or(|endpoint| listing.grant.endpoint.as_str() == endpoint);
            to.as_ref().is_none_or(|to| listing.grant.to == *to)
                && endpoint
                && (filter.all || listing.revoked_at.is_none())
        });
        Ok(grants)
    }

    /// Imports a plan, or only computes the result.
    pub async fn import(
        &self,
        plan: &ImportPlan,
        now: DateTime<Utc>,
        dry_run: bool,
        progress: impl FnMut(usize),
    ) -> Result<ImportOutcome, StoreError> {
        self.writer().import(plan, now, dry_run, progress).await
    }

    /// The change log, newest first.
    pub async fn change_log(&self, filter: &ChangesFilter) -> Result<Vec<ChangeRecord>, StoreError> {
        let (most, usual) = CHANGES_LIMITS;
        let limit = filter.limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(StoreError::Refused(format!("`limit` is a whole number from 1 to {most}")));
        }
        self.store.change_log(limit, filter.before).await
    }
}
