//! Catalogs of Iceberg tables: who says which metadata file of a table is the newest.
//!
//! A catalog is asked for that and nothing else; files are read from the lake, with the lake's own credentials. What a catalog
//! answers is not believed beyond the lake: see `place`. What it restricts for lakegate's identity is obeyed, and where
//! that cannot be, the table is refused, also where it was served before.

mod glue;
mod rest;
pub(crate) mod restrictions;
mod sql;
#[cfg(test)]
mod tests;

use std::time::Duration;

use lakegate_core::project::{CatalogEntry, CatalogKind, SecretLocation};
use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::Value;

use super::store::secret;
use super::{Lake, TableFault};

pub(super) use rest::Sessions;

/// How long one question to a catalog may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The most that a catalog may answer: all of a table's metadata stands in it.
const MAX_BYTES: usize = 256 << 20;

/// What a catalog says of a table.
pub(super) struct Found {
    /// The URI of the newest metadata file.
    pub(super) location: String,
    /// What lakegate's identity does not see of the table, as the catalog wrote it.
    pub(super) restrictions: Value,
}

impl Found {
    fn whole(location: String) -> Self {
        Self { location, restrictions: Value::Null }
    }
}

/// What the catalog of a table says of it.
pub(super) async fn find(lake: &Lake, entry: &CatalogEntry) -> Result<Found, TableFault> {
    match &entry.catalog.kind {
        CatalogKind::Rest(rest) => rest::find(lake, entry, rest).await,
        CatalogKind::Sql { database, catalog_name } => {
            sql::metadata_location(lake, entry, database, catalog_name.as_deref()).await.map(Found::whole)
        }
        CatalogKind::Glue { region, account, endpoint } => {
            glue::metadata_location(entry, region, account.as_deref(), endpoint.as_deref()).await.map(Found::whole)
        }
    }
}

/// What to say of a table that the catalog does not have.
fn no_table(entry: &CatalogEntry) -> TableFault {
    let name = format!("{}.{}", entry.namespace.join("."), entry.table);
    TableFault::new(format!("the catalog `{}` has no Iceberg table `{name}`", entry.catalog.name))
        .help("check `table`, and `warehouse` or `catalog_name` of the catalog")
}

/// A catalog that does not answer, or not now, may do so in a moment.
fn away(entry: &CatalogEntry, what: &str) -> TableFault {
    TableFault::new(format!("the catalog `{}` {what}", entry.catalog.name)).passing(true)
}

fn refused(entry: &CatalogEntry) -> TableFault {
    TableFault::new(format!("the catalog `{}` refuses the credentials", entry.catalog.name))
        .help("check where its secrets are, and what they may do")
}

/// A table that the catalog does not let us read as its files lie.
pub(super) fn restricted(entry: &CatalogEntry, what: &str) -> TableFault {
    let name = format!("{}.{}", entry.namespace.join("."), entry.table);
    TableFault::new(format!("the catalog `{}` restricts how `{name}` is read: {what}", entry.catalog.name))
        .help("give the identity that lakegate uses there the right to read the whole table, or leave the table out")
        .withdrawn()
}

fn not_understood(entry: &CatalogEntry) -> TableFault {
    TableFault::new(format!("the answer of the catalog `{}` is not understood", entry.catalog.name))
        .help("check its `uri` and its `type`")
}

fn client() -> Result<Client, TableFault> {
    // A redirect would take the token elsewhere.
    let built = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
    built.map_err(|error| TableFault::new("catalogs can not be asked").source(error))
}

fn read_secret(lake: &Lake, entry: &CatalogEntry, location: &SecretLocation) -> Result<String, TableFault> {
    secret(&lake.project, location)
        .map_err(|error| TableFault::new(format!("a secret of the catalog `{}` {error}", entry.catalog.name)))
}

/// Whether the catalog itself is in trouble.
fn is_in_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// The body, up to what a catalog may answer.
async fn body(entry: &CatalogEntry, mut response: Response) -> Result<Vec<u8>, TableFault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| away(entry, "does not answer to the end"))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            return Err(not_understood(entry));
        }
    }
    Ok(bytes)
}
