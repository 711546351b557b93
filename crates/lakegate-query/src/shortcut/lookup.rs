//! A join to a table by one of its columns, by the index over that column: what comes from the other side asks for its rows.
//!
//! Rows of the table are touched only where a key of the other side leads to them; what the table's policy says of its own
//! columns is asked of them before anything else of the query is.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use datafusion::arrow::compute::{interleave, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};

use super::filter::{Filter, Wanted, batch};
use super::param;
use super::scan::properties;
use crate::engine::pause::paused;
use crate::hot::{HotTable, KeyIndex, Keys};

/// How many rows of the table are looked at together.
const TOGETHER: usize = 8_192;

/// Which rows it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A row for each pair.
    Inner,
    /// The same, and the rows of the other side that have no partner.
    Left,
    /// The rows of the other side that have a partner, and nothing of the table.
    Semi,
    /// The rows of the table that have a partner, each once, and nothing of the other side.
    Of,
}

/// What is looked up, and where.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) table: Arc<HotTable>,
    /// The column that is compared with the key.
    pub(super) by: usize,
    pub(super) filter: Option<Filter>,
    /// The columns that are read.
    pub(super) columns: Arc<[usize]>,
    pub(super) schema: SchemaRef,
    /// What is made of these columns; `None` where it is these columns.
    pub(super) made: Option<Arc<[Arc<dyn PhysicalExpr>]>>,
}

