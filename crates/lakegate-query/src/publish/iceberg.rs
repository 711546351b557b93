//! Commits to Iceberg tables without a catalog: writes manifests, a manifest list, and the next `vN.metadata.json`,
//! which a conditional write lets only one writer create.
//!
//! A table that a catalog manages is refused, because the catalog would not know a metadata file next to its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, MAIN_BRANCH, Manifest,
    ManifestContentType, ManifestEntry, ManifestFile, ManifestList, ManifestListWriter, ManifestWriterBuilder,
    Operation, PrimitiveType, Schema, Snapshot, SortOrder, Summary, TableMetadata, TableMetadataBuilder, Type,
    UnboundPartitionSpec,
};
use uuid::Uuid;

use super::bounds::{self, Bound};
use super::error::PublishError;
use super::place::Place;
use super::staged::StagedFile;
use super::{Change, CurrentFile, iceberg_schema, new_name, parquet};

/// Attempts to commit an append again after another writer's commit.
const RETRIES: usize = 10;

/// Suffix of metadata file names.
const METADATA: &str = ".metadata.json";

/// An Iceberg table as of the time it was opened, or a location without a table.
#[derive(Debug)]
pub(super) struct IcebergTable {
    /// URL of the table's folder, without a trailing slash.
    location: String,
    current: Option<Current>,
    /// Schema that the files are written with; `None` until the first file is created.
    schema: Mutex<Option<Arc<Schema>>>,
}

#[derive(Debug)]
struct Current {
    /// The N of `vN.metadata.json`.
    number: u64,
    metadata: TableMetadata,
    manifests: Vec<ManifestFile>,
    entries: Vec<ManifestEntry>,
    files: Vec<CurrentFile>,
}

impl IcebergTable {
    pub(super) async fn open(place: &Place, location: &str) -> Result<Self, PublishError> {
        let url = place.folder_url(location)?.as_str().trim_end_matches('/').to_owned();
        let current = read(place, location).await?;
        Ok(Self { location: url, current, schema: Mutex::default() })
    }

    pub(super) fn files(&self) -> Vec<CurrentFile> {
        self.current.as_ref().map(|current| current.files.clone()).unwrap_or_default()
    }

    pub(super) fn has_deletes(&self) -> bool {
        let is_alive = |manifest: &ManifestFile| {
            manifest.content == ManifestContentType::Deletes
                && (manifest.has_added_files() || manifest.has_existing_files())
        };
        self.current.as_ref().is_some_and(|current| current.manifests.iter().any(is_alive))
    }

    pub(super) fn schema(&self) -> Result<Option<SchemaRef>, PublishError> {
        let Some(current) = &self.current else { return Ok(None) };
        let schema = iceberg_schema::arrow(current.metadata.current_schema().as_struct());
        schema.map(Some).map_err(|fault| PublishError::refused(fault, "write it with the tool that made it"))
    }

