//! Tracks tables that a catalog withdrew while they were served. Requests for them are refused at once, because the
//! project without these tables may have other errors and never be served.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// The names of withdrawn tables.
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    /// Read by every request.
    is_any: AtomicBool,
    names: RwLock<BTreeSet<String>>,
}

impl Withdrawn {
    pub(super) fn add(&self, table: &str) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned());
        self.is_any.store(true, Ordering::Release);
    }

    pub(super) fn remove(&self, table: &str) {
        if self.is_any() {
            let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
            names.remove(table);
            self.is_any.store(!names.is_empty(), Ordering::Release);
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    pub(super) fn has_one_of(&self, tables: &BTreeSet<String>) -> bool {
        !self.names.read().unwrap_or_else(PoisonError::into_inner).is_disjoint(tables)
    }
}
