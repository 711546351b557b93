//! Scan of a resident table: skips blocks by their statistics, decodes missing ones and filters the rows.
//!
//! The filter includes the table's policy. Nothing else of the query is evaluated on a row before it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;

use super::filter::{Filter, Wanted, batch};
use super::param;
use super::verify::Reader;
use crate::engine::pause::paused;
use crate::hot::{BlockAt, Bounds, HotTable};

/// Blocks that are processed at a time, so that missing ones are decoded together.
const TOGETHER: usize = 8;

/// The maximum number of rows in a batch.
const MOST_ROWS: usize = 8_192;

/// The operator.
#[derive(Clone, Debug)]
pub(super) struct HotScanExec {
    table: Arc<HotTable>,
    columns: Arc<[usize]>,
    filter: Option<Filter>,
    schema: SchemaRef,
    chosen: Option<Arc<Chosen>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The blocks that may hold matching rows. The partitions divide them among themselves.
#[derive(Debug)]
struct Chosen {
    bounds: Bounds,
    blocks: Vec<BlockAt>,
}

impl HotScanExec {
    /// A scan of these columns under the names of `schema`.
    pub(super) fn new(
        table: Arc<HotTable>,
        columns: Arc<[usize]>,
        filter: Option<Filter>,
        schema: SchemaRef,
        partitions: usize,
    ) -> Self {
        let (properties, metrics) = (properties(&schema, partitions), ExecutionPlanMetricsSet::new());
        Self { table, columns, filter, schema, chosen: None, properties, metrics }
    }

    /// A copy with the parameters bound, to be executed once.
    pub(super) fn filled(&self, values: &[ScalarValue]) -> Result<Self> {
        let filter = self.filter.as_ref().map(|filter| filter.filled(values)).transpose()?;
        let bounds = filter.as_ref().map(Filter::bounds).unwrap_or_default();
        let chosen = Some(Arc::new(Chosen { blocks: self.table.blocks(&bounds), bounds }));
        Ok(Self { filter, chosen, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }

    /// A copy with another filter, to simulate a planner bug.
    #[cfg(test)]
    pub(super) fn with_filter(&self, filter: Option<Filter>) -> Self {
        Self { filter, ..self.clone() }
    }

    #[cfg(test)]
    pub(super) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The parts that the check of prepared plans inspects.
    pub(super) fn reader(&self) -> Reader<'_> {
        let filter = self.filter.as_ref().map(|filter| &filter.predicate);
        Reader { table: &self.table, filter, columns: &self.columns, lookup: None }
    }

    /// The number of rows to scan, as far as it is known; 0 before the parameters are bound.
    pub(super) fn rows(&self) -> usize {
        self.chosen.as_ref().map_or(0, |chosen| self.table.rows_in(&chosen.blocks))
    }
}

/// The properties of an operator with this many partitions and no guaranteed order.
pub(super) fn properties(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    let equivalences = EquivalenceProperties::new(Arc::clone(schema));
    let partitioning = Partitioning::UnknownPartitioning(partitions);
    Arc::new(PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded))
}

impl DisplayAs for HotScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let names = self.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        write!(f, "HotScanExec: {}, columns=[{names}]", self.table.name())?;
        match &self.filter {
            Some(filter) => write!(f, ", filter={}", filter.predicate),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for HotScanExec {
    fn name(&self) -> &str {
        "HotScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.filter {
            Some(filter) => f(&filter.predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("a scan has no input");
        }
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("a scan has no input");
        }
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let has_places = self.filter.as_ref().is_some_and(|filter| param::has_places(&filter.predicate));
        let Some(chosen) = self.chosen.as_ref().filter(|_| !has_places) else {
            return internal_err!("a scan whose values are not in their places");
        };
        let running = Running::new(self, chosen, partition);
        let batches = stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), paused(batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        // No decision in these plans depends on table sizes.
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }
}

/// One partition of a running scan.
struct Running {
    table: Arc<HotTable>,
    columns: Arc<[usize]>,
    filter: Option<Filter>,
    chosen: Arc<Chosen>,
    /// The chosen blocks that this partition has yet to read.
    left: Range<usize>,
    schema: SchemaRef,
    ready: VecDeque<RecordBatch>,
    given: Count,
    passed: Count,
    bytes: Count,
}

/// The matching rows of a block.
struct Found {
    at: BlockAt,
    wanted: Wanted,
    /// The number of rows of the block; needed only if the scan reads no columns.
    rows: usize,
}

impl Running {
    fn new(scan: &HotScanExec, chosen: &Arc<Chosen>, partition: usize) -> Self {
        let (count, partitions) = (chosen.blocks.len(), scan.properties.output_partitioning().partition_count());
        Self {
            table: Arc::clone(&scan.table),
            columns: Arc::clone(&scan.columns),
            filter: scan.filter.clone(),
            chosen: Arc::clone(chosen),
            left: count * partition / partitions..count * (partition + 1) / partitions,
            schema: Arc::clone(&scan.schema),
            ready: VecDeque::new(),
            given: MetricBuilder::new(&scan.metrics).output_rows(partition),
            passed: MetricBuilder::new(&scan.metrics).counter("pushdown_rows_pruned", partition),
            bytes: MetricBuilder::new(&scan.metrics).counter("bytes_scanned", partition),
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            let some = self.left.start..self.left.end.min(self.left.start + TOGETHER);
            if some.is_empty() {
                return Ok(None);
            }
            self.left.start = some.end;
            self.read(some).await?;
        }
    }

