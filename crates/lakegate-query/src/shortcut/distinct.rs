//! Streaming `DISTINCT`: emits each distinct row as soon as it first appears.
//!
//! DataFusion's own operator emits rows only after it has read its whole input, so a listing with `DISTINCT` would send
//! nothing until then. This operator keeps the emitted rows as bytes; a row is new if no kept row has the same bytes.
//!
//! If memory runs out, the rows that were not emitted yet go to DataFusion's operator, which can spill to disk.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err, resources_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::filter::{Wanted, batch};
use crate::engine::pause::paused;

/// Replaces each aggregate of a plan that is a plain `DISTINCT` with this operator.
pub(super) fn streaming(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let streaming = plan.transform_up(|node| match node.downcast_ref::<AggregateExec>().filter(|it| is_distinct(it)) {
        Some(aggregate) => {
            let distinct = DistinctExec { aggregate: Arc::new(aggregate.clone()), metrics: Default::default() };
            Ok(Transformed::yes(Arc::new(distinct) as Arc<dyn ExecutionPlan>))
        }
        None => Ok(Transformed::no(node)),
    });
    streaming.map(|streaming| streaming.data)
}

/// Whether an aggregate removes duplicate rows and does nothing else.
fn is_distinct(aggregate: &AggregateExec) -> bool {
    let groups = aggregate.group_expr();
    matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned)
        && aggregate.aggr_expr().is_empty()
        && groups.is_single()
        && !groups.is_empty()
        && aggregate.limit_options().is_none()
        && aggregate.input().output_partitioning().partition_count() == 1
        && aggregate.schema().fields().iter().all(|field| is_plain(field.data_type()))
}

/// Whether equal values of a type have equal bytes, apart from the two zeros of floats.
fn is_plain(data_type: &DataType) -> bool {
    use DataType::{Boolean, Float32, Float64};
    let is_bytes = data_type.is_string() || data_type.is_binary();
    let is_number = data_type.is_integer() || data_type.is_decimal() || matches!(data_type, Float32 | Float64);
    is_bytes || is_number || data_type.is_temporal() || *data_type == Boolean
}

/// The operator.
#[derive(Debug)]
pub(super) struct DistinctExec {
    /// DataFusion's operator over the same input.
    aggregate: Arc<AggregateExec>,
    metrics: ExecutionPlanMetricsSet,
}

impl DistinctExec {
    /// The expressions that define a distinct row.
    pub(super) fn groups(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.aggregate.group_expr().input_exprs()
    }
}

impl DisplayAs for DistinctExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.aggregate.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        write!(f, "DistinctExec: columns=[{names}]")
    }
}

