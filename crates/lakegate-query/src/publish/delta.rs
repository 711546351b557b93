//! Commits to Delta tables: one log entry adds the new files and removes the old ones.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::object_store::path::Path;
use datafusion::object_store::prefix::PrefixStore;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, TableReference};
use deltalake_core::kernel::{Action, Add, EagerSnapshot, MetadataExt, Remove, StructField, StructType};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};

use super::bounds::{self, Bound};
use super::error::PublishError;
use super::place::Place;
use super::staged::StagedFile;
use super::{Change, CurrentFile, new_name, parquet};

/// Attempts to commit an append again after another writer's commit.
const RETRIES: usize = 10;

/// A Delta table as of the time it was opened, or a location without a table.
pub(super) struct DeltaDestination {
    log: LogStoreRef,
    snapshot: Option<EagerSnapshot>,
    /// The actions that remove each of its files.
    removes: Vec<Remove>,
    files: Vec<CurrentFile>,
}

impl std::fmt::Debug for DeltaDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaDestination").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl DeltaDestination {
    pub(super) async fn open(place: &Place, location: &str) -> Result<Self, PublishError> {
        let url = place.folder_url(location)?;
        let failed = || PublishError::store::<DeltaTableError>(format!("read the log of `{location}`"));
        let inner = Arc::new(PrefixStore::new(Arc::clone(place.store()), place.path(location)?));
        let log = default_logstore(inner, Arc::clone(place.store()), &url, &StorageConfig::default());
        if !log.is_delta_table_location().await.map_err(failed())? {
            return Ok(Self { log, snapshot: None, removes: Vec::new(), files: Vec::new() });
        }
        let snapshot = EagerSnapshot::try_new(log.as_ref(), None).await.map_err(failed())?;
        refuse_unknown(&snapshot, location)?;
        let views = snapshot.file_views(log.as_ref(), None).try_collect::<Vec<_>>().await.map_err(failed())?;
        let base = place.path(location)?;
        let (mut removes, mut files) = (Vec::new(), Vec::new());
        for view in &views {
            let below = view.object_store_path();
            let path = Path::from_iter(base.parts().chain(below.parts()));
            files.push(CurrentFile { path, bytes: view.size().max(0) as u64 });
            removes.push(view.remove_action(true));
        }
        Ok(Self { log, snapshot: Some(snapshot), removes, files })
    }

    pub(super) fn files(&self) -> Vec<CurrentFile> {
        self.files.clone()
    }

    pub(super) fn has_deletes(&self) -> bool {
        self.removes.iter().any(|remove| remove.deletion_vector.is_some())
    }

    pub(super) fn schema(&self) -> Option<SchemaRef> {
        self.snapshot.as_ref().map(EagerSnapshot::arrow_schema)
    }

    /// Commits and returns the new table version.
    pub(super) async fn commit(
        &self,
        place: &Place,
        location: &str,
        files: &[StagedFile],
        change: Change,
    ) -> Result<String, PublishError> {
        let failed = || PublishError::store::<DeltaTableError>(format!("commit to the log of `{location}`"));
        let is_change = change != Change::Rewrite;
        let mut actions = Vec::new();
        if change != Change::Append {
            let removes = self.removes.iter().cloned().map(|remove| Remove { data_change: is_change, ..remove });
            actions.extend(removes.map(Action::Remove));
        }
        for file in files {
            let name = new_name();
            let below = format!("{location}/{name}");
            parquet::put(place, file, &below).await?;
            actions.push(Action::Add(added(file, name, is_change)));
        }
        let Some(snapshot) = &self.snapshot else {
            let Some(first) = files.first() else {
                return Err(PublishError::refused("a new table without a file has no columns", "give it rows"));
            };
            let schema = kernel_schema(&first.schema)?;
            let created = CreateBuilder::new()
                .with_log_store(LogStoreRef::clone(&self.log))
                .with_columns(schema.fields().cloned().collect::<Vec<StructField>>())
                .with_save_mode(SaveMode::ErrorIfExists)
                .with_actions(actions)
                .await;
            return match created {
                Ok(table) => Ok(table.version().map(|version| version.to_string()).unwrap_or_default()),
                Err(error) if is_conflict(&error) => Err(PublishError::Conflict),
                Err(error) => Err(failed()(error)),
            };
        };
        if let Some(first) = files.first() {
            actions.extend(widened(snapshot, &first.schema)?);
        }
        let mode = if change == Change::Append { SaveMode::Append } else { SaveMode::Overwrite };
        let operation = DeltaOperation::Write { mode, partition_by: None, predicate: None };
        // An append can follow any commit of another writer. A replacement is based on one version, so it is not.
        let retries = if change == Change::Append { RETRIES } else { 0 };
        let committed = CommitBuilder::default()
            .with_actions(actions)
            .with_max_retries(retries)
            .build(Some(snapshot as &dyn TableReference), LogStoreRef::clone(&self.log), operation)
            .await;
        match committed {
            Ok(committed) => Ok(committed.version().to_string()),
            Err(error) if is_conflict(&error) => Err(PublishError::Conflict),
            Err(error) => Err(failed()(error)),
        }
    }
}