    /// The columns of a new file with their field ids. All files of one change must have the same columns.
    pub(super) fn numbered(&self, columns: &SchemaRef) -> Result<SchemaRef, PublishError> {
        let refused = |fault| PublishError::refused(fault, "leave the column out, or give it another type");
        let before = self.current.as_ref().map(|current| current.metadata.current_schema().as_ref());
        let last_id = self.current.as_ref().map_or(0, |current| current.metadata.last_column_id());
        let ours = iceberg_schema::schema(columns, before, last_id).map_err(refused)?;
        let ours = match &self.current {
            Some(_) => ours,
            // The metadata builder assigns its own field ids to a new table.
            None => self.created(ours)?.current_schema().as_ref().clone(),
        };
        let numbered = iceberg_schema::numbered(columns, &ours).map_err(refused)?;
        *self.schema.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(ours));
        Ok(numbered)
    }

    fn created(&self, schema: Schema) -> Result<TableMetadata, PublishError> {
        let failed = || PublishError::store("make the table's metadata");
        let spec = UnboundPartitionSpec::builder().build();
        let (sort, location) = (SortOrder::unsorted_order(), self.location.clone());
        let builder = TableMetadataBuilder::new(schema, spec, sort, location, FormatVersion::V2, HashMap::new());
        Ok(builder.and_then(TableMetadataBuilder::build).map_err(failed())?.metadata)
    }

    /// Commits and returns the id of the new snapshot.
    pub(super) async fn commit(
        &self,
        place: &Place,
        location: &str,
        files: &[StagedFile],
        change: Change,
    ) -> Result<String, PublishError> {
        let schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let schema = match (schema, &self.current) {
            (Some(schema), _) => schema,
            (None, Some(current)) => Arc::clone(current.metadata.current_schema()),
            (None, None) => {
                return Err(PublishError::refused("a new table without a file has no columns", "give it rows"));
            }
        };
        let mut data = Vec::new();
        for file in files {
            let below = format!("{location}/data/{}", new_name());
            parquet::put(place, file, &below).await?;
            let base = self.current.as_ref().map_or(self.location.as_str(), |current| current.metadata.location());
            let name = below.strip_prefix(location).unwrap_or(&below);
            data.push(data_file(file, format!("{}{name}", base.trim_end_matches('/')), &schema)?);
        }
        let first = self.attempt(place, location, self.current.as_ref(), &schema, &data, change).await?;
        if let Some(snapshot) = first {
            return Ok(snapshot);
        }
        for _ in 0..RETRIES {
            // An append can follow any commit of another writer. A replacement is based on one version, so it is not.
            if change != Change::Append {
                break;
            }
            let now = read(place, location).await?;
            let Some(now) = now.filter(|now| self.is_same_schema(now, &schema)) else { break };
            if let Some(snapshot) = self.attempt(place, location, Some(&now), &schema, &data, change).await? {
                return Ok(snapshot);
            }
        }
        Err(PublishError::Conflict)
    }

    /// Whether files that were written for `schema` still fit the table.
    fn is_same_schema(&self, now: &Current, schema: &Schema) -> bool {
        let before = self.current.as_ref().map(|current| &current.metadata);
        before.is_some_and(|before| {
            before.uuid() == now.metadata.uuid()
                && before.last_column_id() == now.metadata.last_column_id()
                && now.metadata.current_schema().as_struct() == before.current_schema().as_struct()
        }) && now.metadata.last_column_id() <= schema.highest_field_id()
    }

    /// Writes the files of a snapshot and then the metadata. `None` when another writer committed first.
    async fn attempt(
        &self,
        place: &Place,
        location: &str,
        current: Option<&Current>,
        schema: &Arc<Schema>,
        data: &[DataFile],
        change: Change,
    ) -> Result<Option<String>, PublishError> {
        let failed = || PublishError::store::<iceberg::Error>(format!("write the metadata of `{location}`"));
        let builder = match current {
            None => self.created(schema.as_ref().clone())?.into_builder(None),
            Some(current) => {
                let base = current.metadata.location().trim_end_matches('/');
                let file = format!("{base}/metadata/v{}{METADATA}", current.number);
                let builder = current.metadata.clone().into_builder(Some(file));
                match current.metadata.current_schema().as_struct() == schema.as_struct() {
                    true => builder,
                    false => builder.add_current_schema(schema.as_ref().clone()).map_err(failed())?,
                }
            }
        };
        let metadata = builder.build().map_err(failed())?.metadata;
        let base = metadata.location().trim_end_matches('/').to_owned();
        let (id, number) = (snapshot_id(&metadata), metadata.next_sequence_number());
        let parent = metadata.current_snapshot_id();

        // The library writes to memory; the results are then put under their real names.
        let memory = FileIO::new_with_memory();
        let commit = Uuid::new_v4();
        let mut names = Vec::new();
        let mut manifest = |kind: &str| {
            let name = format!("metadata/{commit}-{kind}.avro");
            let output = memory.new_output(format!("{base}/{name}"));
            names.push(name);
            output
        };
        let kept = match (current, change) {
            (Some(current), Change::Append) => current.manifests.clone(),
            _ => Vec::new(),
        };
        let mut manifests = Vec::new();
        let spec = metadata.default_partition_spec().as_ref().clone();
        if !data.is_empty() {
            let output = manifest("m0").map_err(failed())?;
            let mut writer =
                ManifestWriterBuilder::new(output, Some(id), Arc::clone(schema), spec.clone()).build_v2_data();
            for file in data {
                // Use -1, because the entry inherits the sequence number of the commit from the manifest list.
                writer.add_file(file.clone(), -1).map_err(failed())?;
            }
            manifests.push(writer.write_manifest_file().await.map_err(failed())?);
        }
        let removed = match (current, change) {
            (Some(current), Change::Replace | Change::Rewrite) => current.entries.as_slice(),
            _ => &[],
        };
        if !removed.is_empty() {
            let output = manifest("m1").map_err(failed())?;
            let mut writer = ManifestWriterBuilder::new(output, Some(id), Arc::clone(schema), spec).build_v2_data();
            for entry in removed {
                let sequence = entry.sequence_number.unwrap_or_default();
                let file_sequence = entry.file_sequence_number.or(Some(sequence));
                writer.add_delete_file(entry.data_file.clone(), sequence, file_sequence).map_err(failed())?;
            }
            manifests.push(writer.write_manifest_file().await.map_err(failed())?);
        }
        let list = format!("metadata/snap-{id}-1-{commit}.avro");
        let list_url = format!("{base}/{list}");
        names.push(list);
        let output = memory.new_output(&list_url).map_err(failed())?.writer().await.map_err(failed())?;
        let mut writer = ManifestListWriter::v2(output, id, parent, number);
        writer.add_manifests(manifests.into_iter().chain(kept)).map_err(failed())?;
        writer.close().await.map_err(failed())?;
        for name in &names {
            let bytes = memory.new_input(format!("{base}/{name}")).map_err(failed())?.read().await.map_err(failed())?;
            put(place, &format!("{location}/{name}"), bytes, PutMode::Create).await?;
        }

        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(number)
            .with_timestamp_ms(Utc::now().timestamp_millis().max(metadata.last_updated_ms()))
            .with_manifest_list(list_url)
            .with_summary(summary(data, removed, current, change))
            .with_schema_id(metadata.current_schema_id())
            .build();
        let previous = current.map(|current| format!("{base}/metadata/v{}{METADATA}", current.number));
        let builder = metadata.into_builder(previous).set_branch_snapshot(snapshot, MAIN_BRANCH).map_err(failed())?;
        let metadata = builder.build().map_err(failed())?.metadata;
        let json = serde_json::to_vec(&metadata).map_err(PublishError::store("write the table's metadata"))?;
        let number = current.map_or(1, |current| current.number + 1);
        let name = format!("{location}/metadata/v{number}{METADATA}");
        match put(place, &name, json.into(), PutMode::Create).await {
            Ok(()) => {}
            Err(PublishError::Conflict) => return Ok(None),
            Err(error) => return Err(error),
        }
        // The commit is complete. The hint is optional, because readers without it look for the highest number.
        let hint = format!("{location}/metadata/version-hint.text");
        let _ = put(place, &hint, number.to_string().into(), PutMode::Overwrite).await;
        Ok(Some(id.to_string()))
    }
}

