//! A scan of a hot table: skips blocks by what is known of them, decodes what is missing, gives the rows that fulfil the
//! filter.
//!
//! The filter has the table's policy in it. Nothing else of the query is evaluated on a row before it.

use std::collections::VecDeque;
use std::fmt;
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
use crate::engine::pause::paused;
use crate::hot::{BlockAt, Bounds, HotTable};

/// How many blocks are looked at together, so that what is missing is decoded together.
const TOGETHER: usize = 8;

/// The most rows of a batch.
const MOST_ROWS: usize = 8_192;

/// The operator.
#[derive(Clone, Debug)]
pub(super) struct HotScanExec {
    table: Arc<HotTable>,
    columns: Arc<[usize]>,
    filter: Option<Filter>,
    schema: SchemaRef,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HotScanExec {
    /// A scan that gives these columns under the names of `schema`; the statistics are what may be known of its size.
    pub(super) fn new(
        table: Arc<HotTable>,
        columns: Arc<[usize]>,
        filter: Option<Filter>,
        schema: SchemaRef,
        statistics: Statistics,
    ) -> Self {
        let properties = properties(&schema);
        let (statistics, metrics) = (Arc::new(statistics), ExecutionPlanMetricsSet::new());
        Self { table, columns, filter, schema, statistics, properties, metrics }
    }

    /// The same with the values in their places, to be run once.
    pub(super) fn filled(&self, values: &[ScalarValue]) -> Result<Self> {
        let filter = self.filter.as_ref().map(|filter| filter.filled(values)).transpose()?;
        Ok(Self { filter, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }
}

/// Of an operator that gives its rows in one partition, in no order that is promised.
pub(super) fn properties(schema: &SchemaRef) -> Arc<PlanProperties> {
    let equivalences = EquivalenceProperties::new(Arc::clone(schema));
    let one = Partitioning::UnknownPartitioning(1);
    Arc::new(PlanProperties::new(equivalences, one, EmissionType::Incremental, Boundedness::Bounded))
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

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.filter.as_ref().is_some_and(|filter| param::has_places(&filter.predicate)) {
            return internal_err!("a scan whose values are not in their places");
        }
        let running = Running::new(self);
        let batches = stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), paused(batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&self.statistics))
    }
}

/// A scan that runs.
struct Running {
    table: Arc<HotTable>,
    columns: Arc<[usize]>,
    filter: Option<Filter>,
    bounds: Bounds,
    schema: SchemaRef,
    blocks: std::vec::IntoIter<BlockAt>,
    ready: VecDeque<RecordBatch>,
    given: Count,
    passed: Count,
    bytes: Count,
}

impl Running {
    fn new(scan: &HotScanExec) -> Self {
        let bounds = scan.filter.as_ref().map(Filter::bounds).unwrap_or_default();
        Self {
            table: Arc::clone(&scan.table),
            columns: Arc::clone(&scan.columns),
            filter: scan.filter.clone(),
            blocks: scan.table.blocks(&bounds).into_iter(),
            bounds,
            schema: Arc::clone(&scan.schema),
            ready: VecDeque::new(),
            given: MetricBuilder::new(&scan.metrics).output_rows(0),
            passed: MetricBuilder::new(&scan.metrics).counter("pushdown_rows_pruned", 0),
            bytes: MetricBuilder::new(&scan.metrics).counter("bytes_scanned", 0),
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            let some = self.blocks.by_ref().take(TOGETHER).collect::<Vec<_>>();
            if some.is_empty() {
                return Ok(None);
            }
            self.read(some).await?;
        }
    }

    async fn read(&mut self, mut blocks: Vec<BlockAt>) -> Result<()> {
        let mut wanted = Vec::with_capacity(blocks.len());
        match &self.filter {
            None => {
                for at in &blocks {
                    let rows = if self.columns.is_empty() { self.table.rows_of(*at).await? } else { 0 };
                    wanted.push((Wanted::All, rows));
                }
            }
            Some(filter) => {
                let (fetched, _) = self.table.fetch(&blocks, &filter.columns).await?;
                let mut kept = Vec::with_capacity(blocks.len());
                for (at, arrays) in blocks.iter().zip(fetched) {
                    // What was decoded just now may tell that the block has nothing.
                    if !self.table.may_hold(*at, &self.bounds) {
                        continue;
                    }
                    let rows = match arrays.first() {
                        Some(array) => array.len(),
                        None => self.table.rows_of(*at).await?,
                    };
                    self.bytes.add(arrays.iter().map(|array| array.get_array_memory_size()).sum());
                    let found = Wanted::of(&filter.mask(arrays, rows)?);
                    self.passed.add(rows - found.count(rows));
                    if !matches!(found, Wanted::None) {
                        wanted.push((found, rows));
                        kept.push(*at);
                    }
                }
                blocks = kept;
            }
        }
        let (fetched, _) = self.table.fetch(&blocks, &self.columns).await?;
        for (arrays, (found, rows)) in fetched.into_iter().zip(wanted) {
            let count = found.count(arrays.first().map_or(rows, |array| array.len()));
            let taken = arrays.iter().map(|array| found.take(array)).collect::<Result<Vec<_>>>()?;
            self.given.add(count);
            self.bytes.add(taken.iter().map(|array| array.get_array_memory_size()).sum());
            let whole = batch(&self.schema, taken, count)?;
            // A text file is one block, however long it is.
            for first in (0..count).step_by(MOST_ROWS) {
                self.ready.push_back(whole.slice(first, MOST_ROWS.min(count - first)));
            }
        }
        Ok(())
    }
}
