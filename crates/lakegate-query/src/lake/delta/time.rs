//! Finds when versions of a Delta table were written: from in-commit timestamps where the table has them, otherwise
//! from the modification times of the log's files.

use datafusion::object_store::ObjectStoreExt;
use deltalake_core::kernel::Snapshot as DeltaSnapshot;

use super::super::version::NoVersion;
use super::super::{Lake, TableFault, location};
use super::log::Log;

/// The newest version written at or before `time`, in microseconds since 1970.
pub(super) async fn version_at(lake: &Lake, log: &Log, current: &DeltaSnapshot, time: i64) -> Result<u64, TableFault> {
    let versions = log.commits().keys().copied().collect::<Vec<_>>();
    // Times increase with versions, so a binary search finds it.
    let (mut low, mut high) = (0, versions.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if of_version(lake, log, current, versions[middle]).await? <= time {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low.checked_sub(1).and_then(|at| versions.get(at).copied()).ok_or_else(|| {
        TableFault::new("the table has no version that is so old; its log begins later")
            .no_version(NoVersion::BeforeFirst)
    })
}

/// When a version was written, in microseconds since 1970.
pub(super) async fn of_version(
    lake: &Lake,
    log: &Log,
    current: &DeltaSnapshot,
    version: u64,
) -> Result<i64, TableFault> {
    let properties = current.metadata().configuration();
    let is_on = properties.get("delta.enableInCommitTimestamps").is_some_and(|value| value == "true");
    let since = properties.get("delta.inCommitTimestampEnablementVersion");
    let since = since.and_then(|since| since.parse::<u64>().ok()).unwrap_or_default();
    let Some(commit) = log.commits().get(&version).filter(|_| is_on && version >= since) else {
        // Takes the latest modification time up to this version, so that times never decrease, even if files were
        // copied.
        let until = log.commits().range(..=version).map(|(_, file)| file.last_modified.timestamp_micros()).max();
        return Ok(until.or_else(|| log.written(version)).unwrap_or_default());
    };
    let unread = || TableFault::new(format!("the time of version {version} cannot be read from the log"));
    let failed = |error| location::unlisted(lake, unread().message, error);
    let got = lake.store().get(&commit.location).await.map_err(failed)?;
    let bytes = got.bytes().await.map_err(failed)?;
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let action = serde_json::from_slice::<serde_json::Value>(first).map_err(|_| unread())?;
    let millis = action["commitInfo"]["inCommitTimestamp"].as_i64().ok_or_else(unread)?;
    millis.checked_mul(1000).ok_or_else(unread)
}
