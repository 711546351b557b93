//! Index nested-loop join: probes the index over a column of a resident table with the keys of the input.
//!
//! Reads only table rows that match a key, and evaluates the table's policy on them before the rest of the query.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{HashSet, Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};

use super::filter::{Filter, Wanted, batch};
use super::gather::gather;
use super::param;
use super::passing::Passing;
use super::scan::properties;
use super::verify::Reader;
use crate::engine::pause::paused;
use crate::hot::{Entry, HotTable, KeyIndex, Keys};

/// The number of table rows that are read at a time.
const TOGETHER: usize = 8_192;

/// The join type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A row for each matching pair.
    Inner,
    /// A row for each matching pair, and the input rows without a match.
    Left,
    /// Left semi-join: the input rows with a match, without columns of the table.
    Semi,
    /// Right semi-join: the table rows with a match, each once, without columns of the input.
    Of,
}

/// The indexed table and what the join reads from it.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) table: Arc<HotTable>,
    /// The column that is compared with the key.
    pub(super) by: usize,
    pub(super) filter: Option<Filter>,
    /// The columns to read.
    pub(super) columns: Arc<[usize]>,
    pub(super) schema: SchemaRef,
    /// The output expressions over `columns`; `None` if the output is `columns`.
    pub(super) made: Option<Arc<[Arc<dyn PhysicalExpr>]>>,
}

