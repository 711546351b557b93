//! Opens versions of Delta tables: the data files of a version, their partition values and their deleted rows.
//!
//! The Delta kernel reads the log through our store; our own scan reads the data files. A table that needs a reader
//! feature not applied here is refused, and the error names the feature.

mod log;
mod schema;
#[cfg(test)]
mod tests;
mod time;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::object_store::path::Path;
use deltalake_core::kernel::Snapshot as DeltaSnapshot;
use deltalake_core::logstore::{LogStore, StorageConfig, default_logstore};
use futures::{FutureExt, TryStreamExt};
use lakegate_core::project::Table;
use url::Url;

use self::log::{Log, LogStoreView};
use super::data_file::{DataFile, Frame, Reader, sorted};
use super::deletes::Deleted;
use super::mapping::{Column, NamedIds};
use super::version::{At, NoVersion, Opened, Snapshot, TableVersion, lasting};
use super::{Lake, TableFault, location, place};

/// Reader features that are applied here or need nothing from a reader.
const APPLIED: [&str; 7] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Opens a version of the table.
pub(super) async fn open(
    lake: &Lake,
    table: &Table,
    session: &dyn Session,
    before: Option<&TableVersion>,
    declaration: &str,
    at: At,
) -> Result<Opened, TableFault> {
    let folder = folder_of(lake, table)?;
    let log = Log::list(lake, &folder, &table.location).await?;
    let newest = log.newest();
    if at == At::Now && before.is_some_and(|before| before.newest.as_deref() == Some(newest.as_str())) {
        return Ok(Opened::Same);
    }
    let store = kernel_store(lake, &folder)?;
    let current = snapshot(lake, &log, store.as_ref(), log.last(), &table.location).await?;
    let columns = schema::columns(&current)?;
    let names = schema::names_in_log(&current)?;
    let version = version_of(lake, &log, &current, at).await?;
    let opening = async {
        // An older version has its own files but today's columns, because policies refer to these.
        let snapshot = if version == log.last() {
            current
        } else {
            snapshot(lake, &log, store.as_ref(), version, &table.location).await?
        };
        let files = files(lake, &folder, store.as_ref(), &snapshot, (&columns, &names));
        let files = AssertUnwindSafe(files).catch_unwind().await;
        let files = files.unwrap_or_else(|_| Err(TableFault::new("the table's log is broken")))?;
        let time = time::of_version(lake, &log, &snapshot, version).await?;
        let frame = Frame {
            table: &table.name,
            columns: &columns,
            named_ids: &NamedIds::new(),
            declaration,
            snapshot: Some(Snapshot::of_micros(version.cast_signed(), time)),
            newest: (at == At::Now).then_some(newest),
        };
        let reader = Reader { lake, session, known: before.map(|before| before.known.as_ref()) };
        reader.version(frame, files).await
    };
    let opened = opening.await.map_err(|fault| lasting(fault, at))?;
    Ok(Opened::Other(Box::new(opened)))
}

/// Resolves `at` to a version number.
pub(super) async fn number_of(lake: &Lake, table: &Table, at: At) -> Result<i64, TableFault> {
    let folder = folder_of(lake, table)?;
    let log = Log::list(lake, &folder, &table.location).await?;
    let store = kernel_store(lake, &folder)?;
    let current = snapshot(lake, &log, store.as_ref(), log.last(), &table.location).await?;
    Ok(version_of(lake, &log, &current, at).await?.cast_signed())
}

async fn version_of(lake: &Lake, log: &Log, current: &DeltaSnapshot, at: At) -> Result<u64, TableFault> {
    match at {
        At::Now => Ok(log.last()),
        At::Snapshot(version) => {
            u64::try_from(version).ok().filter(|version| *version <= log.last()).ok_or_else(|| {
                let message = format!("the table has no version {version}; the newest is {}", log.last());
                TableFault::new(message).no_version(NoVersion::Unknown)
            })
        }
        At::Time(time) => time::version_at(lake, log, current, time).await,
    }
}

