//! A table of the lake as DataFusion reads it: one version of it, and perhaps a decoded copy in memory.
//!
//! A `LakeTable` gives all rows; who sees which of them is `govern`'s business, which knows governed scans by this type.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::stats::Precision;
use datafusion::datasource::TableType;
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use lakegate_core::catalog::AsOf;
use lakegate_core::error::Source;
use lakegate_core::project::{RowPolicy, Table, TableFormat};

use super::memory::MemoryCopy;
use super::owners::{OWNER_COLUMN, Owners};
use super::version::{At, NoVersion, Opened, Snapshot, TableVersion, magnitude_only};
use super::{Lake, TableFault, delta, iceberg, plain};
use crate::govern::fingerprint::Fingerprint;

/// One version of a table: its files, schema and statistics as they were when it was opened.
#[derive(Debug)]
pub struct LakeTable {
    name: String,
    store_url: ObjectStoreUrl,
    version: TableVersion,
    /// Whether rows of it are hidden from some callers: then plans are made by the order of magnitude of its size alone.
    hides_rows: bool,
    /// What the project says of it, as far as the files are read by it.
    declaration: String,
    copy: OnceLock<Arc<MemoryCopy>>,
    /// The copy that the same version had in the project before, as long as it is not known whether there is room for it.
    earlier: Mutex<Option<Arc<MemoryCopy>>>,
    owned: OnceLock<Arc<LakeTable>>,
}

/// Why a table can not be read as it was.
#[derive(Debug)]
pub(crate) enum PastFault {
    /// It never was so.
    Unknown,
    /// Its files are no longer there.
    Gone,
    /// The lake can not be read now.
    Unavailable(Source),
}

impl From<TableFault> for PastFault {
    fn from(fault: TableFault) -> Self {
        match fault.no_version {
            Some(NoVersion::Unknown | NoVersion::BeforeFirst) => Self::Unknown,
            Some(NoVersion::Expired) => Self::Gone,
            None => Self::Unavailable(fault.source.unwrap_or_else(|| fault.message.into())),
        }
    }
}

impl LakeTable {
    /// Finds and reads what is needed once: listing or metadata, schema, footers. Where `before` is the same version of the
    /// same table, it is taken again; of an older one, what was read of files that are still there is kept.
    pub(crate) async fn open(
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        before: Option<&LakeTable>,
    ) -> Result<Self, TableFault> {
        Self::open_at(lake, table, session, before, At::Now).await
    }

    pub(super) async fn open_at(
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        before: Option<&LakeTable>,
        at: At,
    ) -> Result<Self, TableFault> {
        let declaration = declaration_of(table);
        let before = before.filter(|before| before.declaration == declaration);
        let known = before.map(|before| &before.version);
        let opened = match &table.table_format {
            Some(TableFormat::Delta) => delta::open(lake, table, session, known, &declaration, at).await?,
            Some(TableFormat::Iceberg { entry }) => {
                iceberg::open(lake, table, entry.as_deref(), session, known, &declaration, at).await?
            }
            None if at == At::Now => plain::open(lake, table, session, known, &declaration).await?,
            None => {
                return Err(TableFault::new("files as they lie have no versions of their own")
                    .help("ask for the newest; only Delta and Iceberg tables keep older versions"));
            }
        };
        let version = match (opened, before) {
            (Opened::Same, Some(before)) => return Ok(before.again()),
            (Opened::Other(version), _) => *version,
            (Opened::Same, None) => return Err(TableFault::new("there is no version before")),
        };
        Ok(Self {
            name: table.name.clone(),
            store_url: lake.url.clone(),
            version,
            hides_rows: hides_rows(table),
            declaration,
            copy: OnceLock::new(),
            earlier: Mutex::default(),
            owned: OnceLock::new(),
        })
    }

    /// Whether the lake still has this version of the table.
    pub(crate) async fn is_current(&self, lake: &Lake, table: &Table) -> Result<bool, TableFault> {
        let declaration = declaration_of(table);
        if declaration != self.declaration {
            return Ok(false);
        }
        let newest = match &table.table_format {
            Some(TableFormat::Delta) => delta::newest(lake, table).await?,
            Some(TableFormat::Iceberg { entry }) => iceberg::newest(lake, table, entry.as_deref()).await?,
            None => return plain::is_current(lake, table, &self.version, &declaration).await,
        };
        Ok(self.version.newest.as_deref() == Some(newest.as_str()))
    }

    /// Whether the lake has files for a table, whatever is in them.
    pub(crate) async fn is_there(lake: &Lake, table: &Table) -> Result<(), TableFault> {
        match &table.table_format {
            Some(TableFormat::Delta) => delta::newest(lake, table).await.map(drop),
            Some(TableFormat::Iceberg { entry }) => iceberg::newest(lake, table, entry.as_deref()).await.map(drop),
            None => plain::is_there(lake, table).await,
        }
    }

