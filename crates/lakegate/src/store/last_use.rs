//! Remembers when tokens were last taken until the next batch is written; a request never waits for that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::error::StoreError;
use super::open::Store;

/// The most tokens remembered at once. More than that between two batches: the rest is noted at its next use.
const MOST: usize = 100_000;

/// Uses that are not written yet.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    waiting: Mutex<HashMap<String, DateTime<Utc>>>,
}

impl LastUse {
    pub(super) fn note(&self, token: &str, now: DateTime<Utc>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used_at) = waiting.get_mut(token) {
            *used_at = now.max(*used_at);
        } else if waiting.len() < MOST {
            waiting.insert(token.to_owned(), now);
        }
    }

    /// Writes what waits. What can not be written waits on.
    pub(super) async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let batch: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting).into_iter().collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        let written = store.note_last_use(&batch).await;
        if written.is_err() {
            for (token, used_at) in &batch {
                self.note(token, *used_at);
            }
        }
        written
    }
}
