//! Buffers the last uses of tokens until they are written in a batch, so that no request waits for the write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::error::StoreError;
use super::open::Store;

/// The maximum number of buffered tokens. Further ones are recorded at their next use after the batch is written.
const MAX_BUFFERED: usize = 100_000;

/// Uses that are not written yet.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    waiting: Mutex<HashMap<String, DateTime<Utc>>>,
}

impl LastUse {
    pub(super) fn record(&self, token: &str, now: DateTime<Utc>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used_at) = waiting.get_mut(token) {
            *used_at = now.max(*used_at);
        } else if waiting.len() < MAX_BUFFERED {
            waiting.insert(token.to_owned(), now);
        }
    }

    /// Writes the buffered uses. If that fails, they stay buffered.
    pub(super) async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let batch: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting).into_iter().collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        let written = store.write_last_uses(&batch).await;
        if written.is_err() {
            for (token, used_at) in &batch {
                self.record(token, *used_at);
            }
        }
        written
    }
}