/// The operator.
#[derive(Clone, Debug)]
pub(super) struct LookupExec {
    input: Arc<dyn ExecutionPlan>,
    kind: Kind,
    /// The key's place in the input.
    key: usize,
    side: Side,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LookupExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, kind: Kind, key: usize, side: Side, schema: SchemaRef) -> Self {
        let (properties, metrics) = (properties(&schema), ExecutionPlanMetricsSet::new());
        Self { input, kind, key, side, schema, properties, metrics }
    }

    /// The same over an input, with the values in their places, to be run once.
    pub(super) fn filled(&self, input: Arc<dyn ExecutionPlan>, values: &[ScalarValue]) -> Result<Self> {
        let filter = self.side.filter.as_ref().map(|filter| filter.filled(values)).transpose()?;
        let made = self.side.made.as_ref().map(|made| made.iter().map(|expr| param::filled(expr, values)).collect());
        let side = Side { filter, made: made.transpose()?, ..self.side.clone() };
        Ok(Self { input, side, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }

    /// The table and the column whose index is asked.
    pub(super) fn asks(&self) -> (&Arc<HotTable>, usize) {
        (&self.side.table, self.side.by)
    }
}

impl DisplayAs for LookupExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let Side { table, by, filter, schema, .. } = &self.side;
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let input = self.input.schema();
        let (key, by) = (input.field(self.key).name(), table.schema().field(*by).name());
        write!(f, "LookupExec: {:?}, {}.{by} = {key}, columns=[{names}]", self.kind, table.name())?;
        match filter {
            Some(filter) => write!(f, ", filter={}", filter.predicate),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for LookupExec {
    fn name(&self) -> &str {
        "LookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let filter = self.side.filter.iter().map(|filter| &filter.predicate);
        for expr in filter.chain(self.side.made.iter().flat_map(|made| made.iter())) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => {
                Ok(Arc::new(Self { input, metrics: ExecutionPlanMetricsSet::new(), ..self.as_ref().clone() }))
            }
            _ => internal_err!("a lookup has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut exprs = self.side.made.iter().flat_map(|made| made.iter());
        let filter = self.side.filter.as_ref().map(|filter| &filter.predicate);
        if exprs.any(param::has_places) || filter.is_some_and(param::has_places) {
            return internal_err!("a lookup whose values are not in their places");
        }
        let running = Running {
            input: self.input.execute(partition, context)?,
            kind: self.kind,
            key: self.key,
            side: self.side.clone(),
            schema: Arc::clone(&self.schema),
            index: None,
            seen: HashSet::new(),
            batch: None,
            rows: MetricBuilder::new(&self.metrics).counter("looked_up_rows", 0),
            bytes: MetricBuilder::new(&self.metrics).counter("bytes_scanned", 0),
        };
        let batches = stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), paused(batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }
}

/// A lookup that runs.
struct Running {
    input: SendableRecordBatchStream,
    kind: Kind,
    key: usize,
    side: Side,
    schema: SchemaRef,
    index: Option<Arc<KeyIndex>>,
    /// Keys that have been asked for, where each row of the table comes once.
    seen: HashSet<i64>,
    batch: Option<Asking>,
    rows: Count,
    bytes: Count,
}

/// A batch of the input, and how far it is.
struct Asking {
    batch: RecordBatch,
    keys: Keys,
    /// The next row of the batch, and how many of its partners are done.
    row: usize,
    done: usize,
    /// Which rows have a partner.
    has: Vec<bool>,
}

/// Pairs of a row of the batch and a row of the table.
#[derive(Default)]
struct Pairs {
    of_batch: Vec<u32>,
    of_table: Vec<u32>,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(mut asking) = self.batch.take() else {
                let Some(batch) = self.input.next().await.transpose()? else { return Ok(None) };
                if batch.num_rows() > 0 {
                    let keys = Keys::of(batch.column(self.key))?;
                    let has = vec![false; batch.num_rows()];
                    self.batch = Some(Asking { batch, keys, row: 0, done: 0, has });
                }
                continue;
            };
            let index = match &self.index {
                Some(index) => Arc::clone(index),
                None => {
                    let index = self.side.table.index(self.side.by).await?;
                    self.index = Some(Arc::clone(&index));
                    index
                }
            };
            let pairs = self.ask(&mut asking, &index);
            if pairs.of_table.is_empty() {
                // All of its keys were asked for.
                if let Some(last) = self.last(&asking)? {
                    return Ok(Some(last));
                }
                continue;
            }
            let answer = self.answer(&mut asking, &index, pairs).await?;
            self.batch = Some(asking);
            if let Some(answer) = answer {
                return Ok(Some(answer));
            }
        }
    }

    /// The next pairs of a batch.
    fn ask(&mut self, asking: &mut Asking, index: &KeyIndex) -> Pairs {
        let mut pairs = Pairs::default();
        while asking.row < asking.batch.num_rows() && pairs.of_table.len() < TOGETHER {
            let Some(key) = asking.keys.get(asking.row) else {
                asking.row += 1;
                continue;
            };
            if asking.done == 0 && self.kind == Kind::Of && !self.seen.insert(key) {
                asking.row += 1;
                continue;
            }
            let left = TOGETHER - pairs.of_table.len();
            let mut rows = index.rows_of(key).skip(asking.done);
            let before = pairs.of_table.len();
            pairs.of_table.extend(rows.by_ref().take(left));
            let found = pairs.of_table.len() - before;
            pairs.of_batch.extend(std::iter::repeat_n(asking.row as u32, found));
            match found == left && rows.next().is_some() {
                true => asking.done += found,
                false => (asking.row, asking.done) = (asking.row + 1, 0),
            }
        }
        pairs
    }

    /// What these pairs give.
    async fn answer(&mut self, asking: &mut Asking, index: &KeyIndex, pairs: Pairs) -> Result<Option<RecordBatch>> {
        let Pairs { mut of_batch, mut of_table } = pairs;
        self.rows.add(of_table.len());
        if let Some(filter) = self.side.filter.clone() {
            let arrays = gather(&self.side.table, index, &of_table, &filter.columns).await?;
            let mask = filter.mask(arrays, of_table.len())?;
            match Wanted::of(&mask) {
                Wanted::All => {}
                Wanted::None => return Ok(None),
                _ => {
                    let mut keep = mask.values().iter();
                    of_batch.retain(|_| keep.next().unwrap_or(false));
                    let mut keep = mask.values().iter();
                    of_table.retain(|_| keep.next().unwrap_or(false));
                }
            }
        }
        if matches!(self.kind, Kind::Left | Kind::Semi) {
            of_batch.iter().for_each(|row| asking.has[*row as usize] = true);
        }
        let rows = of_table.len();
        let of_side = match self.kind {
            Kind::Semi => return Ok(None),
            Kind::Inner | Kind::Left | Kind::Of => made(&self.side, index, &of_table).await?,
        };
        self.bytes.add(of_side.iter().map(|array| array.get_array_memory_size()).sum());
        if self.kind == Kind::Of {
            return batch(&self.schema, of_side, rows).map(Some);
        }
        let mut arrays = taken(&asking.batch, of_batch)?;
        arrays.extend(of_side);
        batch(&self.schema, arrays, rows).map(Some)
    }

    /// What a batch gives once all its keys were asked for.
    fn last(&self, asking: &Asking) -> Result<Option<RecordBatch>> {
        let wanted = match self.kind {
            Kind::Inner | Kind::Of => return Ok(None),
            Kind::Left => false,
            Kind::Semi => true,
        };
        let rows = (0..asking.batch.num_rows()).filter(|row| asking.has[*row] == wanted).map(|row| row as u32);
        let rows = rows.collect::<Vec<_>>();
        let count = rows.len();
        if count == 0 {
            return Ok(None);
        }
        let mut arrays = taken(&asking.batch, rows)?;
        if self.kind == Kind::Left {
            let of_side = self.schema.fields().iter().skip(arrays.len());
            let nothing = of_side.map(|field| new_null_array(field.data_type(), count)).collect::<Vec<_>>();
            arrays.extend(nothing);
        }
        batch(&self.schema, arrays, count).map(Some)
    }
}

/// The table's part of the answer for these of its rows.
async fn made(side: &Side, index: &KeyIndex, rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let Some(made) = &side.made else {
        return gather(&side.table, index, rows, &side.columns).await;
    };
    // What is made of a row is made once, however often the row is asked for.
    let mut distinct = rows.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let read = gather(&side.table, index, &distinct, &side.columns).await?;
    let read = batch(&side.schema, read, distinct.len())?;
    let places = rows.iter().map(|row| distinct.partition_point(|other| other < row) as u32);
    let places = UInt32Array::from_iter_values(places);
    let array = |expr: &Arc<dyn PhysicalExpr>| {
        let array = expr.evaluate(&read)?.into_array(distinct.len())?;
        Ok(take(&array, &places, None)?)
    };
    made.iter().map(array).collect()
}

/// Columns of these rows of the table.
async fn gather(table: &HotTable, index: &KeyIndex, rows: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    // The blocks that the rows are in, ascending, and for each row which of them and where in it.
    let mut blocks = Vec::<usize>::new();
    let mut last = None::<(std::ops::Range<u32>, usize)>;
    for row in rows {
        if last.as_ref().is_none_or(|(range, _)| !range.contains(row)) {
            let block = index.block_of(*row);
            last = Some((index.rows_in(block), block));
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    let places = blocks.iter().map(|block| index.block(*block)).collect::<Vec<_>>();
    let (fetched, _) = table.fetch(&places, columns).await?;
    if let ([block], [arrays]) = (blocks.as_slice(), fetched.as_slice()) {
        let first = index.rows_in(*block).start;
        let begin = rows[0];
        let in_run = rows.iter().enumerate().all(|(at, row)| *row == begin + at as u32);
        if in_run {
            return Ok(arrays.iter().map(|array| array.slice((begin - first) as usize, rows.len())).collect());
        }
        let places = UInt32Array::from_iter_values(rows.iter().map(|row| row - first));
        return arrays.iter().map(|array| Ok(take(array, &places, None)?)).collect();
    }
    let mut at = None::<(std::ops::Range<u32>, usize)>;
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        let (range, place) = match at.take().filter(|(range, _)| range.contains(row)) {
            Some(known) => known,
            None => {
                let block = index.block_of(*row);
                (index.rows_in(block), blocks.partition_point(|other| *other < block))
            }
        };
        places.push((place, (row - range.start) as usize));
        at = Some((range, place));
    }
    let columns = (0..columns.len()).map(|column| {
        let parts = fetched.iter().map(|arrays| arrays[column].as_ref()).collect::<Vec<_>>();
        Ok(interleave(&parts, &places)?)
    });
    columns.collect()
}

/// These rows of a batch.
fn taken(batch: &RecordBatch, rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
    let is_all = rows.len() == batch.num_rows() && rows.iter().enumerate().all(|(at, row)| at as u32 == *row);
    if is_all {
        return Ok(batch.columns().to_vec());
    }
    let rows = UInt32Array::from(rows);
    batch.columns().iter().map(|array| Ok(take(array, &rows, None)?)).collect()
}