    async fn read(&mut self, some: Range<usize>) -> Result<()> {
        let found = self.find(&self.chosen.blocks[some]).await?;
        let blocks = found.iter().map(|found| found.at).collect::<Vec<_>>();
        let fetched = self.table.fetch(&blocks, &self.columns).await?;
        for (arrays, Found { wanted, rows, .. }) in fetched.into_iter().zip(found) {
            let count = wanted.count(arrays.first().map_or(rows, |array| array.len()));
            let taken = arrays.iter().map(|array| wanted.take(array)).collect::<Result<Vec<_>>>()?;
            self.given.add(count);
            self.bytes.add(taken.iter().map(|array| array.get_array_memory_size()).sum());
            let whole = batch(&self.schema, taken, count)?;
            // A text file is one block of any length.
            for first in (0..count).step_by(MOST_ROWS) {
                self.ready.push_back(whole.slice(first, MOST_ROWS.min(count - first)));
            }
        }
        Ok(())
    }

    /// The matching rows of these blocks, without blocks that have none.
    async fn find(&self, blocks: &[BlockAt]) -> Result<Vec<Found>> {
        let Chosen { bounds, .. } = self.chosen.as_ref();
        let are_all = |at: &BlockAt| self.filter.is_none() || self.table.all_hold(*at, bounds);
        let are_all = blocks.iter().map(are_all).collect::<Vec<_>>();
        let mut judged = match &self.filter {
            Some(filter) => {
                let judged = blocks.iter().zip(&are_all).filter(|(_, are_all)| !**are_all).map(|(at, _)| *at);
                self.table.fetch(&judged.collect::<Vec<_>>(), &filter.columns).await?.into_iter()
            }
            None => Vec::new().into_iter(),
        };
        let mut found = Vec::with_capacity(blocks.len());
        for (at, are_all) in blocks.iter().copied().zip(are_all) {
            if are_all {
                let rows = if self.columns.is_empty() { self.table.rows_of(at).await? } else { 0 };
                found.push(Found { at, wanted: Wanted::All, rows });
                continue;
            }
            let (Some(arrays), Some(filter)) = (judged.next(), &self.filter) else {
                return internal_err!("a block was not decoded");
            };
            // The statistics that were observed just now may exclude the block.
            if !self.table.may_hold(at, bounds) {
                continue;
            }
            let rows = match arrays.first() {
                Some(array) => array.len(),
                None => self.table.rows_of(at).await?,
            };
            self.bytes.add(arrays.iter().map(|array| array.get_array_memory_size()).sum());
            let wanted = Wanted::of(&filter.mask(arrays, rows)?);
            self.passed.add(rows - wanted.count(rows));
            if !matches!(wanted, Wanted::None) {
                found.push(Found { at, wanted, rows });
            }
        }
        Ok(found)
    }
}
