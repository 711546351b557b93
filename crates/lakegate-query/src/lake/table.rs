//! `LakeTable`, the DataFusion table provider: one version of a table of the lake, with its block cache when it is
//! resident.
//!
//! It returns all rows. `govern` decides who sees which rows, and recognises governed scans by this type.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::ExecutionPlan;
use lakegate_core::catalog::AsOf;
use lakegate_core::error::Cause;
use lakegate_core::project::{RowPolicy, Table, TableFormat};

use super::text::{Skipped, TextFormat};
use super::version::{At, NoVersion, Opened, Snapshot, TableVersion, magnitude_only};
use super::{Lake, Restrictions, TableFault, cached_footer, delta, iceberg, plain};
use crate::hot::{Heat, HotMemory, HotTable};

/// One version of a table: its files, schema and statistics when it was opened.
#[derive(Debug)]
pub struct LakeTable {
    name: String,
    store_url: ObjectStoreUrl,
    version: TableVersion,
    /// Whether a policy hides rows from some callers. Then the optimizer sees only the order of magnitude of the row
    /// count.
    hides_rows: bool,
    /// The part of the project's declaration that affects how the files are read.
    declaration: String,
    hot: OnceLock<Arc<HotTable>>,
    /// The resident table of the previous version, whose files this version may share.
    earlier: Mutex<Option<Arc<HotTable>>>,
}

/// The fault of an opener that returns [`Opened::Same`] when there is no previous version.
const NO_VERSION_BEFORE: &str = "there is no version before";

/// Why a past version of a table cannot be read.
#[derive(Debug)]
pub(crate) enum PastFault {
    /// The table never had this version.
    Unknown,
    /// Its files do not exist any more.
    Gone,
    /// The lake cannot be read now.
    Unavailable(Cause),
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
    /// Reads everything that is needed once: listing or metadata, schema and footers. Returns `before` when it is the
    /// current version of the same table. When it is older, reuses what was read of files that still exist.
    pub(crate) async fn open(
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        before: Option<&Arc<LakeTable>>,
    ) -> Result<Arc<Self>, TableFault> {
        let other = Self::open_at(lake, table, session, before.map(Arc::as_ref), At::Now).await?;
        match (other, before) {
            (Some(other), _) => Ok(Arc::new(other)),
            (None, Some(before)) => Ok(Arc::clone(before)),
            (None, None) => Err(TableFault::new(NO_VERSION_BEFORE)),
        }
    }

