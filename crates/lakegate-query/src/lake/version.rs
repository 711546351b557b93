//! A table version: a table's files at one point, with their columns, statistics and deleted rows. Every scan reads
//! one, whatever the table's format.
//!
//! `plain`, `delta` and `iceberg` find versions.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::datasource::file_format::FileFormat as DataFusionFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::Error as StoreError;
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory;
use datafusion::physical_plan::ExecutionPlan;

use super::TableFault;
use super::catalog::restrictions::Restrictions;
use super::data_file::KnownFiles;
use super::estimates::for_plans;
use super::mapping::Mapping;
use super::meant::ByName;
use super::widths;
use crate::govern::fingerprint::Fingerprint;

/// A reference to a version of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// The newest version.
    Now,
    /// The version with this number: a Delta version or an Iceberg snapshot id.
    Snapshot(i64),
    /// The newest version at this time, in microseconds since 1970.
    Time(i64),
}

/// Why a version cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoVersion {
    /// The table has no version with this number.
    Unknown,
    /// The time is before the first version, or before the oldest one that is still known.
    BeforeFirst,
    /// The version is known, but its files are gone or it cannot be read in the table's current form.
    Expired,
}

/// Marks a fault of a past version as [`NoVersion::Expired`], because a past version does not change. Faults that only
/// a read of the store caused stay as they are.
pub(super) fn lasting(fault: TableFault, at: At) -> TableFault {
    let is_unread = fault.source.as_ref().is_some_and(|source| source.is::<StoreError>());
    match at == At::Now || fault.is_passing || fault.no_version.is_some() || is_unread {
        true => fault,
        false => fault.no_version(NoVersion::Expired),
    }
}

/// One version of a table whose format keeps past versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A Delta version or an Iceberg snapshot id.
    pub id: i64,
    /// The time of its commit.
    pub time: DateTime<Utc>,
}

impl Snapshot {
    /// A snapshot with its time in microseconds since 1970.
    pub(super) fn of_micros(id: i64, micros: i64) -> Self {
        Self { id, time: DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH) }
    }
}

/// A table at one point.
#[derive(Clone, Debug)]
pub(crate) struct TableVersion {
    pub(super) format: Arc<dyn DataFusionFormat>,
    pub(super) schema: TableSchema,
    pub(super) files: FileGroup,
    pub(super) statistics: Statistics,
    /// Finds columns in files that name them otherwise; `None` when all files use the table's names.
    pub(super) mapping: Option<Arc<Mapping>>,
    /// Identifies the version.
    pub(super) digest: [u8; 32],
    pub(super) snapshot: Option<Snapshot>,
    /// Identifies the newest state of the table's metadata, to find out whether there is a newer version.
    pub(super) newest: Option<String>,
    /// Facts about its files that the next version can reuse.
    pub(super) known: Arc<KnownFiles>,
    /// The restrictions that the table's catalog imposes on every caller.
    pub(super) restrictions: Option<Arc<Restrictions>>,
}

/// The result of opening a table.
pub(super) enum Opened {
    /// The previous version is still current.
    Same,
    /// Another version.
    Other(Box<TableVersion>),
}

impl TableVersion {
    /// Applies the catalog's restrictions. They change the digest, so that data cached for one set of restrictions is
    /// not used for another.
    pub(super) fn restricted(mut self, restrictions: Option<Restrictions>) -> Self {
        if let Some(restrictions) = &restrictions {
            let mut digest = Fingerprint::new("lakegate restricted version v1");
            digest.part(&self.digest);
            digest.text(format_args!("{restrictions:?}"));
            self.digest = digest.bytes();
        }
        self.restrictions = restrictions.map(Arc::new);
        self
    }

    /// Scans all files in their order.
    pub(super) async fn scan(
        &self,
        store: &ObjectStoreUrl,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        statistics: Statistics,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let batch_rows = widths::rows_of_batch(&self.statistics, projection.map(Vec::as_slice));
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(store.clone(), source)
            .with_file_groups(vec![self.files.clone()])
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_batch_size(batch_rows)
            .with_expr_adapter(self.columns_of_files())
            .build();
        self.format.create_physical_plan(session, config).await
    }

    /// The adapter that rewrites expressions over the table for each file; `None` for the engine's own.
    fn columns_of_files(&self) -> Option<Arc<dyn PhysicalExprAdapterFactory>> {
        match &self.mapping {
            Some(mapping) => Some(Arc::clone(mapping) as _),
            None if self.format.get_ext().ends_with("parquet") => Some(Arc::new(ByName)),
            None => None,
        }
    }
}

/// Statistics with only the order of magnitude of the row count. The engine's choices, such as join sides and through
/// them the order of rows, then do not depend on rows that a caller may not see.
pub(crate) fn magnitude_only(statistics: &Statistics, schema: &Schema) -> Statistics {
    let mut coarse = Statistics::new_unknown(schema);
    coarse.num_rows = match statistics.num_rows {
        Precision::Exact(rows) | Precision::Inexact(rows) => Precision::Inexact(magnitude(rows)),
        Precision::Absent => Precision::Absent,
    };
    coarse
}

/// The smallest power of 100 that is at least `rows`, enough to distinguish a dimension table from a fact table.
fn magnitude(rows: usize) -> usize {
    let mut magnitude = 1_usize;
    while magnitude < rows {
        magnitude = magnitude.saturating_mul(100);
    }
    magnitude
}

/// The merged statistics of all files, for the optimizer.
pub(super) fn summary(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics, TableFault> {
    let each = files.iter().filter_map(|file| file.statistics.as_deref());
    Statistics::try_merge_iter(each, schema)
        .map(for_plans)
        .map_err(|error| TableFault::new("the files' statistics do not fit together").source(error))
}
