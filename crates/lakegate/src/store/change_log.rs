//! The changes that were made, as they were written down: the list of them, and which ones an audit log does not have yet.
//!
//! A change is exported at least once: a process that ends between the two exports it, or another one does, again. The ids
//! tell which is which.

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

/// How many changes are exported at once.
const BATCH: u32 = 500;

/// A change of principals, tokens or grants.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeRecord {
    /// Greater than that of every change before it in the same store; never used again.
    pub id: i64,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
    /// Who made it: `cli:USER` or `admin:PRINCIPAL:TOKEN_ID`.
    pub actor: String,
    /// What was done, such as `token.issue`.
    pub action: String,
    /// With what, before and after; no secret.
    pub detail: Json,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// Where changes are written down for good, such as an audit log.
pub trait ChangeSink: fmt::Debug + Send + Sync {
    /// Keeps the changes. Once this is done they are durable, and are not handed out again.
    fn append<'a>(&'a self, changes: &'a [ChangeRecord]) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// Why a sink could not keep them.
pub type SinkError = Box<dyn StdError + Send + Sync>;

/// Why changes were not exported. They will be, with the next export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store does not give them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sink does not take them.
    #[error("changes of the access store could not be written to the audit log; they are kept for the next time")]
    Sink(#[source] SinkError),
}

impl Store {
    /// The changes before the one of this id, or the last ones; the newest first.
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

    /// Changes that no audit log has yet; the oldest first.
    pub async fn unexported_changes(&self, limit: u32) -> Result<Vec<ChangeRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT id, at, actor, action, detail FROM changes WHERE exported = 0 ORDER BY id LIMIT ?")
                .bind(limit)
                .fetch_all(self.pool())
                .await?;
        rows.iter().map(record_of).collect()
    }

    /// Notes that an audit log has them. Turns no decision and changes nothing that a change says.
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

/// Hands every change that was not exported yet to the sink. Returns how many there were.
///
/// # Errors
/// When the store or the sink fails; what was not exported stays so.
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