fn kernel_store(lake: &Lake, folder: &Path) -> Result<Arc<dyn LogStore>, TableFault> {
    // The kernel treats the last part of a URL as a file unless it ends with a slash.
    let root = Url::parse("lake://table/").map_err(|error| TableFault::new("a URL is none").source(error))?;
    let store = Arc::new(LogStoreView::new(lake, folder.clone()));
    Ok(default_logstore(Arc::clone(&store) as _, store, &root, &StorageConfig::default()))
}

/// Whether a retry of a failed kernel read may succeed. The kernel's errors do not tell, so this asks the store.
fn is_away(lake: &Lake) -> bool {
    lake.is_remote() && lake.is_lost()
}

/// A tag that changes with the newest version.
pub(super) async fn newest(lake: &Lake, table: &Table) -> Result<String, TableFault> {
    Ok(Log::list(lake, &folder_of(lake, table)?, &table.location).await?.newest())
}

fn folder_of(lake: &Lake, table: &Table) -> Result<Path, TableFault> {
    place::relative_below(lake, table.location.trim_end_matches('/').trim_start_matches("./"))
}

/// Loads the table at a version. Refuses it if it needs a reader feature that is not applied here.
async fn snapshot(
    lake: &Lake,
    log: &Log,
    store: &dyn LogStore,
    version: u64,
    location: &str,
) -> Result<DeltaSnapshot, TableFault> {
    log.check_checkpoint(lake, version).await?;
    // A corrupt checkpoint makes the kernel's reader panic.
    let read = AssertUnwindSafe(DeltaSnapshot::try_new(store, Some(version))).catch_unwind().await;
    let read = read.map_err(|_| "it is broken".to_owned()).and_then(|read| read.map_err(|error| error.to_string()));
    let snapshot = read.map_err(|error| {
        let text = first_line(&error);
        let fault =
            TableFault::new(format!("version {version} of the Delta table at `{location}` cannot be read: {text}"))
                .help("its log may have been cleaned, or it needs a feature that is not applied here");
        match is_away(lake) {
            true => fault.passing(true),
            false => fault.no_version(NoVersion::Expired),
        }
    })?;
    refuse_unknown_features(&snapshot, location)?;
    Ok(snapshot)
}

fn refuse_unknown_features(snapshot: &DeltaSnapshot, location: &str) -> Result<(), TableFault> {
    let protocol = serde_json::to_value(snapshot.protocol())
        .map_err(|error| TableFault::new(format!("the protocol of `{location}` cannot be read")).source(error))?;
    let reader = protocol["minReaderVersion"].as_i64().unwrap_or(i64::MAX);
    if !(1..=3).contains(&reader) {
        let message = format!("the Delta table at `{location}` needs a reader of version {reader}");
        return Err(TableFault::new(message).help("versions 1 to 3 are read"));
    }
    let features = protocol["readerFeatures"].as_array().map(Vec::as_slice).unwrap_or_default();
    for feature in features {
        let name = feature.as_str().unwrap_or("?");
        if !APPLIED.contains(&name) {
            let message =
                format!("the Delta table at `{location}` needs the feature `{name}`, which is not applied here");
            return Err(TableFault::new(message).help("drop the feature from the table, or export it as Parquet"));
        }
    }
    Ok(())
}