impl ExecutionPlan for DistinctExec {
    fn name(&self) -> &str {
        "DistinctExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.aggregate.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = Arc::clone(&self.aggregate).replace_children(children, options)?;
        let Some(aggregate) = aggregate.downcast_ref::<AggregateExec>() else {
            return internal_err!("an aggregate became another operator");
        };
        Ok(Arc::new(Self { aggregate: Arc::new(aggregate.clone()), metrics: Default::default() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (schema, groups) = (self.aggregate.schema(), self.aggregate.group_expr().input_exprs());
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let seen = Seen {
            encoder: RowConverter::new(fields.collect())?,
            kept: Kept::default(),
            memory: MemoryConsumer::new("DistinctExec").register(context.memory_pool()),
        };
        let running = Running {
            input: self.aggregate.input().execute(partition, Arc::clone(&context))?,
            aggregate: Arc::clone(&self.aggregate),
            context,
            groups,
            schema: Arc::clone(&schema),
            seen,
            counted: BaselineMetrics::new(&self.metrics, partition),
        };
        let batches = stream::try_unfold(State::Passing(Box::new(running)), State::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, paused(batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The rows that were emitted, with the memory reserved for them.
struct Seen {
    encoder: RowConverter,
    kept: Kept,
    memory: MemoryReservation,
}

/// A set of rows, stored as bytes.
#[derive(Default)]
struct Kept {
    /// Rows, each after its length. A chunk has room for all rows of a batch, so no row ever moves.
    chunks: Vec<Vec<u8>>,
    places: HashTable<Place>,
    /// Seeded for each run. Rows are compared by their bytes, so a collision only costs time.
    hashes: DefaultHashBuilder,
}

/// The position of a row and its hash. Because the hash is stored, the table can grow without reading rows.
struct Place {
    hash: u64,
    chunk: u32,
    start: u32,
}

/// Bytes of the length before each row.
const LENGTH: usize = size_of::<u64>();
/// The minimum size of a chunk, once there are many.
const CHUNK: usize = 1 << 20;

impl Place {
    fn is_of(&self, hash: u64, row: &[u8], chunks: &[Vec<u8>]) -> bool {
        let kept = || {
            let (length, rest) = chunks.get(self.chunk as usize)?.get(self.start as usize..)?.split_first_chunk()?;
            rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
        };
        self.hash == hash && kept() == Some(row)
    }
}

impl Kept {
    fn has(&self, row: &[u8]) -> bool {
        let hash = self.hashes.hash_one(row);
        self.places.find(hash, |place| place.is_of(hash, row, &self.chunks)).is_some()
    }

    /// Adds a row, for which there must be room. Returns whether it is new.
    fn keep(&mut self, row: &[u8]) -> bool {
        let hash = self.hashes.hash_one(row);
        let Self { chunks, places, .. } = self;
        let entry = places.entry(hash, |place| place.is_of(hash, row, chunks), |place| place.hash);
        let Entry::Vacant(entry) = entry else { return false };
        let last = chunks.len().saturating_sub(1);
        let Some(chunk) = chunks.last_mut() else { return false };
        // Fits, because `make_room` refuses chunks of 4 GiB and more.
        entry.insert(Place { hash, chunk: last as u32, start: chunk.len() as u32 });
        chunk.extend_from_slice(&(row.len() as u64).to_le_bytes());
        chunk.extend_from_slice(row);
        true
    }

    /// Bytes of a hash table for `places` entries: a power of two, with an eighth free and a control byte for each.
    fn size_of_places(places: usize) -> usize {
        (places * 8).div_ceil(7).next_power_of_two() * (size_of::<Place>() + 1)
    }
}

impl Seen {
    /// Reserves memory for `rows` as if each were new. While the hash table grows, the old and the new one count.
    ///
    /// # Errors
    /// If there is not enough memory.
    fn make_room(&mut self, rows: &Rows) -> Result<()> {
        let Kept { chunks, places, .. } = &mut self.kept;
        let more = rows.iter().map(|row| row.data().len() + LENGTH).sum::<usize>();
        let (size, free) = chunks.last().map_or((0, 0), |chunk| (chunk.capacity(), chunk.capacity() - chunk.len()));
        if more > free || chunks.is_empty() {
            let size = more.max(CHUNK.min(2 * size));
            if u32::try_from(size).is_err() || u32::try_from(chunks.len()).is_err() {
                return resources_err!("rows of a batch are larger than can be kept");
            }
            self.memory.try_grow(size)?;
            chunks.push(Vec::with_capacity(size));
        }
        let wanted = places.len() + rows.num_rows();
        if wanted > places.capacity() {
            let before = if places.capacity() == 0 { 0 } else { Kept::size_of_places(places.capacity()) };
            self.memory.try_grow(Kept::size_of_places(wanted))?;
            places.reserve(rows.num_rows(), |place| place.hash);
            self.memory.shrink(before);
        }
        Ok(())
    }

    fn encoded(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.encoder.convert_columns(columns)?)
    }

    /// Adds the rows and returns the mask of those that are new.
    fn first(&mut self, rows: &Rows) -> BooleanArray {
        let is_new = rows.iter().map(|row| self.kept.keep(row.data()));
        BooleanArray::new(is_new.collect::<BooleanBuffer>(), None)
    }

    /// The mask of rows that were not emitted, without adding them.
    fn others(&self, rows: &Rows) -> BooleanArray {
        let is_other = rows.iter().map(|row| !self.kept.has(row.data()));
        BooleanArray::new(is_other.collect::<BooleanBuffer>(), None)
    }
}

/// One execution of the operator.
struct Running {
    input: SendableRecordBatchStream,
    aggregate: Arc<AggregateExec>,
    context: Arc<TaskContext>,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    seen: Seen,
    counted: BaselineMetrics,
}

/// The phase of an execution.
enum State {
    /// Emits new rows as they arrive.
    Passing(Box<Running>),
    /// Memory ran out: DataFusion's operator emits the remaining rows.
    Rest(SendableRecordBatchStream, BaselineMetrics),
}

impl State {
    async fn next(self) -> Result<Option<(RecordBatch, Self)>> {
        let (mut rest, counted) = match self {
            Self::Passing(mut running) => loop {
                let Some(read) = running.input.next().await.transpose()? else { return Ok(None) };
                let columns = running.columns(&read)?;
                let rows = running.seen.encoded(&columns)?;
                if running.seen.make_room(&rows).is_err() {
                    break running.rest(read)?;
                }
                let new = Wanted::of(&running.seen.first(&rows));
                let count = new.count(rows.num_rows());
                if count > 0 {
                    let columns = columns.iter().map(|column| new.take(column)).collect::<Result<Vec<_>>>()?;
                    let new = batch(&running.schema, columns, count)?;
                    return Ok(Some((new.record_output(&running.counted), Self::Passing(running))));
                }
            },
            Self::Rest(rest, counted) => (rest, counted),
        };
        let batch = rest.next().await.transpose()?;
        Ok(batch.map(|batch| (batch.record_output(&counted), Self::Rest(rest, counted))))
    }
}

impl Running {
    /// The columns of the output, which are also those that are compared.
    fn columns(&self, read: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |expr: &Arc<dyn PhysicalExpr>| Ok(one_zero(expr.evaluate(read)?.into_array(read.num_rows())?));
        self.groups.iter().map(column).collect()
    }

    /// Runs DataFusion's operator over `read` and the rest of the input, without the rows that were already emitted.
    fn rest(self, read: RecordBatch) -> Result<(SendableRecordBatchStream, BaselineMetrics)> {
        let (aggregate, context) = (Arc::clone(&self.aggregate), Arc::clone(&self.context));
        let counted = self.counted.clone();
        let schema = aggregate.input().schema();
        let left = stream::try_unfold((Some(read), self), |(read, mut running)| async move {
            let read = match read {
                Some(read) => Some(read),
                None => running.input.next().await.transpose()?,
            };
            let Some(read) = read else { return Ok(None) };
            let others = running.seen.others(&running.seen.encoded(&running.columns(&read)?)?);
            Ok(Some((filter_record_batch(&read, &others)?, (None, running))))
        });
        let left = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), left));
        let once = Arc::new(Once { schema: Arc::clone(&schema), stream: Mutex::new(Some(left)) });
        let input = Arc::new(StreamingTableExec::try_new(schema, vec![once], None, [], false, None)?);
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let rest = aggregate.replace_children(vec![input], options)?.execute(0, context)?;
        Ok((rest, counted))
    }
}

/// A stream as the input of an operator; it can be executed once.
struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.unwrap_or_else(|| {
            let again = stream::once(async { internal_err!("rows were asked for again that are gone") });
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), again))
        })
    }
}

