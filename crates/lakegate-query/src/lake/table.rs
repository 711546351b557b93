//! A table of the lake as DataFusion reads it: files found once, schema and statistics read once.
//!
//! A `LakeTable` gives all rows; who sees which of them is `govern`'s business, which knows governed scans by this type.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result as DataFusionResult, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat as DataFusionFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use lakegate_core::catalog::AsOf;
use lakegate_core::project::{FileFormat, RowPolicy, Table, suggest_or_list};

use lakegate_core::value::ScalarType;

use super::columns;
use super::location::{self, Look, TableFile, TableFiles};
use super::memory::MemoryCopy;
use super::owners::{OWNER_COLUMN, Owners};
use super::text::{self, engine_format};
use super::{Lake, TableFault, footers, pinned};
use crate::govern::fingerprint::Fingerprint;
use crate::plan::column_type_name;

/// One version of a table: its files, schema and statistics as they were when it was opened.
#[derive(Debug)]
pub struct LakeTable {
    name: String,
    store_url: ObjectStoreUrl,
    format: Arc<dyn DataFusionFormat>,
    schema: TableSchema,
    files: FileGroup,
    statistics: Statistics,
    /// Whether rows of it are hidden from some callers: then plans are made by the order of magnitude of its size alone.
    hides_rows: bool,
    version: [u8; 32],
    /// What the project says of it, as far as the files are read by it.
    declaration: String,
    copy: OnceLock<Arc<MemoryCopy>>,
    /// The copy that the same version had in the project before, as long as it is not known whether there is room for it.
    earlier: Mutex<Option<Arc<MemoryCopy>>>,
    owned: OnceLock<Arc<LakeTable>>,
}

/// A state of a table that keeps its past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the snapshot (Iceberg) or version (Delta).
    pub id: i64,
    /// When it was made.
    pub time: chrono::DateTime<chrono::Utc>,
}

/// Why a table can not be read as it was.
#[derive(Debug)]
#[expect(dead_code, reason = "no table keeps a past yet")]
pub(crate) enum PastFault {
    /// It never was so.
    Unknown,
    /// Its files are no longer there.
    Gone,
    /// The lake can not be read now.
    Unavailable(lakegate_core::error::Source),
}

impl LakeTable {
    /// Finds and reads what is needed once: listing, schema, footers. Where `before` is the same version of the same table,
    /// it is taken again and nothing but the listing is read.
    pub(crate) async fn open(
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        before: Option<&LakeTable>,
    ) -> Result<Self, TableFault> {
        let found = location::find(lake, table, Look::Whole).await?;
        let declaration = declaration_of(table);
        let version = version_of(&found, &declaration);
        if let Some(before) = before.filter(|before| before.version == version && before.declaration == declaration) {
            return Ok(before.again());
        }
        let format = engine_format(found.format, found.compression, &table.text);
        let (store, is_remote) = (&lake.store, lake.is_remote());
        // From here on every file is read as it was listed, or not at all.
        let pinned = found.files.iter().map(|file| pinned::pin(&file.object)).collect::<Result<Vec<_>, _>>();
        let objects = pinned.map_err(|error| TableFault::new("its files can not be read safely").source(error))?;
        let unreadable = |error: columns::Unreadable| {
            let (kind, text) = (found.format.extension(), error.text);
            TableFault::new(format!("the files at `{}` can not be read as {kind}: {text}", table.location))
                .help("check that all files are complete and have the same columns")
                .passing(error.is_passing)
        };
        let checks = objects.iter().map(|object| match found.format {
            FileFormat::Parquet => footers::check(session, store, is_remote, object).boxed(),
            format => text::check(store, is_remote, object, format, found.compression, &table.text).boxed(),
        });
        columns::in_order(checks.collect()).await.map_err(unreadable)?;
        let columns = columns::read(&format, found.format, session, store, is_remote, &objects).await;
        let columns::Columns { schema: file_schema, of_files } = columns.map_err(unreadable)?;
        if file_schema.index_of(OWNER_COLUMN).is_ok() || found.partition_columns.iter().any(|name| name == OWNER_COLUMN)
        {
            return Err(TableFault::new(format!("`{OWNER_COLUMN}` is not a name for a column of a lake")));
        }
        let partition_fields = found
            .partition_columns
            .iter()
            .map(|name| Arc::new(Field::new(name, partition_type(table, name), true)))
            .collect::<Vec<_>>();
        for field in &partition_fields {
            if file_schema.field_with_name(field.name()).is_ok() {
                let message = format!("`{}` is a column of the files and a partition folder", field.name());
                return Err(TableFault::new(message).help("rename the folders, or leave the column out of the files"));
            }
        }
        if let Some(name) = table.partitions.keys().find(|name| !found.partition_columns.contains(name)) {
            let help = match found.partition_columns.is_empty() {
                true => "there are no folders `name=value` there; remove it".to_owned(),
                false => suggest_or_list(name, found.partition_columns.iter().map(String::as_str)),
            };
            let message = format!("there is no partition column `{name}` at `{}`", table.location);
            return Err(TableFault::new(message).help(help));
        }
        let schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(partition_fields).build();
        let reading = objects.iter().zip(&of_files).map(|(object, of_file)| {
            let (format, file_schema) = (&format, &file_schema);
            let read = async move {
                let read = format.infer_stats(session, store, Arc::clone(file_schema), object);
                let read = columns::guarded(is_remote, read).await.map_err(|error| error.of(object))?;
                Ok(without_bounds_of_floats(columns::as_of_the_table(read, of_file, file_schema), file_schema))
            };
            read.boxed()
        });
        let statistics = columns::in_order(reading.collect()).await.map_err(unreadable)?;
        let mut files = Vec::with_capacity(found.files.len());
        let listed = found.files.into_iter().zip(objects).zip(statistics);
        for ((TableFile { partition_values, .. }, object), statistics) in listed {
            let mut file = PartitionedFile::from(object);
            file.partition_values = partition_values
                .into_iter()
                .zip(schema.table_partition_cols())
                .map(|(value, field)| partition_value(value, field))
                .collect::<Result<Vec<_>, _>>()?;
            files.push(file.with_statistics(Arc::new(statistics)));
        }
        let statistics = summary(&files, schema.table_schema())?;
        let table = Self {
            version,
            declaration,
            hides_rows: hides_rows(table),
            name: table.name.clone(),
            store_url: lake.url.clone(),
            format,
            schema,
            files: FileGroup::new(files),
            statistics,
            copy: OnceLock::new(),
            earlier: Mutex::default(),
            owned: OnceLock::new(),
        };
        if found.format != FileFormat::Parquet {
            columns::guarded(is_remote, table.read_through(session)).await.map_err(unreadable)?;
        }
        Ok(table)
    }

