//! Opens snapshots of Iceberg tables: the data files of a snapshot, their partition values and their deleted rows.
//!
//! The `iceberg` crate parses metadata and manifests, which are read through our store; our own scan reads the data
//! files. A table with a feature that cannot be applied is refused, so that no deleted row is served.

mod avro_names;
mod deletes;
mod keys;
mod manifests;
mod metadata;
mod schema;
#[cfg(test)]
mod tests;

use datafusion::catalog::Session;
use lakegate_core::project::{CatalogEntry, Table};

use self::metadata::Place;
use super::catalog::{self, restrictions};
use super::data_file::{DataFile, Frame, Reader, sorted};
use super::deletes::Deleted;
use super::version::{At, NoVersion, Opened, Snapshot, TableVersion, lasting};
use super::{Lake, TableFault, place};

/// Opens a snapshot of the table.
pub(super) async fn open(
    lake: &Lake,
    table: &Table,
    entry: Option<&CatalogEntry>,
    session: &dyn Session,
    before: Option<&TableVersion>,
    declaration: &str,
    at: At,
) -> Result<Opened, TableFault> {
    let found = Place::find(lake, table, entry).await?;
    if at == At::Now && before.is_some_and(|before| before.newest.as_deref() == Some(found.newest.as_str())) {
        return Ok(Opened::Same);
    }
    let metadata = metadata::read(lake, &found).await?;
    let columns = schema::columns(metadata.current_schema())?;
    let restrictions = match (restrictions::read(&found.restrictions, &table.name, &columns), entry) {
        (Ok(restrictions), _) => restrictions,
        (Err(fault), Some(entry)) => return Err(catalog::restricted(entry, &fault)),
        (Err(fault), None) => return Err(TableFault::new(fault).withdrawn()),
    };
    let named_ids = schema::named_ids(&metadata)?;
    let snapshot = metadata::snapshot_at(&metadata, at)?;
    let opening = async {
        let reader = Reader { lake, session, known: before.map(|before| before.known.as_ref()) };
        let listed = match &snapshot {
            Some(snapshot) => manifests::read(lake, &metadata, snapshot).await?,
            // Nothing was written to the table yet.
            None => manifests::Listed::default(),
        };
        let mut files = Vec::with_capacity(listed.data.len());
        for file in &listed.data {
            files.push(DataFile {
                path: place::below(lake, file.data_file().file_path())?,
                constants: schema::constants(&metadata, file, &columns)?,
                deleted: Deleted::default(),
            });
        }
        deletes::resolve(&reader, &metadata, &named_ids, &listed, &mut files).await?;
        let files = sorted(files)?;
        let frame = Frame {
            table: &table.name,
            columns: &columns,
            named_ids: &named_ids,
            declaration,
            snapshot: snapshot.map(|snapshot| {
                Snapshot::of_micros(snapshot.snapshot_id(), snapshot.timestamp_ms().saturating_mul(1000))
            }),
            newest: (at == At::Now).then_some(found.newest),
        };
        reader.version(frame, files).await
    };
    let opened = opening.await.map_err(|fault| lasting(fault, at))?;
    Ok(Opened::Other(Box::new(opened.restricted(restrictions))))
}

/// A tag that changes with the newest metadata.
pub(super) async fn newest(lake: &Lake, table: &Table, entry: Option<&CatalogEntry>) -> Result<String, TableFault> {
    Ok(Place::find(lake, table, entry).await?.newest)
}

/// Resolves `at` to a snapshot id.
pub(super) async fn number_of(
    lake: &Lake,
    table: &Table,
    entry: Option<&CatalogEntry>,
    at: At,
) -> Result<i64, TableFault> {
    let metadata = metadata::read(lake, &Place::find(lake, table, entry).await?).await?;
    let snapshot = metadata::snapshot_at(&metadata, at)?;
    snapshot
        .map(|snapshot| snapshot.snapshot_id())
        .ok_or_else(|| TableFault::new("nobody has written to the table yet").no_version(NoVersion::Unknown))
}
