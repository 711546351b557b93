//! Asks an Iceberg catalog (REST, SQL or AWS Glue) for the newest metadata file of a table.
//!
//! lakegate takes nothing else from a catalog except restrictions: it reads files from the lake, with the lake's own
//! credentials. A location that a catalog returns must be inside the lake, see `place`. lakegate enforces what the
//! catalog restricts for its identity; where it cannot, it refuses the table, even one that it served before.

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

/// Timeout of one request to a catalog.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest response body of a catalog, in bytes; it contains all metadata of a table.
const MAX_BYTES: usize = 256 << 20;

/// A catalog's answer about one table.
pub(super) struct Found {
    /// The URI of the newest metadata file.
    pub(super) location: String,
    /// The restrictions on lakegate's identity, in the catalog's JSON; `Null` when there are none.
    pub(super) restrictions: Value,
}

impl Found {
    fn whole(location: String) -> Self {
        Self { location, restrictions: Value::Null }
    }
}

/// Looks up a table in its catalog.
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

/// Fault for a table that is missing from the catalog.
fn no_table(entry: &CatalogEntry) -> TableFault {
    let name = format!("{}.{}", entry.namespace.join("."), entry.table);
    TableFault::new(format!("the catalog `{}` has no Iceberg table `{name}`", entry.catalog.name))
        .help("check `table`, and `warehouse` or `catalog_name` of the catalog")
}

/// Fault for a catalog that does not answer, or cannot now. It is temporary, so a retry may succeed.
fn away(entry: &CatalogEntry, what: &str) -> TableFault {
    TableFault::new(format!("the catalog `{}` {what}", entry.catalog.name)).passing(true)
}

fn refused(entry: &CatalogEntry) -> TableFault {
    TableFault::new(format!("the catalog `{}` refuses the credentials", entry.catalog.name))
        .help("check where its secrets are, and what they may do")
}

/// Fault for a table whose files the catalog does not let lakegate read in full.
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
    // A redirect would send the token to another host.
    let built = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
    built.map_err(|error| TableFault::new("catalogs cannot be asked").source(error))
}

fn read_secret(lake: &Lake, entry: &CatalogEntry, location: &SecretLocation) -> Result<String, TableFault> {
    secret(&lake.project, location)
        .map_err(|error| TableFault::new(format!("a secret of the catalog `{}` {error}", entry.catalog.name)))
}

/// Whether the status means that the catalog itself is failing or overloaded, so a retry may succeed.
fn is_in_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// Reads the response body, up to [`MAX_BYTES`].
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
