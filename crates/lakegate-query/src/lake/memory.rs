//! A decoded copy of a table in memory: what a scan reads when the table fits, without files, footers and decoding.
//!
//! A copy belongs to one version of a table and has the same rows in the same order. It gives all rows, as files do; who
//! sees which of them is `govern`'s business.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, conjunction_opt};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::stream;

use super::version::magnitude_only;
use super::zones::Zones;
use crate::engine::Size;
use crate::engine::pause::paused;

/// The decoded rows of a table.
#[derive(Debug)]
pub(crate) struct MemoryCopy {
    batches: Vec<RecordBatch>,
    zones: Zones,
    statistics: Statistics,
    bytes: usize,
}

impl MemoryCopy {
    pub(crate) fn of(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self> {
        let batches = batches.iter().map(compact).collect::<Result<Vec<_>>>()?;
        let zones = Zones::of(schema, &batches)?;
        let statistics = zones.statistics(&batches)?;
        let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        Ok(Self { batches, zones, statistics, bytes })
    }

    /// The rows.
    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The size in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A scan of the copy.
    pub(crate) fn scan(
        self: &Arc<Self>,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        hides_rows: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let statistics = match hides_rows {
            true => magnitude_only(&self.statistics, schema),
            false => self.statistics.clone(),
        };
        let places = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let scan = MemoryScan {
            schema: Arc::new(schema.project(&places)?),
            statistics: Arc::new(statistics.project(Some(&places))),
            copy: Arc::clone(self),
            places,
            filters: Vec::new(),
            metrics: ExecutionPlanMetricsSet::new(),
        };
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// The batch without the buffers that its strings share with other batches and with rows that are not in it.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let compacted = batch.columns().iter().map(|array| match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()) as ArrayRef,
        _ => Arc::clone(array),
    });
    Ok(RecordBatch::try_new(batch.schema(), compacted.collect())?)
}

/// A scan of a copy: some columns, and filters by which batches are skipped.
#[derive(Clone, Debug)]
struct MemoryScan {
    copy: Arc<MemoryCopy>,
    places: Vec<usize>,
    schema: SchemaRef,
    statistics: Arc<Statistics>,
    /// Only a help to skip: the operator that gave a filter still applies it to every row.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// What was read, under the names that scans of files use.
    metrics: ExecutionPlanMetricsSet,
}

impl MemoryScan {
    /// The batches that may hold rows that fulfil the filters, as these are when the scan begins: a join has filled in by
    /// then what it learnt from its other side.
    fn kept(&self) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        let keep = self.pruned().unwrap_or_else(|| vec![true; self.copy.batches.len()]);
        let (copy, places) = (Arc::clone(&self.copy), self.places.clone());
        let kept = keep.into_iter().enumerate().filter(|(_, keep)| *keep).map(|(at, _)| at);
        let rows = MetricBuilder::new(&self.metrics).output_rows(0);
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_scanned", 0);
        kept.map(move |at| {
            let batch = copy.batches[at].project(&places)?;
            rows.add(batch.num_rows());
            bytes.add(batch.get_array_memory_size());
            Ok(batch)
        })
    }

    /// Which batches to keep; `None` when nothing can be said.
    fn pruned(&self) -> Option<Vec<bool>> {
        let snapshots = self.filters.iter().map(|filter| snapshot_physical_expr(Arc::clone(filter)));
        let filter = conjunction_opt(snapshots.collect::<Result<Vec<_>>>().ok()?)?;
        let pruning =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(filter).ok()?;
        pruning.prune(&self.copy.zones).ok()
    }
}

/// What a scan of a copy would read; `None` for another source.
pub(crate) fn memory_scan_size(source: &dyn DataSource) -> Option<Size> {
    let scan = source.downcast_ref::<MemoryScan>()?;
    let keep = scan.pruned().unwrap_or_else(|| vec![true; scan.copy.batches.len()]);
    let kept = scan.copy.batches.iter().zip(keep).filter(|(_, keep)| *keep).map(|(batch, _)| batch);
    let bytes_of =
        |batch: &RecordBatch| scan.places.iter().map(|at| batch.column(*at).get_array_memory_size()).sum::<usize>();
    let sizes = kept.map(|batch| Size { rows: batch.num_rows() as u64, bytes: bytes_of(batch) as u64 });
    Some(sizes.fold(Size::default(), |all, size| Size { rows: all.rows + size.rows, bytes: all.bytes + size.bytes }))
}

impl DataSource for MemoryScan {
    fn open(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scan = self.clone();
        // All batches are there at once, and nothing else would make a query that reads many of them pause.
        let batches = paused(stream::iter(std::iter::once_with(move || scan.kept()).flatten()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let filters = self.filters.iter().map(ToString::to_string).collect::<Vec<_>>().join(" AND ");
        write!(f, "in memory, batches={}, pruned by=[{filters}]", self.copy.batches.len())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(1)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&self.statistics))
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let unapplied = vec![PushedDown::No; filters.len()];
        let mut scan = self.clone();
        scan.filters.extend(filters);
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(unapplied).with_updated_node(Arc::new(scan)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.filters {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}
