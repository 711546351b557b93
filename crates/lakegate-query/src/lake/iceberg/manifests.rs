//! Reads the manifests of an Iceberg snapshot: its data and delete files with their sequence numbers.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, FormatVersion, Manifest, ManifestFile, ManifestList, ManifestStatus,
    Snapshot, TableMetadata,
};

use super::super::{Lake, TableFault, place};
use super::avro_names;
use super::metadata::{bytes, parsed};

/// Number of manifests read at once.
const AT_ONCE: usize = 8;

/// The files of a snapshot.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) data: Vec<Entry>,
    pub(super) deletes: Vec<Entry>,
}

/// A file of the snapshot.
pub(super) struct Entry {
    file: DataFile,
    /// Sequence number of the commit that added the file. Later deletes apply to it.
    pub(super) sequence: i64,
    pub(super) spec_id: i32,
}

impl Entry {
    pub(super) fn data_file(&self) -> &DataFile {
        &self.file
    }
}

/// Reads the manifest list and all manifests.
pub(super) async fn read(
    lake: &Lake,
    metadata: &TableMetadata,
    snapshot: &Arc<Snapshot>,
) -> Result<Listed, TableFault> {
    if snapshot.encryption_key_id().is_some() {
        return Err(TableFault::new("the table is encrypted, which is not read"));
    }
    let (manifests, is_first_version) = list(lake, metadata, snapshot).await?;
    let reading = manifests.iter().map(|manifest| entries(lake, manifest).boxed()).collect::<Vec<_>>();
    let mut reading = stream::iter(reading).buffered(AT_ONCE);
    let mut listed = Listed::default();
    while let Some(entries) = reading.try_next().await? {
        for entry in entries {
            let file = entry.data_file();
            let (name, format) = (file_name(file.file_path()), file.file_format());
            let is_vector = file.content_type() == DataContentType::PositionDeletes && format == DataFileFormat::Puffin;
            if format != DataFileFormat::Parquet && !is_vector {
                return Err(TableFault::new(format!("`{name}` is a file of the format {format}, which is not read"))
                    .help("rewrite the table as Parquet"));
            }
            if file.key_metadata().is_some() {
                return Err(TableFault::new(format!("`{name}` is encrypted, which is not read")));
            }
            match file.content_type() {
                DataContentType::Data => listed.data.push(entry),
                // Format version 1 has no sequence numbers, so nothing shows which files a delete applies to.
                _ if is_first_version => {
                    return Err(TableFault::new("the table has deleted rows in a form that does not know them"));
                }
                DataContentType::PositionDeletes | DataContentType::EqualityDeletes => listed.deletes.push(entry),
            }
        }
    }
    Ok(listed)
}

/// The last part of a path, which is safe to show.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The manifests, and whether their list is in format version 1.
async fn list(
    lake: &Lake,
    metadata: &TableMetadata,
    snapshot: &Arc<Snapshot>,
) -> Result<(Vec<ManifestFile>, bool), TableFault> {
    let path = place::below(lake, snapshot.manifest_list())?;
    let avro = bytes(lake, &path).await?;
    let mut version = metadata.format_version();
    let read = parsed(&path, || ManifestList::parse_with_version(&avro, version));
    let list = match read {
        // A table upgraded from version 1 still has manifest lists of that version.
        Err(_) if version != FormatVersion::V1 => {
            version = FormatVersion::V1;
            parsed(&path, || ManifestList::parse_with_version(&avro, version))?
        }
        read => read?,
    };
    Ok((list.consume_entries().into_iter().collect(), version == FormatVersion::V1))
}

async fn entries(lake: &Lake, manifest: &ManifestFile) -> Result<Vec<Entry>, TableFault> {
    if manifest.key_metadata.as_ref().is_some_and(|key| !key.is_empty()) {
        return Err(TableFault::new("the table is encrypted, which is not read"));
    }
    let path = place::below(lake, &manifest.manifest_path)?;
    let avro = bytes(lake, &path).await?;
    let avro = avro_names::named_as_values(&avro);
    let avro = avro.map_err(|fault| TableFault::new(format!("the manifest `{path}` cannot be read: {fault}")))?;
    let read = parsed(&path, || Manifest::parse_avro(&avro))?;
    let alive = read.entries().iter().filter(|entry| entry.is_alive()).map(|entry| {
        // An entry without a sequence number inherits the one of the commit that added it.
        let inherits = entry.status() == ManifestStatus::Added || manifest.sequence_number == 0;
        let sequence = entry.sequence_number().or(inherits.then_some(manifest.sequence_number));
        let sequence =
            sequence.ok_or_else(|| TableFault::new(format!("`{path}` does not say when a file was added")))?;
        Ok(Entry { file: entry.data_file().clone(), sequence, spec_id: manifest.partition_spec_id })
    });
    alive.collect()
}
