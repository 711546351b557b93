//! Finds a table's newest metadata file in a SQL catalog (PostgreSQL or SQLite) with one query on `iceberg_tables`, the
//! table that Iceberg's own libraries create.

use std::path::Path;

use lakegate_core::project::{CatalogEntry, SqlDatabase};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::super::{Lake, TableFault};
use super::{TIMEOUT, away, no_table, not_understood, read_secret};

pub(super) async fn metadata_location(
    lake: &Lake,
    entry: &CatalogEntry,
    database: &SqlDatabase,
    catalog_name: Option<&str>,
) -> Result<String, TableFault> {
    let url = match database {
        SqlDatabase::Sqlite(path) => return asked(entry, sqlite(&lake.project.join(path), entry, catalog_name)).await,
        SqlDatabase::Url(url) => url.clone(),
        SqlDatabase::Secret(location) => read_secret(lake, entry, location)?,
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        return asked(entry, sqlite(&lake.project.join(path), entry, catalog_name)).await;
    }
    // The URL may contain a password, and the parse error may repeat it, so neither is reported.
    let options = url.parse::<PgConnectOptions>().map_err(|_| {
        TableFault::new(format!("the database of the catalog `{}` is not named by a URL", entry.catalog.name))
            .help("write `postgres://user:password@host/database` where its `uri` says, or `sqlite:` and a path")
    })?;
    asked(entry, postgres(options, entry, catalog_name)).await
}

async fn asked(
    entry: &CatalogEntry,
    asking: impl Future<Output = sqlx::Result<Vec<String>>>,
) -> Result<String, TableFault> {
    let found = match tokio::time::timeout(TIMEOUT, asking).await {
        Err(_) => return Err(away(entry, "does not answer in time")),
        Ok(Err(sqlx::Error::Database(error))) if error.message().contains("iceberg_tables") => {
            return Err(not_understood(entry).source(sqlx::Error::Database(error)));
        }
        Ok(Err(error)) => return Err(away(entry, "does not answer").source(error)),
        Ok(Ok(found)) => found,
    };
    match found.as_slice() {
        [] => Err(no_table(entry)),
        [location] => Ok(location.clone()),
        _ => {
            let message = format!("several catalogs in `{}` have the table `{}`", entry.catalog.name, entry.table);
            Err(TableFault::new(message).help("say which: add `catalog_name` to the catalog"))
        }
    }
}

async fn sqlite(path: &Path, entry: &CatalogEntry, catalog_name: Option<&str>) -> sqlx::Result<Vec<String>> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    let found = sqlx::query_scalar::<_, String>(
        "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ?1 AND table_name = ?2 \
         AND (?3 IS NULL OR catalog_name = ?3) AND metadata_location IS NOT NULL LIMIT 2",
    );
    let found = found.bind(entry.namespace.join(".")).bind(&entry.table).bind(catalog_name);
    let found = found.fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(found)
}

async fn postgres(
    options: PgConnectOptions,
    entry: &CatalogEntry,
    catalog_name: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    let mut connection = options.disable_statement_logging().connect().await?;
    let found = sqlx::query_scalar::<_, String>(
        "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = $1 AND table_name = $2 \
         AND ($3::text IS NULL OR catalog_name = $3) AND metadata_location IS NOT NULL LIMIT 2",
    );
    let found = found.bind(entry.namespace.join(".")).bind(&entry.table).bind(catalog_name);
    let found = found.fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(found)
}