/// The operator.
#[derive(Clone, Debug)]
pub(super) struct LookupExec {
    input: Arc<dyn ExecutionPlan>,
    kind: Kind,
    /// The index of the key column in the input.
    key: usize,
    side: Side,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LookupExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, kind: Kind, key: usize, side: Side, schema: SchemaRef) -> Self {
        let (properties, metrics) = (properties_over(&input, &schema), ExecutionPlanMetricsSet::new());
        Self { input, kind, key, side, schema, properties, metrics }
    }

    /// A copy over `input` with the parameters bound, to be executed once.
    pub(super) fn filled(&self, input: Arc<dyn ExecutionPlan>, values: &[ScalarValue]) -> Result<Self> {
        let filter = self.side.filter.as_ref().map(|filter| filter.filled(values)).transpose()?;
        let fill = |expr| param::filled(expr, &self.side.schema, values);
        let made = self.side.made.as_ref().map(|made| made.iter().map(fill).collect());
        let side = Side { filter, made: made.transpose()?, ..self.side.clone() };
        Ok(Self { input, side, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }

    /// A copy over another side or key, to simulate a planner bug.
    #[cfg(test)]
    pub(super) fn with_side(&self, side: Side, key: usize) -> Self {
        Self { side, key, ..self.clone() }
    }

    #[cfg(test)]
    pub(super) fn side(&self) -> (&Side, usize) {
        (&self.side, self.key)
    }

    /// The parts that the check of prepared plans inspects.
    pub(super) fn reader(&self) -> Reader<'_> {
        let Side { table, filter, columns, .. } = &self.side;
        Reader { table, filter: filter.as_ref().map(|filter| &filter.predicate), columns, lookup: Some(self) }
    }

    /// The input, the index of its key column, and the table column that is compared with the key.
    pub(super) fn asks_by(&self) -> (&Arc<dyn ExecutionPlan>, usize, usize) {
        (&self.input, self.key, self.side.by)
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The output expressions over the columns read; `None` if the output is those columns.
    pub(super) fn makes(&self) -> Option<&[Arc<dyn PhysicalExpr>]> {
        self.side.made.as_deref()
    }

    /// The table and its indexed column.
    pub(super) fn asks(&self) -> (&Arc<HotTable>, usize) {
        (&self.side.table, self.side.by)
    }
}

/// The properties of an operator with as many partitions as its input.
fn properties_over(input: &Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Arc<PlanProperties> {
    properties(schema, input.properties().output_partitioning().partition_count())
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

    fn required_input_distribution(&self) -> Vec<Distribution> {
        match (self.kind, self.input.schema().fields().get(self.key)) {
            // A partition remembers the keys that it has probed, so all rows with a key must go to one partition.
            (Kind::Of, Some(field)) => {
                vec![Distribution::KeyPartitioned(vec![Arc::new(Column::new(field.name(), self.key))])]
            }
            (Kind::Of, None) => vec![Distribution::SinglePartition],
            (Kind::Inner | Kind::Left | Kind::Semi, _) => vec![Distribution::UnspecifiedDistribution],
        }
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
                let (properties, metrics) = (properties_over(&input, &self.schema), ExecutionPlanMetricsSet::new());
                Ok(Arc::new(Self { input, properties, metrics, ..self.as_ref().clone() }))
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
        let memory = MemoryConsumer::new("rows of frequent keys").register(context.memory_pool());
        let running = Running {
            input: self.input.execute(partition, context)?,
            kind: self.kind,
            key: self.key,
            side: self.side.clone(),
            schema: Arc::clone(&self.schema),
            index: None,
            seen: HashSet::new(),
            passing: Passing::new(memory),
            batch: None,
            rows: MetricBuilder::new(&self.metrics).counter("looked_up_rows", partition),
            bytes: MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition),
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

/// One execution of the join.
struct Running {
    input: SendableRecordBatchStream,
    kind: Kind,
    key: usize,
    side: Side,
    schema: SchemaRef,
    index: Option<Arc<KeyIndex>>,
    /// The entries of keys already probed; used only if each table row is returned once.
    seen: HashSet<u32>,
    /// The matching rows of frequent keys.
    passing: Passing,
    batch: Option<Asking>,
    rows: Count,
    bytes: Count,
}

/// A batch of the input and the progress in it.
struct Asking {
    batch: RecordBatch,
    /// The index entry of each row's key.
    entries: Vec<Entry>,
    /// The next row of the batch, and how many of its matches are done.
    row: usize,
    done: u32,
    /// Whether each row has a match.
    has: Vec<bool>,
}

/// Pairs of a batch row and a table row.
struct Pairs {
    of_batch: Vec<u32>,
    of_table: Vec<u32>,
    /// Ranges of pairs whose table rows are known to satisfy the filter.
    passed: Vec<Range<usize>>,
}

impl Running {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(mut asking) = self.batch.take() else {
                let Some(batch) = self.input.next().await.transpose()? else { return Ok(None) };
                if batch.num_rows() > 0 {
                    let entries = self.index().await?.entries(&Keys::of(batch.column(self.key))?);
                    let has = vec![false; batch.num_rows()];
                    self.batch = Some(Asking { batch, entries, row: 0, done: 0, has });
                }
                continue;
            };
            let index = self.index().await?;
            self.find_passing(&asking, &index).await?;
            let pairs = self.ask(&mut asking, &index);
            if pairs.of_table.is_empty() {
                // All keys of the batch are done.
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

    async fn index(&mut self) -> Result<Arc<KeyIndex>> {
        if let Some(index) = &self.index {
            return Ok(Arc::clone(index));
        }
        let index = self.side.table.index(self.side.by).await?;
        self.index = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Filters the rows of the next keys ahead of time, if the keys are frequent.
    async fn find_passing(&mut self, asking: &Asking, index: &KeyIndex) -> Result<()> {
        // If each table row is returned once, each is filtered only once anyway.
        let Some(filter) = self.side.filter.clone().filter(|_| self.kind != Kind::Of) else { return Ok(()) };
        // A batch row whose matches are partly done must continue in the mode in which it began.
        if asking.done > 0 {
            return Ok(());
        }
        let mut ahead = 0;
        for entry in asking.entries.iter().skip(asking.row) {
            self.passing.find(&self.side.table, index, &filter, *entry).await?;
            ahead += self.passing.of(*entry).map_or(entry.count as usize, |rows| rows.len());
            if ahead >= TOGETHER {
                break;
            }
        }
        Ok(())
    }

    /// The next pairs of a batch; none if the batch is done.
    fn ask(&mut self, asking: &mut Asking, index: &KeyIndex) -> Pairs {
        let most = asking.entries.len().min(TOGETHER);
        let (of_batch, of_table) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut pairs = Pairs { of_batch, of_table, passed: Vec::new() };
        while let Some(entry) = asking.entries.get(asking.row).copied() {
            let left = TOGETHER.saturating_sub(pairs.of_table.len());
            if left == 0 {
                break;
            }
            let mut was_asked_for = || asking.done == 0 && self.kind == Kind::Of && !self.seen.insert(entry.first);
            if entry.count == 0 || was_asked_for() {
                asking.row += 1;
                continue;
            }
            let passing = self.passing.of(entry);
            // A semi-join only needs to know that a match exists.
            if self.kind == Kind::Semi && asking.done == 0 && (passing.is_some() || self.side.filter.is_none()) {
                asking.has[asking.row] = passing.is_none_or(|rows| !rows.is_empty());
                asking.row += 1;
                continue;
            }
            let rest = passing.map_or(entry.count, |rows| rows.len() as u32) - asking.done;
            let count = rest.min(left as u32);
            match passing {
                None => index.add_rows(entry, asking.done, count, &mut pairs.of_table),
                Some(rows) => {
                    let from = pairs.of_table.len();
                    let some = asking.done as usize..(asking.done + count) as usize;
                    pairs.of_table.extend(rows.get(some).into_iter().flatten());
                    pairs.passed.push(from..pairs.of_table.len());
                }
            }
            pairs.of_batch.extend(std::iter::repeat_n(asking.row as u32, count as usize));
            match count < rest {
                true => asking.done += count,
                false => (asking.row, asking.done) = (asking.row + 1, 0),
            }
        }
        pairs
    }

    /// Filters the pairs and returns their output; `None` if there is none.
    async fn answer(&mut self, asking: &mut Asking, index: &KeyIndex, pairs: Pairs) -> Result<Option<RecordBatch>> {
        let Pairs { mut of_batch, mut of_table, passed } = pairs;
        self.rows.add(of_table.len());
        if let Some(filter) = self.side.filter.clone() {
            let mask = mask(&self.side.table, &filter, index, &of_table, &passed).await?;
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

    /// The output that is known only after all keys of the batch are done; `None` if there is none.
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

/// The output columns of the table for these of its rows.
async fn made(side: &Side, index: &KeyIndex, rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let Some(made) = &side.made else {
        return gather(&side.table, index, rows, &side.columns).await;
    };
    // Evaluates the expressions once for each distinct row, however often the row matches.
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

/// The mask of these table rows that satisfy the filter. Rows in the `passed` ranges are known to.
async fn mask(
    table: &HotTable,
    filter: &Filter,
    index: &KeyIndex,
    rows: &[u32],
    passed: &[Range<usize>],
) -> Result<BooleanArray> {
    if passed.is_empty() {
        let arrays = gather(table, index, rows, &filter.columns).await?;
        return filter.mask(arrays, rows.len());
    }
    let mut are_known = vec![false; rows.len()];
    passed.iter().for_each(|range| are_known[range.clone()].fill(true));
    let open = rows.iter().zip(&are_known).filter(|(_, is_known)| !**is_known).map(|(row, _)| *row);
    let open = open.collect::<Vec<_>>();
    if open.is_empty() {
        return Ok(BooleanArray::from(are_known));
    }
    let arrays = gather(table, index, &open, &filter.columns).await?;
    let mask = filter.mask(arrays, open.len())?;
    let mut of_open = mask.values().iter();
    let mask = are_known.into_iter().map(|is_known| is_known || of_open.next().unwrap_or(false));
    Ok(BooleanArray::from(mask.collect::<Vec<_>>()))
}

/// The given rows of a batch.
fn taken(batch: &RecordBatch, rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
    let is_all = rows.len() == batch.num_rows() && rows.iter().enumerate().all(|(at, row)| at as u32 == *row);
    if is_all {
        return Ok(batch.columns().to_vec());
    }
    let rows = UInt32Array::from(rows);
    batch.columns().iter().map(|array| Ok(take(array, &rows, None)?)).collect()
}
