//! Adds, lists, shows, changes, disables and enables principals in the store.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use lakegate_core::access::PrincipalRecord;
use lakegate_core::access::name::NameKind;
use lakegate_core::value::Value;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::cells::{attributes_from_json, attributes_to_json, from_micros, from_optional_micros, time, to_micros};
use super::error::StoreError;
use super::open::Store;
use super::random::new_id;
use super::writer::{Action, StoreTransaction, StoreWriter};

/// The maximum number of attributes, and of roles, of one principal.
const MAX_ENTRIES: usize = 200;

/// A principal to add.
#[derive(Clone, Debug, Default)]
pub struct NewPrincipal {
    /// The name, which must be new.
    pub name: String,
    /// The attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The roles.
    pub roles: BTreeSet<String>,
}

/// The changes to a principal.
#[derive(Clone, Debug, Default)]
pub struct PrincipalChange {
    /// Attributes to set.
    pub set_attributes: BTreeMap<String, Value>,
    /// Attributes to remove.
    pub remove_attributes: BTreeSet<String>,
    /// Roles to add.
    pub add_roles: BTreeSet<String>,
    /// Roles to remove.
    pub remove_roles: BTreeSet<String>,
}

impl PrincipalChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { set_attributes, remove_attributes, add_roles, remove_roles } = self;
        set_attributes.is_empty() && remove_attributes.is_empty() && add_roles.is_empty() && remove_roles.is_empty()
    }
}

impl StoreWriter<'_> {
    /// Adds a principal.
    pub async fn add_principal(&self, new: NewPrincipal, now: DateTime<Utc>) -> Result<PrincipalRecord, StoreError> {
        let mut change = self.begin().await?;
        if find(&mut change, &new.name).await?.is_some() {
            return Err(StoreError::PrincipalExists { name: new.name });
        }
        let record = insert(&mut change, new, now).await?;
        let after = json!({ "attributes": self.secret().hide(&record.attributes), "roles": record.roles });
        let detail = json!({ "principal": record.name, "after": after });
        change.commit(now, Action::PrincipalAdd, detail).await?;
        Ok(record)
    }

    /// Changes attributes and roles. Returns the changed principal.
    pub async fn change_principal(
        &self,
        name: &str,
        change: PrincipalChange,
        now: DateTime<Utc>,
    ) -> Result<PrincipalRecord, StoreError> {
        let mut transaction = self.begin().await?;
        let before = existing(&mut transaction, name).await?;
        let mut record = before.clone();
        for attribute in &change.remove_attributes {
            if record.attributes.remove(attribute).is_none() {
                return Err(StoreError::Refused(format!(
                    "principal `{name}` has no attribute `{attribute}` to remove"
                )));
            }
        }
        record.attributes.extend(change.set_attributes);
        for role in &change.remove_roles {
            if !record.roles.remove(role) {
                return Err(StoreError::Refused(format!("principal `{name}` has no role `{role}` to remove")));
            }
        }
        record.roles.extend(change.add_roles);
        check(&record.attributes, &record.roles)?;
        if record == before {
            return Ok(record);
        }
        sqlx::query("UPDATE principals SET attributes = ? WHERE id = ?")
            .bind(attributes_to_json(&record.attributes))
            .bind(&record.id)
            .execute(&mut *transaction)
            .await?;
        for role in before.roles.difference(&record.roles) {
            sqlx::query("DELETE FROM principal_roles WHERE principal_id = ? AND role = ?")
                .bind(&record.id)
                .bind(role)
                .execute(&mut *transaction)
                .await?;
        }
        for role in record.roles.difference(&before.roles) {
            insert_role(&mut transaction, &record.id, role).await?;
        }
        let (before_attributes, after_attributes) =
            self.secret().hide_difference(&before.attributes, &record.attributes);
        let mut detail = json!({
            "principal": record.name,
            "before": { "attributes": before_attributes },
            "after": { "attributes": after_attributes },
        });
        if before.roles != record.roles {
            detail["before"]["roles"] = json!(before.roles);
            detail["after"]["roles"] = json!(record.roles);
        }
        transaction.commit(now, Action::PrincipalChange, detail).await?;
        Ok(record)
    }

    /// Disables a principal: its tokens are refused until it is enabled. Returns `false` if it was already disabled.
    pub async fn disable_principal(&self, name: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut change = self.begin().await?;
        let record = existing(&mut change, name).await?;
        if record.disabled_at.is_some() {
            return Ok(false);
        }
        sqlx::query("UPDATE principals SET disabled_at = ? WHERE id = ?")
            .bind(to_micros(now))
            .bind(&record.id)
            .execute(&mut *change)
            .await?;
        change.commit(now, Action::PrincipalDisable, json!({ "principal": record.name })).await?;
        Ok(true)
    }

    /// Enables a disabled principal. Returns `false` if it was not disabled.
    pub async fn enable_principal(&self, name: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut change = self.begin().await?;
        let record = existing(&mut change, name).await?;
        if record.disabled_at.is_none() {
            return Ok(false);
        }
        sqlx::query("UPDATE principals SET disabled_at = NULL WHERE id = ?")
            .bind(&record.id)
            .execute(&mut *change)
            .await?;
        let before = json!({ "disabled_at": record.disabled_at.map(time) });
        let detail = json!({ "principal": record.name, "before": before });
        change.commit(now, Action::PrincipalEnable, detail).await?;
        Ok(true)
    }
}

