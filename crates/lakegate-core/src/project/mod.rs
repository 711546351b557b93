//! Parses and checks the files of a project folder: `lakegate.toml`, `endpoints/*.sql` and `tables/*.ingest.toml`
//! become a [`Project`] and all findings.
//!
//! Reads no files: their text is an argument. `lakegate_query` checks what needs SQL or the lake.

mod access;
mod admin;
mod audit;
mod cache;
mod catalog;
mod column;
#[cfg(test)]
mod column_tests;
mod config;
mod docs;
mod endpoint;
mod finding;
mod formats;
mod hot;
mod http;
pub mod ingest;
mod issuer;
mod lake;
mod limits;
mod mask;
pub mod name;
mod observe;
mod param;
mod policy_test;
mod reader;
mod reload;
mod settings;
#[cfg(test)]
mod settings_tests;
mod text_files;
mod variables;

use std::collections::BTreeMap;

pub use access::{access_store, secret_attributes};
pub use admin::{ADMIN_LISTEN, AdminApi};
pub use audit::{Audit, AuditMode};
pub use cache::Cache;
pub use catalog::{Catalog, CatalogEntry, CatalogKind, RestCatalog, SqlDatabase, TableFormat};
pub use column::{ColumnRule, Masking, SecretLocation, TagRule};
pub use config::{CONFIG_FILE, Config, FileFormat, RowPolicy, Server, Table, UNDECIDED};
pub use docs::Docs;
pub use endpoint::{Endpoint, Rule, SmallGroups};
pub use finding::{Finding, Position, suggest_or_list, suggestion};
pub use formats::Formats;
pub use hot::Hot;
pub use http::{Http, Tls};
pub use issuer::{AttributeClaim, ClaimPath, Issuer, KeyLocation, ScopeClaim, SigningAlgorithm, is_loopback_url};
pub use lake::{LakeStore, location_fault};
pub use limits::{EndpointLimits, OnMaxRows, ServerLimits};
pub use mask::{Granularity, MaskSpec, Step};
pub use observe::{LogForm, Observe, Traces};
pub use param::{MAX_ITEMS, MAX_LENGTH, Param, Pattern};
pub use policy_test::{Expectation, PolicyTest, PolicyTestFile, Positioned, TestAccess};
pub use reload::Reload;
pub use settings::{Setting, policy_sections, shown_value};
pub use text_files::{FileCompression, OnError, TextFiles};
pub use variables::{OWN_VARIABLES, VARIABLE_PREFIX, ValueOrigin};

/// The text of a project's files.
#[derive(Clone, Debug, Default)]
pub struct ProjectFiles {
    /// The text of `lakegate.toml`.
    pub config: String,
    /// The text of each endpoint file, by its path relative to the project folder (`endpoints/x.sql`).
    pub endpoints: BTreeMap<String, String>,
    /// The text of each recipe, by its path (`tables/x.ingest.toml`).
    pub recipes: BTreeMap<String, String>,
    /// Environment variables. Those whose names begin with `LAKEGATE_` override keys of `lakegate.toml`.
    pub variables: BTreeMap<String, String>,
}

/// A checked project.
#[derive(Clone, Debug)]
pub struct Project {
    /// `lakegate.toml`.
    pub config: Config,
    /// The endpoints by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The recipes for filling tables from files, by path.
    pub recipes: BTreeMap<String, ingest::Recipe>,
}

impl Project {
    /// Reads all files, and returns all findings. With findings, the project holds whatever could be read; use it only
    /// for further checks.
    pub fn read(files: &ProjectFiles) -> (Project, Vec<Finding>) {
        let (config, mut findings) = config::read(&files.config, &files.variables);
        let mut endpoints = BTreeMap::new();
        for (path, text) in &files.endpoints {
            let (endpoint, faults) = endpoint::read(path, text);
            findings.extend(faults);
            endpoints.extend(endpoint.map(|endpoint| (endpoint.name.clone(), endpoint)));
        }
        let mut recipes = BTreeMap::new();
        for (path, text) in &files.recipes {
            let (recipe, faults) = ingest::Recipe::read(path, text);
            findings.extend(faults);
            if let Err(help) = config.table(&recipe.table) {
                let message = format!("the project has no table `{}`", recipe.table);
                findings.push(Finding::new(recipe.position.clone(), message).help(help));
            }
            recipes.insert(path.clone(), recipe);
        }
        (Project { config, endpoints, recipes }, findings)
    }
}
