//! Finds and reads the metadata file of an Iceberg table, and selects a snapshot in it.

use std::collections::HashSet;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};
use flate2::read::MultiGzDecoder;
use iceberg::spec::{Snapshot, TableMetadata};
use lakegate_core::project::{CatalogEntry, Table};
use serde_json::Value;

use super::super::version::{At, NoVersion};
use super::super::{Lake, TableFault, catalog, location, place};

/// Maximum size of a metadata file, in bytes, decompressed.
const MAX_BYTES: u64 = 256 << 20;

/// The location of the metadata.
pub(super) struct Place {
    path: Path,
    /// A tag that differs for every version of the metadata.
    pub(super) newest: String,
    /// The catalog's restrictions, in its JSON.
    pub(super) restrictions: Value,
}

impl Place {
    /// Finds the newest metadata file: from the catalog, or at or below the table's location.
    pub(super) async fn find(lake: &Lake, table: &Table, entry: Option<&CatalogEntry>) -> Result<Self, TableFault> {
        if let Some(entry) = entry {
            let catalog::Found { location, restrictions } = catalog::find(lake, entry).await?;
            let path = place::below(lake, &location)?;
            // New restrictions make a new version of the table, even if the files are the same.
            let newest = if restrictions.is_null() { location } else { format!("{location} {restrictions}") };
            return Ok(Self { path, newest, restrictions });
        }
        let said = table.location.trim_end_matches('/').trim_start_matches("./");
        let path = place::relative_below(lake, said)?;
        if is_metadata(&path) {
            let object = head(lake, &path).await?;
            return Ok(Self::of(object));
        }
        let folder = path.join("metadata");
        let mut objects = location::list(lake, folder.as_ref()).await?;
        let hint = objects.iter().any(|object| object.location.filename() == Some("version-hint.text"));
        let hint = if hint { Some(text(lake, &folder.clone().join("version-hint.text")).await?) } else { None };
        objects.retain(|object| {
            is_metadata(&object.location)
                && object.location.prefix_match(&folder).is_some_and(|mut parts| parts.nth(1).is_none())
        });
        if objects.is_empty() {
            return Err(TableFault::new(format!("there is no Iceberg table at `{}`", table.location))
                .help("`location` is the folder that holds `metadata/`, or a metadata file"));
        }
        // A hint that is not a number names the file. A number is ignored, because newer files may exist.
        if let Some(name) = hint.filter(|hint| hint.parse::<u64>().is_err()) {
            let stem = |object: &ObjectMeta| {
                object.location.filename().is_some_and(|file| file == name || file.split('.').next() == Some(&name))
            };
            let named = objects.into_iter().find(stem);
            return named.map(Self::of).ok_or_else(|| {
                TableFault::new(format!("the version hint of `{}` names a file that is not there", table.location))
            });
        }
        let highest = objects.iter().filter_map(|object| version(&object.location)).max();
        let mut newest = objects.into_iter().filter(|object| version(&object.location) == highest);
        match (highest, newest.next(), newest.next()) {
            (Some(_), Some(object), None) => Ok(Self::of(object)),
            (Some(version), Some(_), Some(_)) => {
                // One of them was never committed; only a catalog knows which one.
                let message = format!("two metadata files of `{}` are of version {version}", table.location);
                Err(TableFault::new(message).help("name the right one as `location`, or the table's `catalog`"))
            }
            _ => Err(TableFault::new(format!(
                "the metadata files of `{}` have no versions in their names",
                table.location
            ))
            .help("name one as `location`, or the table's `catalog`")),
        }
    }

    fn of(object: ObjectMeta) -> Self {
        let tag = (&object.e_tag, object.size, object.last_modified);
        Self { newest: format!("{} {tag:?}", object.location), path: object.location, restrictions: Value::Null }
    }
}

fn is_metadata(path: &Path) -> bool {
    let name = path.filename().unwrap_or_default();
    name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz")
}

/// The version in `v3.metadata.json` or `00003-….metadata.json`.
fn version(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    let digits = match name.strip_prefix('v') {
        Some(rest) => rest.split('.').next()?,
        None => name.split_once('-')?.0,
    };
    digits.parse().ok()
}

async fn head(lake: &Lake, path: &Path) -> Result<ObjectMeta, TableFault> {
    match lake.store().head(path).await {
        Ok(object) => Ok(object),
        Err(error @ StoreError::NotFound { .. }) => {
            Err(TableFault::new(format!("there is nothing at `{path}` in the lake")).source(error))
        }
        Err(error) => Err(location::unlisted(lake, format!("`{path}` cannot be read"), error)),
    }
}

