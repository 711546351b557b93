//! A table version: the files of a table at one point, with their columns, statistics and deleted rows. Every scan of a
//! table reads one of these, whatever the table's format is.
//!
//! How a version is found is the business of `plain`, `delta` and `iceberg`.

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

/// Which version of a table is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// The newest.
    Now,
    /// The one of this number: a Delta version, an Iceberg snapshot id.
    Snapshot(i64),
    /// The newest that was there at this time, in microseconds since 1970.
    Time(i64),
}

/// Why there is no such version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoVersion {
    /// The table has none of this number.
    Unknown,
    /// It is before the table's first version, or before the oldest that is still known.
    BeforeFirst,
    /// It is known, and what it consists of is gone, or can not be read as the table is now.
    Expired,
}

/// The fault of a version of the past: what is wrong with it stays so, unless its files could only not be read now.
pub(super) fn lasting(fault: TableFault, at: At) -> TableFault {
    let is_unread = fault.source.as_ref().is_some_and(|source| source.is::<StoreError>());
    match at == At::Now || fault.is_passing || fault.no_version.is_some() || is_unread {
        true => fault,
        false => fault.no_version(NoVersion::Expired),
    }
}

/// A state of a table that keeps its past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A Delta version, an Iceberg snapshot id.
    pub id: i64,
    /// When it was made.
    pub time: DateTime<Utc>,
}

impl Snapshot {
    /// A snapshot that was made so many microseconds after 1970 began.
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
    /// How the columns are found in files that name them otherwise.
    pub(super) mapping: Option<Arc<Mapping>>,
    /// What tells it from others.
    pub(super) digest: [u8; 32],
    pub(super) snapshot: Option<Snapshot>,
    /// What is looked at to see whether there is a newer one.
    pub(super) newest: Option<String>,
    /// What was read of its files once, for the next version.
    pub(super) known: Arc<KnownFiles>,
    /// What its catalog restricts for every reader here.
    pub(super) restrictions: Option<Arc<Restrictions>>,
}

/// What opening a table came to.
pub(super) enum Opened {
    /// The version that there was before.
    Same,
    /// Another one.
    Other(Box<TableVersion>),
}

impl TableVersion {
    /// The version under what its catalog restricts: another one, for all that is kept by versions.
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

    /// A scan of all files, in their order.
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

    /// How the columns of its files come into expressions over it; `None` is as the engine does it.
    fn columns_of_files(&self) -> Option<Arc<dyn PhysicalExprAdapterFactory>> {
        match &self.mapping {
            Some(mapping) => Some(Arc::clone(mapping) as _),
            None if self.format.get_ext().ends_with("parquet") => Some(Arc::new(ByName)),
            None => None,
        }
    }
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

/// The statistics of all files together, for plans.
pub(super) fn summary(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics, TableFault> {
    let each = files.iter().filter_map(|file| file.statistics.as_deref());
    Statistics::try_merge_iter(each, schema)
        .map(for_plans)
        .map_err(|error| TableFault::new("the files' statistics do not fit together").source(error))
}