    /// Whether the lake still has this version of the table.
    pub(crate) async fn is_current(&self, lake: &Lake, table: &Table) -> Result<bool, TableFault> {
        Ok(version_of(&location::find(lake, table, Look::Again).await?, &declaration_of(table)) == self.version)
    }

    /// Whether the lake has files for a table, whatever is in them.
    pub(crate) async fn is_there(lake: &Lake, table: &Table) -> Result<(), TableFault> {
        location::find(lake, table, Look::Again).await.map(drop)
    }

    /// The same version, to be served on while the table can not be read; if the project still says the same of it.
    pub(crate) fn for_now(&self, table: &Table) -> Option<Self> {
        (self.declaration == declaration_of(table)).then(|| self.again())
    }

    /// The same version of the table with its copy in memory, to be served in another project. Whose its rows are is
    /// computed anew: that depends on other tables and on policies.
    fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            store_url: self.store_url.clone(),
            format: Arc::clone(&self.format),
            schema: self.schema.clone(),
            files: self.files.clone(),
            statistics: self.statistics.clone(),
            hides_rows: self.hides_rows,
            version: self.version,
            declaration: self.declaration.clone(),
            copy: OnceLock::new(),
            earlier: Mutex::new(self.copy.get().cloned()),
            owned: OnceLock::new(),
        }
    }

    /// Reads every row once. Text files are only known to be readable when they were read: a row that is not would fail
    /// the queries of all callers, whosever it is.
    async fn read_through(&self, session: &dyn Session) -> DataFusionResult<()> {
        let plan = self.scan(session, None, &[], None).await?;
        let mut rows = execute_stream(plan, session.task_ctx())?;
        while let Some(batch) = rows.next().await {
            batch?;
        }
        Ok(())
    }

    /// Decodes the table into memory, if it takes no more than so many bytes. Gives the bytes that it takes; `None` when
    /// it is too large and stays in its files.
    pub(crate) async fn copy_to_memory(
        &self,
        session: &SessionState,
        most_bytes: usize,
    ) -> DataFusionResult<Option<usize>> {
        if let Some(copy) = self.copy.get() {
            return Ok(Some(copy.bytes()));
        }
        if let Some(earlier) = self.take_earlier() {
            let bytes = earlier.bytes();
            return Ok((bytes <= most_bytes && self.copy.set(earlier).is_ok()).then_some(bytes));
        }
        let plan = self.scan(session, None, &[], None).await?;
        let mut rows = execute_stream(plan, session.task_ctx())?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await.transpose()? {
            bytes +=
                batch.columns().iter().map(|array| array.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>();
            if bytes > most_bytes {
                return Ok(None);
            }
            batches.push(batch);
        }
        let copy = MemoryCopy::of(self.schema.table_schema(), &batches)?;
        let bytes = copy.bytes();
        if bytes > most_bytes {
            return Ok(None);
        }
        // A table is copied once, before it is served.
        let _ = self.copy.set(Arc::new(copy));
        Ok(Some(bytes))
    }

    /// The copy of the project before; afterwards it is held no more.
    pub(crate) fn take_earlier(&self) -> Option<Arc<MemoryCopy>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same table with its rows' owners in [`OWNER_COLUMN`], if they were computed.
    pub(crate) fn owned(&self) -> Option<&Arc<LakeTable>> {
        self.owned.get()
    }

    /// Computes the owner of every row from the parent that `column` refers to by its `key`: the value of the parent's
    /// `owner` column, or else the parent's own computed owners. Does nothing where it can not be done exactly.
    pub(crate) fn inherit(
        &self,
        column: &str,
        parent: &LakeTable,
        key: &str,
        owner: Option<&str>,
    ) -> DataFusionResult<()> {
        let parent = if owner.is_some() { Some(parent) } else { parent.owned().map(AsRef::as_ref) };
        let (Some(parent), Some(copy)) = (parent, self.copy.get()) else { return Ok(()) };
        let way = [column, key, owner.unwrap_or(OWNER_COLUMN)];
        let (schema, parent_schema) = (self.schema.table_schema(), parent.schema.table_schema());
        let Some(parent_copy) = parent.copy.get() else { return Ok(()) };
        let (column, key) = (schema.index_of(column)?, parent_schema.index_of(key)?);
        let owner = parent_schema.index_of(owner.unwrap_or(OWNER_COLUMN))?;
        let Some(owners) = Owners::of(parent_copy.batches(), key, owner)? else { return Ok(()) };
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(owners.field()));
        let owned_schema = Arc::new(Schema::new(fields));
        let mut batches = Vec::with_capacity(copy.batches().len());
        for batch in copy.batches() {
            let of_rows = owners.of_rows(batch.column(column), parent_schema.field(key).data_type())?;
            let Some(of_rows) = of_rows else { return Ok(()) };
            let columns = batch.columns().iter().cloned().chain([of_rows]).collect();
            batches.push(RecordBatch::try_new(Arc::clone(&owned_schema), columns)?);
        }
        let owned_copy = MemoryCopy::of(&owned_schema, &batches)?;
        let owned = Self {
            name: self.name.clone(),
            store_url: self.store_url.clone(),
            format: Arc::clone(&self.format),
            schema: TableSchema::from(owned_schema),
            files: FileGroup::new(Vec::new()),
            statistics: Statistics::default(),
            hides_rows: self.hides_rows,
            version: owned_version(self, parent, way),
            declaration: self.declaration.clone(),
            copy: OnceLock::from(Arc::new(owned_copy)),
            earlier: Mutex::default(),
            owned: OnceLock::new(),
        };
        // Owners are computed once, before the table is served.
        let _ = self.owned.set(Arc::new(owned));
        Ok(())
    }

    /// What tells this version of the table from others: its files with their sizes, times and tags.
    pub(crate) fn version(&self) -> [u8; 32] {
        self.version
    }

    /// What its decoded copy takes in memory, in bytes; 0 without one.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.copy.get().map_or(0, |copy| copy.bytes())
    }

    /// The size of all files, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.object_meta.size).sum()
    }

    /// Which of its snapshots this is; `None` when the table keeps no past.
    pub fn snapshot(&self) -> Option<Snapshot> {
        None
    }

    pub(crate) async fn snapshot_as_of(&self, _: &Lake, _: &Table, _: AsOf) -> Result<i64, PastFault> {
        Err(PastFault::Unknown)
    }

    pub(crate) async fn open_snapshot(&self, _: &Lake, _: &Table, _: &dyn Session, _: i64) -> Result<Self, PastFault> {
        Err(PastFault::Unknown)
    }

    /// The table's name in the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version in few letters, for people who compare two.
    pub fn version_name(&self) -> String {
        self.version[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The number of rows, when the files tell.
    pub fn rows(&self) -> Option<usize> {
        match self.statistics.num_rows {
            Precision::Exact(rows) => Some(rows),
            _ => None,
        }
    }

    /// How many files it has.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters are not looked at here: the physical optimiser moves those that stand above the scan into it, and
    /// only those that governance lets stand there.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if let Some(copy) = self.copy.get() {
            return copy.scan(self.schema.table_schema(), projection, self.hides_rows);
        }
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(vec![self.files.clone()])
            .with_statistics(match self.hides_rows {
                true => magnitude_only(&self.statistics, self.schema.table_schema()),
                false => self.statistics.clone(),
            })
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(session, config).await
    }
}

