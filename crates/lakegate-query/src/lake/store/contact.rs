//! Tracks whether a lake's object store answers, from the outcome of the last request.

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::object_store::{Error as StoreError, Result};

use super::said::is_away;

/// Outcome of the last request to a store.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    is_lost: AtomicBool,
}

impl Contact {
    /// Records how a request ended.
    pub(crate) fn note<T>(&self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.is_lost.store(false, Ordering::Relaxed),
            Err(error) => self.failed(error),
        }
    }

    /// Records a failure. A store that refuses a request still answers, so it is not lost.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.is_lost.store(is_away(error), Ordering::Relaxed);
    }

    /// Whether the last request got no answer.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}
