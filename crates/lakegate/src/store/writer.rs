//! Makes changes to the store. Every change goes through [`StoreWriter`], which knows the author, and can be committed only
//! together with a change log row.
//!
//! The row is part of the change's own transaction, so neither exists without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};

use chrono::{DateTime, Utc};
use lakegate_core::access::Admin;
use lakegate_core::value::Value;
use serde_json::{Map, Value as Json};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::cells::to_micros;
use super::error::StoreError;
use super::open::Store;

/// The author of a change, as the change log records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeAuthor(String);

impl ChangeAuthor {
    /// A user of the command line: `cli:USER`.
    pub fn cli(user: &str) -> Self {
        Self(format!("cli:{user}"))
    }

    /// The holder of an admin token: `admin:PRINCIPAL:TOKEN_ID`.
    pub fn admin(admin: &Admin) -> Self {
        Self(format!("admin:{}:{}", admin.name(), admin.token_id()))
    }

    /// The demo, which creates its own principals.
    pub fn demo() -> Self {
        Self("demo".to_owned())
    }
}

impl fmt::Display for ChangeAuthor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The attributes whose values appear nowhere but in the principal itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAttributes(Secret);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Secret {
    All,
    These(BTreeSet<String>),
}

impl SecretAttributes {
    /// All attributes, for when the project's list is not known.
    pub fn all() -> Self {
        Self(Secret::All)
    }

    /// The attributes with these names.
    pub fn these(names: impl IntoIterator<Item = String>) -> Self {
        Self(Secret::These(names.into_iter().collect()))
    }

    fn covers(&self, name: &str) -> bool {
        match &self.0 {
            Secret::All => true,
            Secret::These(names) => names.contains(name),
        }
    }

    /// A value for a listing; `***` if the project declares it secret. If the project's list is not known, the value is
    /// shown, because the user then has direct access to the store.
    pub fn listed(&self, name: &str, value: &Value) -> Json {
        match &self.0 {
            Secret::These(names) if names.contains(name) => "***".into(),
            _ => value.to_json(),
        }
    }

    /// Attributes as JSON, with `***` for the secret ones.
    pub(super) fn hide<'a>(&self, attributes: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Json {
        let shown = |name: &str, value: &Value| if self.covers(name) { "***".into() } else { value.to_json() };
        attributes.into_iter().map(|(name, value)| (name.clone(), shown(name, value))).collect::<Map<_, _>>().into()
    }

    /// The differences between two states of attributes: before and after. Missing attributes are omitted.
    pub(super) fn hide_difference(
        &self,
        before: &BTreeMap<String, Value>,
        after: &BTreeMap<String, Value>,
    ) -> (Json, Json) {
        let differing = |these: &'_ BTreeMap<String, Value>, others: &BTreeMap<String, Value>| {
            self.hide(these.iter().filter(|(name, value)| others.get(*name) != Some(*value)))
        };
        (differing(before, after), differing(after, before))
    }
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    PrincipalAdd,
    PrincipalChange,
    PrincipalDisable,
    PrincipalEnable,
    TokenIssue,
    TokenRotate,
    TokenRevoke,
    GrantAdd,
    GrantRevoke,
    AccessImport,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::PrincipalAdd => "principal.add",
            Action::PrincipalChange => "principal.change",
            Action::PrincipalDisable => "principal.disable",
            Action::PrincipalEnable => "principal.enable",
            Action::TokenIssue => "token.issue",
            Action::TokenRotate => "token.rotate",
            Action::TokenRevoke => "token.revoke",
            Action::GrantAdd => "grant.add",
            Action::GrantRevoke => "grant.revoke",
            Action::AccessImport => "access.import",
        }
    }
}

/// The store with the author of changes, which allows them.
#[derive(Clone, Copy, Debug)]
pub struct StoreWriter<'a> {
    store: &'a Store,
    author: &'a ChangeAuthor,
    secret: &'a SecretAttributes,
}

impl Store {
    /// The store, ready for changes by this author.
    pub fn writer<'a>(&'a self, author: &'a ChangeAuthor, secret: &'a SecretAttributes) -> StoreWriter<'a> {
        StoreWriter { store: self, author, secret }
    }
}

impl<'a> StoreWriter<'a> {
    pub(super) fn secret(&self) -> &'a SecretAttributes {
        self.secret
    }

    /// Begins a change.
    pub(super) async fn begin(&self) -> Result<StoreTransaction<'a>, StoreError> {
        Ok(StoreTransaction { transaction: self.store.begin_write().await?, writer: *self })
    }
}

/// A change in progress. Dropping it rolls it back; only [`StoreTransaction::commit`] keeps it, and requires an action for the
/// log.
pub(super) struct StoreTransaction<'a> {
    transaction: Transaction<'static, Sqlite>,
    writer: StoreWriter<'a>,
}

impl StoreTransaction<'_> {
    /// Commits the change with its change log row.
    pub(super) async fn commit(mut self, now: DateTime<Utc>, action: Action, detail: Json) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO changes (at, actor, action, detail) VALUES (?, ?, ?, ?)")
            .bind(to_micros(now))
            .bind(&self.writer.author.0)
            .bind(action.name())
            .bind(detail.to_string())
            .execute(&mut *self.transaction)
            .await?;
        self.writer.store.commit(self.transaction).await
    }

    /// Rolls the change back.
    pub(super) async fn undo(self) -> Result<(), StoreError> {
        Ok(self.transaction.rollback().await?)
    }
}

impl Deref for StoreTransaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for StoreTransaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}