/// Replaces -0.0 with 0.0, because `DISTINCT` treats them as equal.
fn one_zero(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|value| value + 0.0)),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| value + 0.0)),
        _ => array,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::execution::memory_pool::FairSpillPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_plan::aggregates::PhysicalGroupBy;
    use datafusion::physical_plan::collect;

    use super::*;

    /// DataFusion's operator over batches of numbers, texts and floats.
    fn distinct_of(rows: &[(i64, Option<String>, f64)]) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("price", DataType::Float64, false),
        ]));
        let batches = rows.chunks(1_000).map(|rows| {
            let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
            let names = rows.iter().map(|row| row.1.as_deref()).collect::<StringArray>();
            let prices = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(names), Arc::new(prices)]).unwrap()
        });
        let input = MemorySourceConfig::try_new_exec(&[batches.collect()], Arc::clone(&schema), None).unwrap();
        let groups = ["price", "name", "id"].map(|name| (col(name, &schema).unwrap(), name.to_owned()));
        let groups = PhysicalGroupBy::new_single(groups.to_vec());
        Arc::new(AggregateExec::try_new(AggregateMode::Single, groups, vec![], vec![], input, schema).unwrap())
    }

    async fn texts(plan: Arc<dyn ExecutionPlan>, bytes: usize) -> Vec<String> {
        let pool = Arc::new(FairSpillPool::new(bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let context = Arc::new(TaskContext::default().with_runtime(runtime));
        let batches = collect(plan, context).await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        text.lines().filter(|line| line.contains('|')).map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn rows_are_those_of_the_engines_operator_in_the_order_of_their_first() {
        let values = [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY];
        let rows = (0..5_000_i64).map(|at| {
            let name = (at % 3 > 0).then(|| format!("{}", at * at % 7));
            (at * 7 % 11, name, values[at as usize % values.len()])
        });
        let plan = distinct_of(&rows.collect::<Vec<_>>());
        let streaming = streaming(Arc::clone(&plan)).unwrap();
        assert!(streaming.is::<DistinctExec>());
        assert_eq!(texts(streaming, 64 << 20).await, texts(plan, 64 << 20).await);
    }

    #[tokio::test]
    async fn without_memory_for_more_rows_none_is_lost_or_comes_twice() {
        const ROWS: i64 = 200_000;
        let pool = 4 << 20;
        assert!(Kept::size_of_places(ROWS as usize) > pool);
        // Each row comes twice, the second time far behind the first. Memory runs out within the first half, so some of
        // its rows are known and some are not.
        let rows = (0..ROWS).chain(0..ROWS).map(|at| (at, Some(format!("a name of some length {at}")), 0.5));
        let plan = distinct_of(&rows.collect::<Vec<_>>());
        let mut got = texts(streaming(Arc::clone(&plan)).unwrap(), pool).await;
        let mut wanted = texts(plan, 256 << 20).await;
        got.sort_unstable();
        wanted.sort_unstable();
        assert!(got == wanted, "{} rows of {}", got.len(), wanted.len());
    }

    /// Rows that share a hash, and rows that are prefixes of others.
    #[test]
    fn rows_are_told_apart_by_their_bytes() {
        let mut kept = Kept::default();
        kept.chunks.push(Vec::new());
        let rows = (0..1_000_u32).map(|at| vec![7; at as usize % 300]).collect::<Vec<_>>();
        let is_new = rows.iter().map(|row| kept.keep(row)).collect::<Vec<_>>();
        assert!(is_new.iter().enumerate().all(|(at, is_new)| *is_new == (at < 300)));
        let other = b"another row, kept under the hash of the one that is asked for";
        let hash = kept.hashes.hash_one(&other[..]);
        kept.places.insert_unique(hash, Place { hash, chunk: 0, start: 0 }, |place| place.hash);
        assert!(!kept.has(other));
    }

    #[tokio::test]
    async fn aggregates_are_left_alone() {
        let plan = distinct_of(&[(1, None, 0.0)]);
        let limited = plan.downcast_ref::<AggregateExec>().unwrap();
        let limited = limited.with_new_limit_options(Some(datafusion::physical_plan::aggregates::LimitOptions::new(1)));
        assert!(streaming(Arc::new(limited)).unwrap().is::<AggregateExec>());
    }
}