fn partition_type(table: &Table, column: &str) -> DataType {
    match table.partitions.get(column) {
        Some(ScalarType::Integer) => DataType::Int64,
        Some(ScalarType::Date) => DataType::Date32,
        _ => DataType::Utf8,
    }
}

fn partition_value(value: Option<String>, field: &Field) -> Result<ScalarValue, TableFault> {
    let Some(text) = value else {
        return ScalarValue::try_from(field.data_type())
            .map_err(|error| TableFault::new("a partition has no type").source(error));
    };
    ScalarValue::try_from_string(text.clone(), field.data_type()).map_err(|_| {
        let (name, declared) = (field.name(), column_type_name(field.data_type()));
        TableFault::new(format!("the partition folder `{name}={text}` is not of the declared type {declared}"))
            .help(format!("correct the folder, or `{name}` under `partitions`"))
    })
}

fn hides_rows(table: &Table) -> bool {
    !matches!(table.policy, RowPolicy::Shared)
}

fn declaration_of(table: &Table) -> String {
    format!("{:?}", (&table.name, &table.location, table.format, &table.text, &table.partitions, hides_rows(table)))
}

/// Rows with their owners are of a version of the parent too, and of its parents; and of the way by which the owners were
/// found, of which nothing is in a plan any more: the columns that link the two, and the one that names the owner.
fn owned_version(child: &LakeTable, parent: &LakeTable, way: [&str; 3]) -> [u8; 32] {
    let mut version = Fingerprint::new("lakegate owned version v1");
    version.part(&child.version);
    version.part(&parent.version);
    way.iter().for_each(|column| version.part(column.as_bytes()));
    version.bytes()
}

