//! What of a project can not be served at the moment, because tables can not be read: the lake is away, and nothing is
//! wrong with the project. What does not need these tables is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lakegate_core::project::{Endpoint, Finding};

/// Tables that can not be read, and the endpoints that wait for them.
#[derive(Debug, Default)]
pub struct Away {
    /// Why, by the tables' names.
    tables: BTreeMap<String, Finding>,
    /// The tables that are served as they were before, because they can not be read as they are now; and why.
    kept: BTreeMap<String, Finding>,
    endpoints: BTreeMap<String, Arc<Endpoint>>,
}

impl Away {
    pub(super) fn add_table(&mut self, name: &str, reason: Finding) {
        self.tables.insert(name.to_owned(), reason);
    }

    pub(super) fn keep_table(&mut self, name: &str, reason: Finding) {
        self.kept.insert(name.to_owned(), reason);
    }

    pub(super) fn add_endpoint(&mut self, endpoint: &Endpoint) {
        self.endpoints.insert(endpoint.name.clone(), Arc::new(endpoint.clone()));
    }

    /// Whether everything can be served.
    pub fn is_nothing(&self) -> bool {
        self.tables.is_empty()
    }

    /// The names of the tables that can not be read.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// An endpoint that waits for tables.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name)
    }

    /// Whether all these tables are served as they were before.
    pub fn keeps(&self, tables: &BTreeSet<String>) -> bool {
        tables.iter().all(|table| self.kept.contains_key(table))
    }

    /// Why, for those who operate a server.
    pub fn findings(&self) -> Vec<Finding> {
        self.tables.values().chain(self.kept.values()).cloned().collect()
    }
}