/// Reads a metadata file or manifest. A missing file was expired, or is not in this lake.
pub(super) async fn bytes(lake: &Lake, path: &Path) -> Result<Vec<u8>, TableFault> {
    let unread = |error: StoreError| {
        let is_gone = matches!(error, StoreError::NotFound { .. });
        let fault = location::unlisted(lake, format!("`{path}` of the table's metadata cannot be read"), error);
        if is_gone { fault.no_version(NoVersion::Expired) } else { fault }
    };
    let got = lake.store().get(path).await.map_err(unread)?;
    if got.meta.size > MAX_BYTES {
        return Err(TableFault::new(format!("`{path}` is larger than any metadata")));
    }
    Ok(got.bytes().await.map_err(unread)?.to_vec())
}

async fn text(lake: &Lake, path: &Path) -> Result<String, TableFault> {
    Ok(String::from_utf8_lossy(&bytes(lake, path).await?).trim().to_owned())
}

/// Runs a parser on a file that others wrote; if it panics, the file is broken.
pub(super) fn parsed<T>(path: &Path, parse: impl FnOnce() -> iceberg::Result<T>) -> Result<T, TableFault> {
    match catch_unwind(AssertUnwindSafe(parse)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            Err(TableFault::new(format!("`{path}` cannot be read as Iceberg metadata: {line}")))
        }
        Err(_) => Err(TableFault::new(format!("`{path}` is broken"))),
    }
}

/// Reads a metadata file, compressed or not.
pub(super) async fn read(lake: &Lake, place: &Place) -> Result<TableMetadata, TableFault> {
    let mut json = bytes(lake, &place.path).await?;
    if json.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(json.as_slice()).take(MAX_BYTES + 1).read_to_end(&mut unpacked);
        if read.is_err() || unpacked.len() as u64 > MAX_BYTES {
            return Err(TableFault::new(format!("`{}` cannot be unpacked", place.path)));
        }
        json = unpacked;
    }
    let metadata = parsed(&place.path, || {
        serde_json::from_slice::<TableMetadata>(&json)
            .map_err(|error| iceberg::Error::new(iceberg::ErrorKind::DataInvalid, error.to_string()))
    })?;
    if metadata.encryption_keys_iter().len() > 0 {
        return Err(TableFault::new("the table is encrypted, which is not read"));
    }
    Ok(metadata)
}

/// The current snapshot and its ancestors, newest first.
fn ancestors(metadata: &TableMetadata) -> Vec<&Arc<Snapshot>> {
    let mut ancestors = Vec::<&Arc<Snapshot>>::new();
    let mut seen = HashSet::new();
    let mut next = metadata.current_snapshot();
    while let Some(snapshot) = next.filter(|snapshot| seen.insert(snapshot.snapshot_id())) {
        ancestors.push(snapshot);
        next = snapshot.parent_snapshot_id().and_then(|parent| metadata.snapshot_by_id(parent));
    }
    ancestors
}

/// Whether the table was ever at a snapshot. The metadata may also contain unpublished snapshots of other branches.
fn was_current(metadata: &TableMetadata, id: i64) -> bool {
    metadata.history().iter().any(|log| log.snapshot_id == id)
        || ancestors(metadata).iter().any(|snapshot| snapshot.snapshot_id() == id)
}

/// Selects the snapshot at `at`; `None` if the table has none yet.
pub(super) fn snapshot_at(metadata: &TableMetadata, at: At) -> Result<Option<Arc<Snapshot>>, TableFault> {
    let known = |id| metadata.snapshot_by_id(id).map(Arc::clone);
    match at {
        At::Now => Ok(metadata.current_snapshot().map(Arc::clone)),
        At::Snapshot(id) => known(id).filter(|_| was_current(metadata, id)).map(Some).ok_or_else(|| {
            TableFault::new(format!("the table has no snapshot {id}"))
                .help("it may be of another table or branch, or was expired")
                .no_version(NoVersion::Unknown)
        }),
        At::Time(time) => {
            let mut history =
                metadata.history().iter().map(|log| (log.timestamp_ms(), log.snapshot_id)).collect::<Vec<_>>();
            if history.is_empty() {
                let moment = |snapshot: &Arc<Snapshot>| (snapshot.timestamp_ms(), snapshot.snapshot_id());
                history.extend(ancestors(metadata).into_iter().map(moment));
                history.sort_unstable();
            }
            let then = history.iter().rfind(|(millis, _)| millis.saturating_mul(1000) <= time);
            let Some((_, id)) = then else {
                return Err(TableFault::new("the table has no snapshot that is so old; its history begins later")
                    .no_version(NoVersion::BeforeFirst));
            };
            known(*id).map(Some).ok_or_else(|| {
                TableFault::new("the table's snapshot of that time was expired").no_version(NoVersion::Expired)
            })
        }
    }
}
