//! Reads everything that decides a caller's access from one snapshot: by token, or by the claims of an issuer.

use std::sync::Arc;

use lakegate_core::access::{Credential, PrincipalRecord, Proof, TokenHash, VerifiedAssertion};
use sqlx::Row;

use super::cells::{attributes_from_json, from_micros, from_optional_micros};
use super::error::StoreError;
use super::open::Store;
use super::{grants, principals, tokens};

impl Store {
    /// The token with this hash, its principal, and the grants to the principal and its roles; `None` if there is no
    /// such token.
    pub(super) async fn credential(&self, hash: TokenHash) -> Result<Option<Credential>, StoreError> {
        // One transaction, so that the roles and the grants belong to the same state.
        let mut read = self.pool().begin().await?;
        let row = sqlx::query(
            "SELECT t.id, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.successor, t.scope, t.admin, \
                    p.id AS principal_id, p.name, p.attributes, p.created_at AS principal_created_at, p.disabled_at \
             FROM tokens AS t JOIN principals AS p ON p.id = t.principal_id WHERE t.hash = ?",
        )
        .bind(hash.as_bytes().as_slice())
        .fetch_optional(&mut *read)
        .await?;
        let Some(row) = row else { return Ok(None) };

        let id: String = row.try_get("principal_id")?;
        let created_at = from_micros(row.try_get("principal_created_at")?)?;
        let mut principal = PrincipalRecord::new(id, row.try_get::<String, _>("name")?, created_at);
        principal.attributes = attributes_from_json(row.try_get("attributes")?)?;
        principal.disabled_at = from_optional_micros(row.try_get("disabled_at")?)?;
        principal.roles = principals::roles_of(&mut read, &principal.id).await?;
        let grants = grants::of_principal(&mut read, &principal.id).await?;
        let token = tokens::record_of(&row)?;
        Ok(Some(Credential { proof: token.into(), principal: Arc::new(principal), grants: grants.into() }))
    }

    /// The claims of an issuer, with the grants to the name and the roles in them. Attributes and roles in the store
    /// are not added, because the claims are complete. A principal of this name that is disabled in the store is
    /// disabled here as well.
    pub(super) async fn asserted_credential(&self, asserted: &VerifiedAssertion) -> Result<Credential, StoreError> {
        let mut principal = asserted.principal().clone();
        let mut read = self.pool().begin().await?;
        let known = principals::find(&mut read, &principal.name).await?;
        principal.disabled_at = known.and_then(|known| known.disabled_at);
        let grants = grants::of_name(&mut read, &principal.name, &principal.roles).await?;
        let proof = Proof::Assertion(asserted.assertion().clone());
        Ok(Credential { proof, principal: Arc::new(principal), grants: grants.into() })
    }

    /// The number of changes, by any process, that can affect an access decision.
    pub(super) async fn access_version(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT version FROM access_version").fetch_one(self.pool()).await?)
    }

    /// The grants that the principal of this name has, itself or through its roles. Includes expired grants.
    pub async fn grants_of(&self, principal: &str) -> Result<Vec<lakegate_core::access::Grant>, StoreError> {
        let mut read = self.pool().begin().await?;
        let record = principals::existing(&mut read, principal).await?;
        grants::of_principal(&mut read, &record.id).await
    }
}
