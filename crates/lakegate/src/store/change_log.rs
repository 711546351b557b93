//! Reads the change log, and exports changes to an audit log.
//!
//! Each change is exported at least once: if a process ends between the export and its mark, the change is exported
//! again. The ids identify duplicates.

use std::error::Error as StdError;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::BoxFuture;
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::cells::{from_json, from_micros};
use super::error::StoreError;
use super::open::Store;

/// The number of changes in one export.
const BATCH: u32 = 500;

/// A change of principals, tokens or grants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeRecord {
    /// Greater than the id of every earlier change in the same store; never reused.
    pub id: i64,
    /// When the change was made.
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
    /// Its author: `cli:USER` or `admin:PRINCIPAL:TOKEN_ID`.
    pub actor: String,
    /// The action, such as `token.issue`.
    pub action: String,
    /// The details before and after; holds no secret.
    pub detail: Json,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A permanent record of changes, such as an audit log.
pub trait ChangeSink: fmt::Debug + Send + Sync {
    /// Appends the changes. When the future completes they are durable, and are not exported again.
    fn append<'a>(&'a self, changes: &'a [ChangeRecord]) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Why a sink could not append changes.
pub type SinkError = Box<dyn StdError + Send + Sync>;

/// Why changes were not exported. The next export tries again.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sink did not accept the changes.
    #[error("changes of the access store could not be written to the audit log; they are kept for the next time")]
    Sink(#[source] SinkError),
}

impl Store {
    /// The latest changes, or those before the given id; newest first.
    pub async fn change_log(&self, limit: u32, before: Option<i64>) -> Result<Vec<ChangeRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at, actor, action, detail FROM changes WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(before)
        .bind(before)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(record_of).collect()
    }

    /// Changes that are not exported yet, oldest first.
    pub async fn unexported_changes(&self, limit: u32) -> Result<Vec<ChangeRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT id, at, actor, action, detail FROM changes WHERE exported = 0 ORDER BY id LIMIT ?")
                .bind(limit)
                .fetch_all(self.pool())
                .await?;
        rows.iter().map(record_of).collect()
    }

    /// Marks changes as exported. Affects no access decision and no content of a change.
    pub async fn mark_exported(&self, ids: &[i64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut write = self.begin_write().await?;
        for id in ids {
            sqlx::query("UPDATE changes SET exported = 1 WHERE id = ?").bind(id).execute(&mut *write).await?;
        }
        Ok(write.commit().await?)
    }
}

/// Exports all changes that are not exported yet. Returns their number.
///
/// # Errors
/// If the store or the sink fails. Changes that were not exported stay marked so.
pub async fn export_changes(store: &Store, sink: &dyn ChangeSink) -> Result<usize, ExportError> {
    let mut exported = 0;
    loop {
        let changes = store.unexported_changes(BATCH).await?;
        if changes.is_empty() {
            return Ok(exported);
        }
        sink.append(&changes).await.map_err(ExportError::Sink)?;
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        store.mark_exported(&ids).await?;
        exported += changes.len();
    }
}

fn record_of(row: &SqliteRow) -> Result<ChangeRecord, StoreError> {
    Ok(ChangeRecord {
        id: row.try_get("id")?,
        at: from_micros(row.try_get("at")?)?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        detail: from_json(row.try_get("detail")?, "the detail of a change")?,
    })
}
