//! Whether the store of a lake answers, as the last requests to it tell.

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::object_store::{Error as StoreError, Result};

use super::said::is_away;

/// What the last request found.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    is_lost: AtomicBool,
}

impl Contact {
    /// Takes note of how a request ended.
    pub(crate) fn note<T>(&self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.is_lost.store(false, Ordering::Relaxed),
            Err(error) => self.failed(error),
        }
    }

    /// Takes note of a failure. A store that refuses something answers all the same.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.is_lost.store(is_away(error), Ordering::Relaxed);
    }

    /// Whether the last request was not answered.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}
