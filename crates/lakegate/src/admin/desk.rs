//! Where changes are asked for: a store, who asks, and one function for each thing that can be asked.

use chrono::{DateTime, Utc};
use lakegate_core::access::import::ImportPlan;
use lakegate_core::access::{Grantee, NewToken, PrincipalRecord, TokenState};
use serde::Deserialize;

use crate::store::{
    Actor, ChangeRecord, Changes, GrantListing, GrantRequest, Granting, ImportOutcome, NewPrincipal, PrincipalChange,
    Rotation, SecretAttributes, Store, StoreError, TokenListing, TokenRequest, new_token,
};

/// The most changes that are listed at once, and how many are where nobody says.
const CHANGES: (u32, u32) = (1_000, 100);

/// A store in the hands of somebody who may ask everything of it and change it.
#[derive(Clone, Debug)]
pub struct Desk {
    store: Store,
    actor: Actor,
    secret: SecretAttributes,
}

/// Which principals to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrincipalFilter {
    /// Only those with this role.
    pub role: Option<String>,
}

/// Which tokens to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenFilter {
    /// Only those of this principal.
    pub principal: Option<String>,
    /// Only those that are taken now.
    pub active: bool,
}

/// Which grants to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantFilter {
    /// Only those to this principal itself.
    pub principal: Option<String>,
    /// Only those to this role.
    pub role: Option<String>,
    /// Only those for this endpoint, by its name or `*`.
    pub endpoint: Option<String>,
    /// Also revoked ones.
    pub all: bool,
}

/// Which changes to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangesFilter {
    /// At most so many.
    pub limit: Option<u32>,
    /// Only those before the one of this id.
    pub before: Option<i64>,
}

/// A principal with its tokens and the grants that count for it.
#[derive(Debug)]
pub struct PrincipalDetails {
    /// The principal.
    pub principal: PrincipalRecord,
    /// Its tokens, also those that ended.
    pub tokens: Vec<TokenListing>,
    /// The grants to it and to its roles; revoked ones are not among them.
    pub grants: Vec<GrantListing>,
}

impl Desk {
    /// Whatever is changed there is changed by this actor.
    pub fn new(store: Store, actor: Actor, secret: SecretAttributes) -> Self {
        Self { store, actor, secret }
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The attributes whose values are not told.
    pub fn secret(&self) -> &SecretAttributes {
        &self.secret
    }

    fn changes(&self) -> Changes<'_> {
        self.store.by(&self.actor, &self.secret)
    }

    /// Adds a principal.
    pub async fn add_principal(&self, new: NewPrincipal, now: DateTime<Utc>) -> Result<PrincipalRecord, StoreError> {
        self.changes().add_principal(new, now).await
    }

    /// Changes a principal. Returns it as it is then.
    pub async fn change_principal(
        &self,
        name: &str,
        change: PrincipalChange,
        now: DateTime<Utc>,
    ) -> Result<PrincipalRecord, StoreError> {
        self.changes().change_principal(name, change, now).await
    }

    /// Disables a principal. `false`: it was disabled already.
    pub async fn disable_principal(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(PrincipalRecord, bool), StoreError> {
        let changed = self.changes().disable_principal(name, now).await?;
        Ok((self.store.principal(name).await?, changed))
    }

    /// Enables a principal. `false`: it was not disabled.
    pub async fn enable_principal(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(PrincipalRecord, bool), StoreError> {
        let changed = self.changes().enable_principal(name, now).await?;
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

    /// A principal, with all that belongs to it.
    pub async fn principal(&self, name: &str) -> Result<PrincipalDetails, StoreError> {
        let principal = self.store.principal(name).await?;
        let tokens = self.store.tokens(Some(name)).await?;
        let grants = self.store.grants_of(name).await?;
        let grants = grants.into_iter().map(|grant| GrantListing { grant, revoked_at: None }).collect();
        Ok(PrincipalDetails { principal, tokens, grants })
    }

    /// Makes a token for a principal.
    pub async fn issue_token(
        &self,
        principal: &str,
        request: TokenRequest,
        now: DateTime<Utc>,
    ) -> Result<(NewToken, TokenListing), StoreError> {
        let token = new_token()?;
        let listing = self.changes().issue_token(principal, &token, request, now).await?;
        Ok((token, listing))
    }

    /// Replaces a token by a new one.
    pub async fn rotate_token(
        &self,
        id: &str,
        rotation: Rotation,
        now: DateTime<Utc>,
    ) -> Result<(NewToken, TokenListing), StoreError> {
        let token = new_token()?;
        let listing = self.changes().rotate_token(id, &token, rotation, now).await?;
        Ok((token, listing))
    }

    /// Revokes a token. `false`: it was revoked already.
    pub async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<(TokenListing, bool), StoreError> {
        self.changes().revoke_token(id, now).await
    }

    /// Tokens, by principal, the newest last.
    pub async fn tokens(&self, filter: &TokenFilter, now: DateTime<Utc>) -> Result<Vec<TokenListing>, StoreError> {
        let mut tokens = self.store.tokens(filter.principal.as_deref()).await?;
        if filter.active {
            tokens.retain(|listing| listing.token.state(now) == TokenState::Active);
        }
        Ok(tokens)
    }

    /// Adds a grant or a denial.
    pub async fn add_grant(&self, request: GrantRequest, now: DateTime<Utc>) -> Result<Granting, StoreError> {
        self.changes().add_grant(request, now).await
    }

    /// Revokes a grant. `false`: it was revoked already.
    pub async fn revoke_grant(&self, id: &str, now: DateTime<Utc>) -> Result<(GrantListing, bool), StoreError> {
        self.changes().revoke_grant(id, now).await
    }

    /// The grant of this id, also when it ended.
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

    /// Puts the plan of an import in, or only looks what that would do.
    pub async fn import(
        &self,
        plan: &ImportPlan,
        now: DateTime<Utc>,
        dry_run: bool,
        progress: impl FnMut(usize),
    ) -> Result<ImportOutcome, StoreError> {
        self.changes().import(plan, now, dry_run, progress).await
    }

    /// Changes that were made, the newest first.
    pub async fn change_log(&self, filter: &ChangesFilter) -> Result<Vec<ChangeRecord>, StoreError> {
        let (most, usual) = CHANGES;
        let limit = filter.limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(StoreError::Refused(format!("`limit` is a whole number from 1 to {most}")));
        }
        self.store.change_log(limit, filter.before).await
    }
}
