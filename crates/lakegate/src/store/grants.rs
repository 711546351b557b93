//! Adds, lists and revokes grants in the store.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakegate_core::access::name::NameKind;
use lakegate_core::access::{Effect, EndpointPattern, Grant, Grantee, Terms};
use serde_json::{Value as Json, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::cells::{from_json, from_micros, from_optional_micros, time, to_json, to_micros};
use super::error::StoreError;
use super::open::Store;
use super::principals;
use super::random::new_id;
use super::writer::{Action, StoreTransaction, StoreWriter};

/// A grant to add.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    /// The principal or role.
    pub to: Grantee,
    /// The endpoint.
    pub endpoint: EndpointPattern,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The columns, unmasking and rules.
    pub terms: Terms,
    /// When it expires.
    pub expires_at: Option<DateTime<Utc>>,
}

impl GrantRequest {
    /// A permanent grant of the whole endpoint.
    pub fn new(to: Grantee, endpoint: EndpointPattern) -> Self {
        Self { to, endpoint, effect: Effect::Allow, terms: Terms::default(), expires_at: None }
    }
}

/// The result of adding a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granting {
    /// The grant is new.
    Added(Grant),
    /// A grant with equal terms and expiry is already in force.
    Unchanged(Grant),
}

/// A grant, and whether it was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantListing {
    /// The grant.
    pub grant: Grant,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl StoreWriter<'_> {
    /// Adds a grant. An equal grant in force is left unchanged. The same terms with another expiry are an error.
    /// Different terms make another grant, and the caller gets the union of both.
    pub async fn add_grant(&self, request: GrantRequest, now: DateTime<Utc>) -> Result<Granting, StoreError> {
        if let EndpointPattern::Named(name) = &request.endpoint {
            NameKind::Endpoint.check(name)?;
        }
        match request.effect {
            Effect::Allow => request.terms.check()?,
            Effect::Deny => request.terms.check_denial()?,
        }
        if let Some(expiry) = request.expires_at.filter(|expiry| *expiry <= now) {
            return Err(StoreError::ExpiryInThePast(expiry));
        }
        let mut change = self.begin().await?;
        let grantee = GranteeRow::resolve(&mut change, &request.to).await?;
        let rows = sqlx::query(
            "SELECT g.id, g.role, g.endpoint, g.effect, g.terms, g.created_at, g.expires_at, p.name \
             FROM grants AS g LEFT JOIN principals AS p ON p.id = g.principal_id \
             WHERE g.revoked_at IS NULL AND g.endpoint = ? AND (g.principal_id = ? OR g.role = ?)",
        )
        .bind(request.endpoint.as_str())
        .bind(&grantee.principal_id)
        .bind(&grantee.role)
        .fetch_all(&mut *change)
        .await?;
        for row in &rows {
            let grant = grant_of(row)?;
            if grant.has_expired(now) || grant.effect != request.effect || grant.terms != request.terms {
                continue;
            }
            if grant.expires_at.map(to_micros) == request.expires_at.map(to_micros) {
                return Ok(Granting::Unchanged(grant));
            }
            return Err(StoreError::GrantExists { id: grant.id, expires_at: grant.expires_at });
        }
        let mut grant = Grant::new(new_id()?, request.to, request.endpoint, from_micros(to_micros(now))?);
        grant.effect = request.effect;
        grant.terms = request.terms;
        grant.expires_at = request.expires_at;
        insert(&mut change, &grantee, &grant).await?;
        let detail = json!({ "grant": grant.id, "after": described(&grant) });
        change.commit(now, Action::GrantAdd, detail).await?;
        Ok(Granting::Added(grant))
    }

    /// Revokes a grant permanently. Returns `false` if it was already revoked.
    pub async fn revoke_grant(&self, id: &str, now: DateTime<Utc>) -> Result<(GrantListing, bool), StoreError> {
        let mut change = self.begin().await?;
        let listing = existing(&mut change, id).await?;
        if listing.revoked_at.is_some() {
            return Ok((listing, false));
        }
        sqlx::query("UPDATE grants SET revoked_at = ? WHERE id = ?")
            .bind(to_micros(now))
            .bind(id)
            .execute(&mut *change)
            .await?;
        let listing = existing(&mut change, id).await?;
        let detail = json!({ "grant": id, "before": described(&listing.grant) });
        change.commit(now, Action::GrantRevoke, detail).await?;
        Ok((listing, true))
    }
}

impl Store {
    /// All grants, including expired and revoked ones; those to principals come first, by name.
    pub async fn grants(&self) -> Result<Vec<GrantListing>, StoreError> {
        let rows = sqlx::query(
            "SELECT g.id, g.role, g.endpoint, g.effect, g.terms, g.created_at, g.expires_at, g.revoked_at, p.name \
             FROM grants AS g LEFT JOIN principals AS p ON p.id = g.principal_id \
             ORDER BY g.role IS NOT NULL, p.name, g.role, g.endpoint, g.created_at, g.id",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(listing_of).collect()
    }

    /// The grant with this id.
    pub async fn grant(&self, id: &str) -> Result<GrantListing, StoreError> {
        let mut read = self.pool().begin().await?;
        existing(&mut read, id).await
    }
}

/// The grantee as it is stored in the columns.
pub(super) struct GranteeRow {
    principal_id: Option<String>,
    role: Option<String>,
}

impl GranteeRow {
    pub(super) fn principal(id: String) -> Self {
        Self { principal_id: Some(id), role: None }
    }