/// A version is of its files, and of how the project says that they are read.
fn version_of(found: &TableFiles, declaration: &str) -> [u8; 32] {
    let mut version = Fingerprint::new("lakegate table version v1");
    version.text(declaration);
    version.text(found.format.extension());
    version.text(found.compression.name());
    for file in &found.files {
        let object = &file.object;
        version.text(&object.location);
        version.text(object.size);
        version.text(object.last_modified.timestamp_micros());
        version.text(format_args!("{:?} {:?}", object.e_tag, object.version));
    }
    version.bytes()
}

/// The order of magnitude of the number of rows, and nothing else. What the engine chooses by statistics, such as the sides of
/// joins and by them the order of rows, it does not choose by rows that a caller does not see.
pub(crate) fn magnitude_only(statistics: &Statistics, schema: &Schema) -> Statistics {
    let mut coarse = Statistics::new_unknown(schema);
    coarse.num_rows = match statistics.num_rows {
        Precision::Exact(rows) | Precision::Inexact(rows) => Precision::Inexact(magnitude(rows)),
        Precision::Absent => Precision::Absent,
    };
    coarse
}

/// The least power of a hundred that is not smaller: enough to tell a dimension from a fact table.
fn magnitude(rows: usize) -> usize {
    let mut magnitude = 1_usize;
    while magnitude < rows {
        magnitude = magnitude.saturating_mul(100);
    }
    magnitude
}

/// A file's least and greatest number leave out NaN. Where they are equal, the engine takes the column for a constant, and a
/// row filter over it would show rows that are not of that number.
fn without_bounds_of_floats(mut statistics: Statistics, schema: &Schema) -> Statistics {
    for (column, field) in statistics.column_statistics.iter_mut().zip(schema.fields()) {
        if field.data_type().is_floating() {
            (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
        }
    }
    statistics
}

/// The statistics of all files together.
fn summary(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics, TableFault> {
    let each = files.iter().filter_map(|file| file.statistics.as_deref());
    Statistics::try_merge_iter(each, schema)
        .map_err(|error| TableFault::new("the files' statistics do not fit together").source(error))
}

/// The lake table behind a scan.
pub(crate) fn lake_table(provider: &dyn Any) -> Option<&LakeTable> {
    provider.downcast_ref()
}