impl Store {
    /// All principals, by name.
    pub async fn principals(&self) -> Result<Vec<PrincipalRecord>, StoreError> {
        let mut read = self.pool().begin().await?;
        let rows = sqlx::query("SELECT id, name, attributes, created_at, disabled_at FROM principals ORDER BY name")
            .fetch_all(&mut *read)
            .await?;
        let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let pairs: Vec<(String, String)> =
            sqlx::query_as("SELECT principal_id, role FROM principal_roles").fetch_all(&mut *read).await?;
        for (principal, role) in pairs {
            roles.entry(principal).or_default().insert(role);
        }
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let mut record = record_of(&row)?;
            record.roles = roles.remove(&record.id).unwrap_or_default();
            records.push(record);
        }
        Ok(records)
    }

    /// The principal with this name.
    pub async fn principal(&self, name: &str) -> Result<PrincipalRecord, StoreError> {
        let mut read = self.pool().begin().await?;
        existing(&mut read, name).await
    }
}

/// The principal with this name and its roles; `None` if there is none.
pub(super) async fn find(connection: &mut SqliteConnection, name: &str) -> Result<Option<PrincipalRecord>, StoreError> {
    let row = sqlx::query("SELECT id, name, attributes, created_at, disabled_at FROM principals WHERE name = ?")
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut record = record_of(&row)?;
    record.roles = roles_of(connection, &record.id).await?;
    Ok(Some(record))
}

pub(super) async fn existing(connection: &mut SqliteConnection, name: &str) -> Result<PrincipalRecord, StoreError> {
    let found = find(connection, name).await?;
    found.ok_or_else(|| StoreError::Missing { what: "principal", name: name.to_owned() })
}

pub(super) async fn roles_of(connection: &mut SqliteConnection, id: &str) -> Result<BTreeSet<String>, StoreError> {
    let roles: Vec<String> = sqlx::query_scalar("SELECT role FROM principal_roles WHERE principal_id = ?")
        .bind(id)
        .fetch_all(connection)
        .await?;
    Ok(roles.into_iter().collect())
}

/// Inserts a principal whose name is known to be new.
pub(super) async fn insert(
    change: &mut StoreTransaction<'_>,
    new: NewPrincipal,
    now: DateTime<Utc>,
) -> Result<PrincipalRecord, StoreError> {
    NameKind::Principal.check(&new.name)?;
    check(&new.attributes, &new.roles)?;
    let mut record = PrincipalRecord::new(new_id()?, new.name, from_micros(to_micros(now))?);
    record.attributes = new.attributes;
    record.roles = new.roles;
    sqlx::query("INSERT INTO principals (id, name, attributes, created_at) VALUES (?, ?, ?, ?)")
        .bind(&record.id)
        .bind(&record.name)
        .bind(attributes_to_json(&record.attributes))
        .bind(to_micros(now))
        .execute(&mut **change)
        .await?;
    for role in &record.roles {
        insert_role(change, &record.id, role).await?;
    }
    Ok(record)
}

async fn insert_role(change: &mut StoreTransaction<'_>, id: &str, role: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO principal_roles (principal_id, role) VALUES (?, ?)")
        .bind(id)
        .bind(role)
        .execute(&mut **change)
        .await?;
    Ok(())
}

fn check(attributes: &BTreeMap<String, Value>, roles: &BTreeSet<String>) -> Result<(), StoreError> {
    if attributes.len() > MAX_ENTRIES || roles.len() > MAX_ENTRIES {
        return Err(StoreError::Refused(format!(
            "a principal has at most {MAX_ENTRIES} attributes and {MAX_ENTRIES} roles"
        )));
    }
    for attribute in attributes.keys() {
        NameKind::Attribute.check(attribute)?;
    }
    for role in roles {
        NameKind::Role.check(role)?;
    }
    Ok(())
}

/// Reads the principal, without its roles, from a row with the columns `id, name, attributes, created_at, disabled_at`.
fn record_of(row: &SqliteRow) -> Result<PrincipalRecord, StoreError> {
    let mut record = PrincipalRecord::new(
        row.try_get::<String, _>("id")?,
        row.try_get::<String, _>("name")?,
        from_micros(row.try_get("created_at")?)?,
    );
    record.attributes = attributes_from_json(row.try_get("attributes")?)?;
    record.disabled_at = from_optional_micros(row.try_get("disabled_at")?)?;
    Ok(record)
}