/// The files of a version, sorted by path.
async fn files(
    lake: &Lake,
    folder: &Path,
    store: &dyn LogStore,
    snapshot: &DeltaSnapshot,
    (columns, names): (&[Column], &[String]),
) -> Result<Vec<DataFile>, TableFault> {
    let unread = |error: String| {
        let message = format!("the table's log cannot be read: {}", first_line(&error));
        TableFault::new(message).passing(is_away(lake))
    };
    let partitions = schema::partition_names(snapshot)?;
    let engine = store.engine(None);
    let scan = snapshot.scan_builder().with_skip_stats(true).build().map_err(|error| unread(error.to_string()))?;
    let mut batches = scan.scan_metadata(Arc::clone(&engine));
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(|error| unread(error.to_string()))? {
        let visited = batch.visit_scan_files(Vec::new(), |found, file| found.push(file));
        found.extend(visited.map_err(|error| unread(error.to_string()))?);
    }
    let mut files = Vec::with_capacity(found.len());
    for file in found {
        let path = data_path(lake, folder, &file.path)?;
        let mut deleted = Deleted::default();
        if file.dv_info.has_vector() {
            // A vector at an absolute path could be anywhere. One that is not known to be inside the table is not read.
            let said = format!("{:?}", file.dv_info);
            let (kind, count) = kind_and_count(&said);
            if !["PersistedRelative", "Inline"].contains(&kind) {
                return Err(TableFault::new(format!("the deleted rows of `{path}` stand outside the table")));
            }
            let (engine, root, vector) = (Arc::clone(&engine), scan.table_root().clone(), file.dv_info);
            let read = tokio::task::spawn_blocking(move || {
                vector.get_row_indexes(engine.as_ref(), &root).map_err(|error| error.to_string())
            });
            let read = read.await.map_err(|_| TableFault::new(format!("the deleted rows of `{path}` are broken")))?;
            let places = read.map_err(|error| {
                TableFault::new(format!("the deleted rows of `{path}` cannot be read: {}", first_line(&error)))
                    .passing(is_away(lake))
            })?;
            deleted = Deleted::of(places.unwrap_or_default());
            // A vector that lost entries would bring deleted rows back.
            if count != Some(deleted.places().len() as u64) {
                let message = format!("`{path}` has not as many deleted rows as the table's log says");
                return Err(TableFault::new(message).help("its deletion vector is broken, or is of another file"));
            }
        }
        let constants = constants((columns, names), &partitions, &file.partition_values)?;
        files.push(DataFile { path, constants, deleted });
    }
    sorted(files)
}

/// The storage type of a deletion vector and its number of rows. The kernel exposes them only in its `Debug` output.
/// The type comes first and the number last, so text in the path between them cannot pass for either.
fn kind_and_count(said: &str) -> (&str, Option<u64>) {
    let kind = said.split_once("storage_type: ").map_or("", |(_, rest)| rest);
    let count = said.rsplit_once("cardinality: ").map_or("", |(_, rest)| rest);
    let end = |text: &str| text.find(|each: char| !each.is_ascii_alphanumeric()).unwrap_or(text.len());
    (&kind[..end(kind)], count[..end(count)].parse().ok())
}

/// The lake path of a data file. The log has it relative to the table or absolute, percent-encoded either way.
fn data_path(lake: &Lake, folder: &Path, path: &str) -> Result<Path, TableFault> {
    let not_utf8 = || TableFault::new("the path of a file in the table's log is not UTF-8 once it is decoded");
    let decoded = location::decode(path).ok_or_else(not_utf8)?;
    if decoded.contains(":/") || decoded.starts_with('/') {
        return place::below(lake, &decoded);
    }
    place::relative_below(lake, &format!("{folder}/{decoded}"))
}

/// The values of partition columns, which are stored in the log and not in the file.
fn constants(
    (columns, names): (&[Column], &[String]),
    partitions: &HashSet<String>,
    values: &HashMap<String, String>,
) -> Result<HashMap<usize, ScalarValue>, TableFault> {
    let mut constants = HashMap::new();
    for (at, (column, name)) in columns.iter().zip(names).enumerate() {
        if !partitions.contains(name) {
            continue;
        }
        let data_type = column.field.data_type();
        // The protocol defines an empty string as NULL.
        let value = match values.get(name).filter(|text| !text.is_empty()) {
            None => ScalarValue::try_new_null(data_type),
            Some(text) => {
                let digits = text.strip_prefix('+').filter(|_| data_type.is_numeric());
                ScalarValue::try_from_string(digits.unwrap_or(text).to_owned(), data_type)
            }
        };
        let value = value.map_err(|_| {
            TableFault::new(format!("a value of the partition column `{}` is not of its type", column.field.name()))
        })?;
        constants.insert(at, value);
    }
    Ok(constants)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().trim_end_matches('.').to_owned()
}