async fn put(place: &Place, below: &str, bytes: Bytes, mode: PutMode) -> Result<(), PublishError> {
    let options = PutOptions { mode, ..PutOptions::default() };
    match place.store().put_opts(&place.path(below)?, PutPayload::from_bytes(bytes), options).await {
        Ok(_) => {}
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => return Err(PublishError::Conflict),
        Err(error) => return Err(PublishError::store(format!("put `{below}` into the lake"))(error)),
    }
    if let Some(root) = place.folder() {
        let path = root.join(below);
        let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
        let folder = path.parent().map_or(Ok(()), super::staging::sync_folder);
        synced.and(folder).map_err(PublishError::file(format!("put `{below}` into the lake")))?;
    }
    Ok(())
}

async fn get(place: &Place, path: &Path) -> Result<Bytes, PublishError> {
    let failed = || PublishError::store(format!("read `{}`", place.shown(path)));
    place.store().get(path).await.map_err(failed())?.bytes().await.map_err(failed())
}

/// The current state of the table, if it exists.
async fn read(place: &Place, location: &str) -> Result<Option<Current>, PublishError> {
    let refuse = |what: String| PublishError::refused(what, "write it with the tool that made it");
    let folder = place.path(&format!("{location}/metadata"))?;
    let listed = match place.store().list(Some(&folder)).try_collect::<Vec<_>>().await {
        Ok(listed) => listed,
        Err(StoreError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(PublishError::store(format!("list `{location}`"))(error)),
    };
    let mut newest = None::<(u64, Path)>;
    for object in listed {
        let Some(stem) = object.location.filename().and_then(|name| name.strip_suffix(METADATA)) else { continue };
        let Some(number) = stem.strip_prefix('v').and_then(|number| number.parse().ok()) else {
            let what =
                format!("the Iceberg table at `{location}` is kept by a catalog, which must know of each change");
            return Err(refuse(what));
        };
        if newest.as_ref().is_none_or(|(other, _)| *other < number) {
            newest = Some((number, object.location));
        }
    }
    let Some((number, path)) = newest else { return Ok(None) };
    let failed = || PublishError::store(format!("read the metadata of `{location}`"));
    let metadata: TableMetadata = serde_json::from_slice(&get(place, &path).await?).map_err(failed())?;
    if metadata.format_version() != FormatVersion::V2 {
        return Err(refuse(format!("the Iceberg table at `{location}` is not of version 2")));
    }
    if !metadata.default_partition_spec().is_unpartitioned() {
        return Err(refuse(format!("the Iceberg table at `{location}` has partitions")));
    }
    let mut current = Current { number, metadata, manifests: Vec::new(), entries: Vec::new(), files: Vec::new() };
    let Some(snapshot) = current.metadata.current_snapshot().cloned() else { return Ok(Some(current)) };
    let base = current.metadata.location().trim_end_matches('/').to_owned();
    // Accept paths below the base URL, because the table may have moved. Files elsewhere must not be read.
    let local = |url: &str| -> Result<Path, PublishError> {
        let below = url.strip_prefix(&base).or_else(|| url.strip_prefix(base.strip_prefix("file://")?));
        let below = below.filter(|below| below.starts_with('/')).ok_or_else(|| {
            refuse(format!("the Iceberg table at `{location}` has files that lie outside of its folder"))
        })?;
        place.path(&format!("{location}{below}"))
    };
    let failed = || PublishError::store::<iceberg::Error>(format!("read the metadata of `{location}`"));
    let list = get(place, &local(snapshot.manifest_list())?).await?;
    let list = ManifestList::parse_with_version(&list, FormatVersion::V2).map_err(failed())?;
    for manifest in list.consume_entries() {
        if manifest.key_metadata.is_some() {
            return Err(refuse(format!("the Iceberg table at `{location}` is encrypted")));
        }
        let parsed = Manifest::parse_avro(&get(place, &local(&manifest.manifest_path)?).await?).map_err(failed())?;
        for entry in parsed.entries().iter().filter(|entry| entry.is_alive()) {
            let mut entry = entry.as_ref().clone();
            entry.sequence_number = entry.sequence_number.or(Some(manifest.sequence_number));
            entry.file_sequence_number = entry.file_sequence_number.or(Some(manifest.sequence_number));
            entry.snapshot_id = entry.snapshot_id.or(Some(manifest.added_snapshot_id));
            if entry.content_type() == DataContentType::Data {
                if entry.file_format() != DataFileFormat::Parquet {
                    return Err(refuse(format!("the Iceberg table at `{location}` has files that are not Parquet")));
                }
                let path = local(entry.file_path())?;
                current.files.push(CurrentFile { path, bytes: entry.file_size_in_bytes() });
                current.entries.push(entry);
            }
        }
        current.manifests.push(manifest);
    }
    Ok(Some(current))
}

/// A random id that no snapshot of the table has.
fn snapshot_id(metadata: &TableMetadata) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = ((high ^ low) >> 1) as i64;
        if id > 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

fn summary(data: &[DataFile], removed: &[ManifestEntry], current: Option<&Current>, change: Change) -> Summary {
    let operation = match change {
        Change::Append => Operation::Append,
        Change::Replace => Operation::Overwrite,
        Change::Rewrite => Operation::Replace,
    };
    let rows = |files: &mut dyn Iterator<Item = &DataFile>| files.map(DataFile::record_count).sum::<u64>();
    let added_rows = rows(&mut data.iter());
    let removed_rows = rows(&mut removed.iter().map(|entry| &entry.data_file));
    let before = current.map(|current| current.entries.as_slice()).unwrap_or_default();
    let rows_before = rows(&mut before.iter().map(|entry| &entry.data_file));
    let mut properties = HashMap::new();
    let mut say = |key: &str, number: u64| properties.insert(key.to_owned(), number.to_string());
    say("added-data-files", data.len() as u64);
    say("added-records", added_rows);
    say("deleted-data-files", removed.len() as u64);
    say("deleted-records", removed_rows);
    say("total-records", rows_before - removed_rows + added_rows);
    say("total-data-files", (before.len() - removed.len() + data.len()) as u64);
    Summary { operation, additional_properties: properties }
}

fn data_file(file: &StagedFile, url: String, schema: &Schema) -> Result<DataFile, PublishError> {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(url)
        .file_format(DataFileFormat::Parquet)
        .record_count(file.rows)
        .file_size_in_bytes(file.bytes);
    let (mut sizes, mut values, mut nulls) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut least, mut greatest) = (HashMap::new(), HashMap::new());
    for bounds in bounds::of(file) {
        let field = file.schema.field(bounds.column);
        let Some(known) = schema.field_by_name(field.name()) else { continue };
        sizes.insert(known.id, bounds.bytes);
        values.insert(known.id, file.rows);
        nulls.extend(bounds.nulls.map(|count| (known.id, count)));
        let told = |bound: &Bound| datum(bound, field.data_type(), &known.field_type);
        least.extend(bounds.least.as_ref().and_then(told).map(|datum| (known.id, datum)));
        greatest.extend(bounds.greatest.as_ref().and_then(told).map(|datum| (known.id, datum)));
    }
    builder
        .column_sizes(sizes)
        .value_counts(values)
        .null_value_counts(nulls)
        .lower_bounds(least)
        .upper_bounds(greatest);
    builder.build().map_err(|error| PublishError::store("describe a new file")(error.to_string()))
}

fn datum(bound: &Bound, written: &DataType, known: &Type) -> Option<Datum> {
    let Type::Primitive(known) = known else { return None };
    Some(match (bound, known, written) {
        (Bound::Boolean(value), PrimitiveType::Boolean, _) => Datum::bool(*value),
        (Bound::Integer(value), PrimitiveType::Int, _) => Datum::int(i32::try_from(*value).ok()?),
        (Bound::Integer(value), PrimitiveType::Long, _) => Datum::long(*value),
        (Bound::Integer(value), PrimitiveType::Date, DataType::Date32) => Datum::date(i32::try_from(*value).ok()?),
        (Bound::Integer(value), PrimitiveType::Timestamp, DataType::Timestamp(..)) => Datum::timestamp_micros(*value),
        (Bound::Integer(value), PrimitiveType::Timestamptz, DataType::Timestamp(..)) => {
            Datum::timestamptz_micros(*value)
        }
        (Bound::Text(text), PrimitiveType::String, _) => Datum::string(text),
        _ => return None,
    })
}