    /// The same version, to be served on while the table can not be read; if the project still says the same of it.
    pub(crate) fn for_now(&self, table: &Table) -> Option<Self> {
        (self.declaration == declaration_of(table)).then(|| self.again())
    }

    /// Which of its snapshots this is; `None` when the table keeps no past.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.version.snapshot
    }

    /// The number of the snapshot that is meant.
    pub(crate) async fn snapshot_as_of(&self, lake: &Lake, table: &Table, as_of: AsOf) -> Result<i64, PastFault> {
        let at = match as_of {
            AsOf::Time(time) => At::Time(time.timestamp_micros()),
            AsOf::Snapshot(snapshot) => At::Snapshot(snapshot),
        };
        match &table.table_format {
            Some(TableFormat::Delta) => Ok(delta::number_of(lake, table, at).await?),
            Some(TableFormat::Iceberg { entry }) => Ok(iceberg::number_of(lake, table, entry.as_deref(), at).await?),
            None => Err(PastFault::Unknown),
        }
    }

    /// The table at one of its snapshots, with the columns that it has now.
    pub(crate) async fn open_snapshot(
        &self,
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        snapshot: i64,
    ) -> Result<Self, PastFault> {
        Ok(Self::open_at(lake, table, session, Some(self), At::Snapshot(snapshot)).await?)
    }

    /// The same version of the table with its copy in memory, to be served in another project. Whose its rows are is
    /// computed anew: that depends on other tables and on policies.
    fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            store_url: self.store_url.clone(),
            version: self.version.clone(),
            hides_rows: self.hides_rows,
            declaration: self.declaration.clone(),
            copy: OnceLock::new(),
            earlier: Mutex::new(self.copy.get().cloned()),
            owned: OnceLock::new(),
        }
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
        let copy = MemoryCopy::of(self.version.schema.table_schema(), &batches)?;
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
        let (schema, parent_schema) = (self.version.schema.table_schema(), parent.version.schema.table_schema());
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
            version: self.version.without_files(owned_schema, owned_version(self, parent, way)),
            hides_rows: self.hides_rows,
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
        self.version.digest
    }

    /// What its decoded copy takes in memory, in bytes; 0 without one.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.copy.get().map_or(0, |copy| copy.bytes())
    }

    /// The size of all files, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.version.files.iter().map(|file| file.object_meta.size).sum()
    }

    /// The table's name in the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version in few letters, for people who compare two.
    pub fn version_name(&self) -> String {
        self.version.digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The number of rows, when the files tell.
    pub fn rows(&self) -> Option<usize> {
        match self.version.statistics.num_rows {
            Precision::Exact(rows) => Some(rows),
            _ => None,
        }
    }

    /// Its files, each as it was listed.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectMeta> {
        self.version.files.iter().map(|file| &file.object_meta)
    }

    /// Whether its files are Parquet, and so have footers.
    pub(crate) fn is_parquet(&self) -> bool {
        self.version.format.get_ext().ends_with("parquet")
    }

    /// How many files it has.
    pub fn file_count(&self) -> usize {
        self.version.files.len()
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.version.schema.table_schema())
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
            return copy.scan(self.version.schema.table_schema(), projection, self.hides_rows);
        }
        let statistics = match self.hides_rows {
            true => magnitude_only(&self.version.statistics, self.version.schema.table_schema()),
            false => self.version.statistics.clone(),
        };
        self.version.scan(&self.store_url, session, projection, limit, statistics).await
    }
}

fn hides_rows(table: &Table) -> bool {
    !matches!(table.policy, RowPolicy::Shared)
}

fn declaration_of(table: &Table) -> String {
    let Table { name, location, format, table_format, text, partitions, .. } = table;
    format!("{:?}", (name, location, format, table_format, text, partitions, hides_rows(table)))
}

/// Rows with their owners are of a version of the parent too, and of its parents; and of the way by which the owners were
/// found, of which nothing is in a plan any more: the columns that link the two, and the one that names the owner.
fn owned_version(child: &LakeTable, parent: &LakeTable, way: [&str; 3]) -> [u8; 32] {
    let mut version = Fingerprint::new("lakegate owned version v1");
    version.part(&child.version());
    version.part(&parent.version());
    way.iter().for_each(|column| version.part(column.as_bytes()));
    version.bytes()
}

/// The lake table behind a scan.
pub(crate) fn lake_table(provider: &dyn Any) -> Option<&LakeTable> {
    provider.downcast_ref()
}
