//! Tracks the tables that cannot be read now, because the lake does not respond or a table is broken, and the endpoints
//! that wait for them. The project itself is correct, and everything else is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lakegate_core::project::{Endpoint, Finding};

/// Tables that cannot be read, and the endpoints that wait for them.
#[derive(Debug, Default)]
pub struct Away {
    tables: BTreeMap<String, Unavailable>,
    /// Tables that are served in their earlier version because the current one cannot be read, with the reason for
    /// each.
    kept: BTreeMap<String, Finding>,
    endpoints: BTreeMap<String, Arc<Endpoint>>,
}

/// A table that cannot be read and has no earlier version.
#[derive(Debug)]
pub(super) struct Unavailable {
    pub(super) reason: Finding,
    /// Whether the failure is transient: the same files may be readable in a moment.
    pub(super) is_passing: bool,
    /// The version of the broken files; `None` if no files were found.
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

    /// Names of the tables that cannot be read.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// The broken tables with the reason for each. A table stays broken until its files are replaced.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &Finding)> {
        let broken = self.tables.iter().filter(|(_, table)| !table.is_passing);
        broken.map(|(name, table)| (name.as_str(), &table.reason))
    }

    /// The endpoint with this name, if it waits for tables.
    pub fn endpoint(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(name)
    }

    /// Whether all of these tables are served in their earlier version.
    pub fn keeps(&self, tables: &BTreeSet<String>) -> bool {
        tables.iter().all(|table| self.kept.contains_key(table))
    }

    /// The reasons why tables cannot be read, for operators.
    pub fn findings(&self) -> Vec<Finding> {
        self.reasons().chain(self.kept.values()).cloned().collect()
    }

    /// The tables that cannot be read, with the reason for each.
    pub fn unavailable(&self) -> impl Iterator<Item = (&str, &Finding)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), &table.reason))
    }

    /// The reasons that may pass: transient failures, and tables that keep their earlier version.
    pub fn passing(&self) -> Vec<Finding> {
        let passing = self.tables.values().filter(|table| table.is_passing).map(|table| &table.reason);
        passing.chain(self.kept.values()).cloned().collect()
    }

    /// The reasons why tables without an earlier version cannot be read.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &Finding> {
        self.tables.values().map(|table| &table.reason)
    }
}