fn is_conflict(error: &DeltaTableError) -> bool {
    use deltalake_core::kernel::transaction::TransactionError;
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::VersionAlreadyExists(_)
        ),
        _ => false,
    }
}

/// Refuses tables with features that this writer does not support.
fn refuse_unknown(snapshot: &EagerSnapshot, location: &str) -> Result<(), PublishError> {
    let refuse = |what: &str| {
        let what = format!("the Delta table at `{location}` has {what}");
        Err(PublishError::refused(what, "write it with the tool that made it, or ingest into another table"))
    };
    let metadata = snapshot.metadata();
    if !metadata.partition_columns().is_empty() {
        return refuse("partition columns");
    }
    let configuration = metadata.configuration();
    if configuration.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
        return refuse("mapped column names");
    }
    if configuration.keys().any(|key| key.starts_with("delta.constraints.")) {
        return refuse("constraints");
    }
    if configuration.get("delta.enableRowTracking").is_some_and(|tracking| tracking == "true") {
        return refuse("row tracking");
    }
    let is_made = |field: &StructField| {
        let words = ["delta.generationExpression", "delta.identity.", "delta.invariants"];
        field.metadata().keys().any(|key| words.iter().any(|word| key.starts_with(word)))
    };
    if snapshot.schema().fields().any(is_made) {
        return refuse("generated columns or invariants");
    }
    Ok(())
}

fn kernel_schema(schema: &Schema) -> Result<StructType, PublishError> {
    schema.try_into_kernel().map_err(PublishError::store("write the columns' types"))
}

/// The new table metadata, if the files have columns that the table does not have.
fn widened(snapshot: &EagerSnapshot, schema: &Schema) -> Result<Option<Action>, PublishError> {
    let (before, ours) = (snapshot.schema(), kernel_schema(schema)?);
    let is_new = |field: &&StructField| before.field(field.name()).is_none();
    let added = ours.fields().filter(is_new).cloned().collect::<Vec<_>>();
    if added.is_empty() {
        return Ok(None);
    }
    let failed = || PublishError::store("add columns");
    let fields = before.fields().cloned().chain(added).collect::<Vec<_>>();
    let schema = StructType::try_new(fields).map_err(failed())?;
    let metadata = snapshot.metadata().clone().with_schema(&schema).map_err(PublishError::store("add columns"))?;
    Ok(Some(Action::Metadata(metadata)))
}

fn added(file: &StagedFile, name: String, data_change: bool) -> Add {
    let now = Utc::now().timestamp_millis();
    Add {
        path: name,
        partition_values: HashMap::new(),
        size: file.bytes as i64,
        modification_time: now,
        data_change,
        stats: Some(statistics(file).to_string()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

/// Statistics of a file in Delta's JSON format.
fn statistics(file: &StagedFile) -> Value {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for bounds in bounds::of(file) {
        let field = file.schema.field(bounds.column);
        let put = |into: &mut Map<String, Value>, bound: Option<&Bound>| {
            if let Some(value) = bound.and_then(|bound| told(bound, field.data_type())) {
                into.insert(field.name().clone(), value);
            }
        };
        put(&mut least, bounds.least.as_ref());
        put(&mut greatest, bounds.greatest.as_ref());
        if let Some(count) = bounds.nulls {
            nulls.insert(field.name().clone(), json!(count));
        }
    }
    json!({ "numRecords": file.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls })
}

fn told(bound: &Bound, data_type: &DataType) -> Option<Value> {
    Some(match (bound, data_type) {
        (Bound::Integer(days), DataType::Date32) => {
            let date = NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(chrono::TimeDelta::try_days(*days)?)?;
            json!(date.format("%Y-%m-%d").to_string())
        }
        (Bound::Integer(micros), DataType::Timestamp(_, zone)) => {
            let moment = DateTime::from_timestamp_micros(*micros)?;
            let zone = if zone.is_some() { "Z" } else { "" };
            json!(format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.6f")))
        }
        (Bound::Integer(number), _) => json!(number),
        (Bound::Text(text), _) => json!(text),
        // Delta has no bounds for booleans.
        (Bound::Boolean(_), _) => return None,
    })
}