    /// Opens the table at a version; `None` when that is the version of `before`.
    pub(super) async fn open_at(
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        before: Option<&LakeTable>,
        at: At,
    ) -> Result<Option<Self>, TableFault> {
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
            (Opened::Same, Some(_)) => return Ok(None),
            (Opened::Other(version), _) => *version,
            (Opened::Same, None) => return Err(TableFault::new(NO_VERSION_BEFORE)),
        };
        Ok(Some(Self {
            name: table.name.clone(),
            store_url: lake.url.clone(),
            hides_rows: hides_rows(table) || version.restrictions.as_ref().is_some_and(|it| it.filter.is_some()),
            version,
            declaration,
            hot: OnceLock::new(),
            earlier: Mutex::new(before.and_then(|before| before.hot.get().cloned())),
        }))
    }

    /// Whether this version is still the newest in the lake.
    pub(crate) async fn is_current(&self, lake: &Lake, table: &Table) -> Result<bool, TableFault> {
        if !self.is_declared_so(table) {
            return Ok(false);
        }
        let newest = match &table.table_format {
            Some(TableFormat::Delta) => delta::newest(lake, table).await?,
            Some(TableFormat::Iceberg { entry }) => iceberg::newest(lake, table, entry.as_deref()).await?,
            None => return plain::is_current(lake, table, &self.version, &self.declaration).await,
        };
        Ok(self.version.newest.as_deref() == Some(newest.as_str()))
    }

    /// An identifier of the newest version in the lake. Data files are not read, so a broken file does not matter.
    pub(crate) async fn newest(lake: &Lake, table: &Table) -> Result<String, TableFault> {
        match &table.table_format {
            Some(TableFormat::Delta) => delta::newest(lake, table).await,
            Some(TableFormat::Iceberg { entry }) => iceberg::newest(lake, table, entry.as_deref()).await,
            None => plain::newest(lake, table, &declaration_of(table)).await,
        }
    }

    /// The part of a table's declaration that affects how its files are read.
    pub(crate) fn declaration(table: &Table) -> String {
        declaration_of(table)
    }

    /// Whether the declaration is still the one that this version was opened with. If so, the version can be served
    /// while the table cannot be read.
    pub(crate) fn is_declared_so(&self, table: &Table) -> bool {
        self.declaration == declaration_of(table)
    }

    /// The snapshot that this version is; `None` when the table's format keeps no past versions.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.version.snapshot
    }

    /// The snapshot number for a point in time or a snapshot number. Fails when it does not exist.
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

    /// The table at one of its snapshots, with today's columns.
    pub(crate) async fn open_snapshot(
        &self,
        lake: &Lake,
        table: &Table,
        session: &dyn Session,
        snapshot: i64,
    ) -> Result<Self, PastFault> {
        let other = Self::open_at(lake, table, session, Some(self), At::Snapshot(snapshot)).await?;
        Ok(other.unwrap_or_else(|| self.again()))
    }

    /// A copy of this version with its cached data as `earlier`, to be made resident in another way.
    pub(crate) fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            store_url: self.store_url.clone(),
            version: self.version.clone(),
            hides_rows: self.hides_rows,
            declaration: self.declaration.clone(),
            hot: OnceLock::new(),
            earlier: Mutex::new(self.hot.get().cloned()),
        }
    }

    /// Makes the table resident: from now on, its decoded data is cached by use.
    pub(crate) async fn heat(&self, heat: &Heat) -> DataFusionResult<()> {
        let (statistics, session) = (self.version.statistics.clone(), heat.session.as_ref());
        let plan = self.version.scan(&self.store_url, session, None, None, statistics).await?;
        let scan = plan.downcast_ref::<DataSourceExec>();
        let Some(scan) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>()) else {
            return internal_err!("a table that is not read as files");
        };
        let store = session.runtime_env().object_store(&self.store_url)?;
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let mut footers = Vec::with_capacity(self.file_count());
        for object in self.objects() {
            footers.push(match self.is_parquet() {
                // Still in the cache since the table was opened.
                true => Some(cached_footer(cache.as_ref(), store.as_ref(), object).await?),
                false => None,
            });
        }
        let earlier = self.take_earlier();
        let hot = HotTable::new(
            &self.name,
            scan.clone(),
            Arc::clone(&self.version.format),
            &footers,
            heat,
            earlier.as_deref(),
        )?;
        // A table is made resident only once, before it is served.
        let _ = self.hot.set(Arc::new(hot));
        Ok(())
    }

    /// The resident table; `None` when nothing of it is cached.
    pub(crate) fn hot(&self) -> Option<&Arc<HotTable>> {
        self.hot.get()
    }

    /// The block cache of this version, or else of the previous one.
    pub(crate) fn memory(&self) -> Option<Arc<HotMemory>> {
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        self.hot.get().or(earlier.as_ref()).map(|hot| Arc::clone(hot.memory()))
    }

    /// Takes the resident table of the previous version, so that this version does not hold it any longer.
    pub(crate) fn take_earlier(&self) -> Option<Arc<HotTable>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The restrictions that the table's catalog imposes on every caller.
    pub(crate) fn restrictions(&self) -> Option<&Restrictions> {
        self.version.restrictions.as_deref()
    }

    /// The digest of this version: of its files with their sizes, times and tags.
    pub(crate) fn version(&self) -> [u8; 32] {
        self.version.digest
    }

    /// The table's name in the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 12 hexadecimal digits of the digest, for people who compare two versions.
    pub fn version_name(&self) -> String {
        HEXLOWER.encode(&self.version.digest[..6])
    }

    /// The exact number of rows; `None` when the files do not record it.
    pub fn rows(&self) -> Option<usize> {
        match self.version.statistics.num_rows {
            Precision::Exact(rows) => Some(rows),
            _ => None,
        }
    }

    /// Numbers of values, rows and text files that `on_error` leaves out.
    pub fn skipped(&self) -> Skipped {
        self.version.format.downcast_ref::<TextFormat>().map(TextFormat::skipped).unwrap_or_default()
    }

    /// The files as listed.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectMeta> {
        self.version.files.iter().map(|file| &file.object_meta)
    }

    /// Whether the files are Parquet, and so have footers.
    pub(crate) fn is_parquet(&self) -> bool {
        self.version.format.get_ext().ends_with("parquet")
    }

    /// The number of files.
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

    /// Ignores `filters`. The physical optimizer pushes filters from above the scan into it, and governance controls
    /// which filters are above the scan.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
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

/// The lake table of a scan; `None` for another provider.
pub(crate) fn lake_table(provider: &dyn Any) -> Option<&LakeTable> {
    provider.downcast_ref()
}
