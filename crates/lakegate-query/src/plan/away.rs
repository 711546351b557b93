//! What of a project cannot be served at the moment, because tables cannot be read: the lake does not answer, or a table is
//! broken. Nothing is wrong with the project, and what does not need these tables is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lakegate_core::project::{Endpoint, Finding};

/// Tables that cannot be read, and the endpoints that wait for them.
#[derive(Debug, Default)]
pub struct Away {
    tables: BTreeMap<String, Unavailable>,
    /// The tables that are served as they were before, because they cannot be read as they are now; and why.
    kept: BTreeMap<String, Finding>,
    endpoints: BTreeMap<String, Arc<Endpoint>>,
}

/// A table that cannot be read, and was not read before.
#[derive(Debug)]
pub(super) struct Unavailable {
    pub(super) reason: Finding,
    /// Whether nothing is wrong with the table, and the same may be read in a moment.
    pub(super) is_passing: bool,
    /// The files that were found broken; `None` where they were not found.
    pub(super) seen: Option<String>,
}

impl Away {
    pub(super) fn add_table(&mut self, name: &str, table: Unavailable) {
        self.tables.insert(name.to_owned(), table);
    }

    pub(super) fn keep_table(&mut self, name: &str, reason: Finding) {
        self.kept.insert(name.to_owned(), reason);
    }

    pub(super) fn add_endpoint(&mut self, endpoint: &Endpoint) {
        self.endpoints.insert(endpoint.name.clone(), Arc::new(endpoint.clone()));
    }

    pub(super) fn table(&self, name: &str) -> Option<&Unavailable> {
        self.tables.get(name)
    }

    /// Whether everything can be served.
    pub fn is_nothing(&self) -> bool {
        self.tables.is_empty()
    }

    /// The names of the tables that cannot be read.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// The tables that are broken, and why. They stay so until their files are replaced.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &Finding)> {
        let broken = self.tables.iter().filter(|(_, table)| !table.is_passing);
        broken.map(|(name, table)| (name.as_str(), &table.reason))
    }

    /// An endpoint that waits for tables.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name)
    }

    /// Whether all these tables are served as they were before.
    pub fn keeps(&self, tables: &BTreeSet<String>) -> bool {
        tables.iter().all(|table| self.kept.contains_key(table))
    }

    /// Why tables cannot be read, for those who operate a server.
    pub fn findings(&self) -> Vec<Finding> {
        self.reasons().chain(self.kept.values()).cloned().collect()
    }

    /// The tables that cannot be read, and why.
    pub fn unavailable(&self) -> impl Iterator<Item = (&str, &Finding)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), &table.reason))
    }

    /// Why tables cannot be read now, of which other files may be there in a moment.
    pub fn passing(&self) -> Vec<Finding> {
        let passing = self.tables.values().filter(|table| table.is_passing).map(|table| &table.reason);
        passing.chain(self.kept.values()).cloned().collect()
    }

    /// Why tables cannot be read that were not read before.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &Finding> {
        self.tables.values().map(|table| &table.reason)
    }
}