    async fn resolve(connection: &mut SqliteConnection, grantee: &Grantee) -> Result<Self, StoreError> {
        match grantee {
            Grantee::Principal(name) => Ok(Self::principal(principals::existing(connection, name).await?.id)),
            Grantee::Role(role) => {
                NameKind::Role.check(role)?;
                Ok(Self { principal_id: None, role: Some(role.clone()) })
            }
        }
    }
}

pub(super) async fn insert(
    change: &mut StoreTransaction<'_>,
    grantee: &GranteeRow,
    grant: &Grant,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO grants (id, principal_id, role, endpoint, effect, terms, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&grant.id)
    .bind(&grantee.principal_id)
    .bind(&grantee.role)
    .bind(grant.endpoint.as_str())
    .bind(grant.effect.name())
    .bind(to_json(&grant.terms)?)
    .bind(to_micros(grant.created_at))
    .bind(grant.expires_at.map(to_micros))
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// A grant for the detail of a change.
fn described(grant: &Grant) -> Json {
    let (principal, role) = match &grant.to {
        Grantee::Principal(name) => (Some(name), None),
        Grantee::Role(role) => (None, Some(role)),
    };
    json!({
        "principal": principal,
        "role": role,
        "endpoint": grant.endpoint.as_str(),
        "effect": grant.effect.name(),
        "terms": grant.terms,
        "expires_at": grant.expires_at.map(time),
    })
}

/// The unrevoked grants of a principal: to itself and to its roles. Includes expired grants.
pub(super) async fn of_principal(connection: &mut SqliteConnection, id: &str) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query(
        "SELECT g.id, g.role, g.endpoint, g.effect, g.terms, g.created_at, g.expires_at, p.name \
         FROM grants AS g LEFT JOIN principals AS p ON p.id = g.principal_id \
         WHERE g.revoked_at IS NULL \
           AND (g.principal_id = ? OR g.role IN (SELECT role FROM principal_roles WHERE principal_id = ?)) \
         ORDER BY g.id",
    )
    .bind(id)
    .bind(id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(grant_of).collect()
}

/// The unrevoked grants to a name and to roles that the store need not know. Includes expired grants.
pub(super) async fn of_name(
    connection: &mut SqliteConnection,
    name: &str,
    roles: &BTreeSet<String>,
) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query(
        "SELECT g.id, g.role, g.endpoint, g.effect, g.terms, g.created_at, g.expires_at, p.name \
         FROM grants AS g LEFT JOIN principals AS p ON p.id = g.principal_id \
         WHERE g.revoked_at IS NULL \
           AND (g.principal_id = (SELECT id FROM principals WHERE name = ?) OR g.role IN (SELECT value FROM json_each(?))) \
         ORDER BY g.id",
    )
    .bind(name)
    .bind(to_json(roles)?)
    .fetch_all(connection)
    .await?;
    rows.iter().map(grant_of).collect()
}

async fn existing(connection: &mut SqliteConnection, id: &str) -> Result<GrantListing, StoreError> {
    let row = sqlx::query(
        "SELECT g.id, g.role, g.endpoint, g.effect, g.terms, g.created_at, g.expires_at, g.revoked_at, p.name \
         FROM grants AS g LEFT JOIN principals AS p ON p.id = g.principal_id WHERE g.id = ?",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or_else(|| StoreError::Missing { what: "grant", name: id.to_owned() })?;
    listing_of(&row)
}

fn listing_of(row: &SqliteRow) -> Result<GrantListing, StoreError> {
    Ok(GrantListing { grant: grant_of(row)?, revoked_at: from_optional_micros(row.try_get("revoked_at")?)? })
}

/// Reads the grant from a row with the columns `id, role, endpoint, effect, terms, created_at, expires_at` and the
/// principal's `name`.
fn grant_of(row: &SqliteRow) -> Result<Grant, StoreError> {
    let to = match (row.try_get::<Option<String>, _>("name")?, row.try_get::<Option<String>, _>("role")?) {
        (Some(name), None) => Grantee::Principal(name),
        (None, Some(role)) => Grantee::Role(role),
        _ => return Err(StoreError::Corrupt("whom a grant is for".to_owned())),
    };
    let endpoint = EndpointPattern::from_text(row.try_get("endpoint")?);
    let created_at = from_micros(row.try_get("created_at")?)?;
    let mut grant = Grant::new(row.try_get::<String, _>("id")?, to, endpoint, created_at);
    // Unreadable terms are an error, never a grant without terms.
    let corrupt = || StoreError::Corrupt("the effect of a grant".to_owned());
    grant.effect = Effect::from_name(row.try_get("effect")?).ok_or_else(corrupt)?;
    grant.terms = from_json(row.try_get("terms")?, "the terms of a grant")?;
    grant.expires_at = from_optional_micros(row.try_get("expires_at")?)?;
    Ok(grant)
}
