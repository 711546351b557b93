//! Cooperative yielding: operators that produce many rows from few yield to other tasks every few batches.
//!
//! DataFusion yields where it reads rows. But a join of small tables reads little and computes for long. Without
//! yields, no time limit or disconnect would stop it, and cheap queries would wait for expensive ones.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream::{iter, poll_fn};
use futures::{Stream, StreamExt};

use super::expand::pieces;
use super::narrow::rows_of_scan;
use super::pool::Stop;
use crate::functions::grows;
use crate::functions::memory::with_pool;

/// The number of batches between yields: a few milliseconds of work.
const BATCHES_AT_ONCE: usize = 4;

/// Adds yields to a plan above joins and `UNNEST`. If functions of the plan produce large values, operators that call
/// them also set the current query's memory pool, so that the values count towards its memory. Also returns the maximum
/// batch size, if large values in the query or large rows of a table require a smaller one than the default.
pub(super) fn pausing(
    plan: Arc<dyn ExecutionPlan>,
    has_large_values: bool,
    stop: &Stop,
) -> Result<(Arc<dyn ExecutionPlan>, Option<usize>)> {
    let mut fewest = None::<usize>;
    let pausing = plan.transform_up(|node| {
        let node = expanding(node, stop)?;
        let rows = rows_with_large_values(&node)?;
        fewest = [fewest, rows, rows_of_scan(&node)].into_iter().flatten().min();
        let node = match rows {
            Some(rows) => in_small_batches(node, rows, stop)?,
            None => node,
        };
        let takes_memory = has_large_values && calls_what_grows(&node)?;
        match takes_memory || node.children().len() > 1 || node.is::<UnnestExec>() {
            true => {
                Ok(Transformed::yes(
                    Arc::new(PauseExec { input: node, takes_memory, pieces: None, stop: stop.clone() })
                        as Arc<dyn ExecutionPlan>,
                ))
            }
            // `transform_up` discards a node that is reported as unchanged.
            false => Ok(if rows.is_some() { Transformed::yes(node) } else { Transformed::no(node) }),
        }
    });
    pausing.map(|pausing| (pausing.data, fewest))
}

/// Puts an `UNNEST` above pieces of batches that it cannot expand to too many bytes.
fn expanding(node: Arc<dyn ExecutionPlan>, stop: &Stop) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(unnest) = node.downcast_ref::<UnnestExec>() else { return Ok(node) };
    let pieces = Some(Pieces::Lists(unnest.list_column_indices().into()));
    let input = PauseExec { input: Arc::clone(unnest.input()), takes_memory: false, pieces, stop: stop.clone() };
    node.replace_children(vec![Arc::new(input)], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

/// The size in bytes up to which a literal or parameter may be repeated in each row of a full batch.
const MOST_OF_LITERAL: usize = 4 << 10;
/// The maximum total size in bytes of a larger one in a batch.
const MOST_OF_LITERALS: usize = 8 << 20;

/// The size in bytes of a value that is the same in each row: a literal, or a function of literals only.
fn size_in_each_row(expr: &Arc<dyn PhysicalExpr>) -> usize {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return literal.value().size();
    }
    let makes_more = expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| grows(call.fun()));
    if !makes_more || !collect_columns(expr).is_empty() {
        return 0;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options);
    match row.map_err(Into::into).and_then(|row| expr.evaluate(&row)) {
        Ok(ColumnarValue::Scalar(value)) => value.size(),
        Ok(ColumnarValue::Array(array)) => array.get_array_memory_size(),
        // The error is reported when the query runs.
        Err(_) => 0,
    }
}

/// The maximum batch size for large constant values, because DataFusion copies such a value into each row.
fn rows_with_large_values(node: &Arc<dyn ExecutionPlan>) -> Result<Option<usize>> {
    let mut largest = 0;
    node.apply_expressions(&mut |expr| {
        expr.apply(|inner| {
            largest = largest.max(size_in_each_row(inner));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    let is_large = largest > MOST_OF_LITERAL && !node.children().is_empty();
    Ok(is_large.then(|| (MOST_OF_LITERALS / largest).max(1)))
}

/// Puts an operator above batches of at most `rows` rows.
fn in_small_batches(node: Arc<dyn ExecutionPlan>, rows: usize, stop: &Stop) -> Result<Arc<dyn ExecutionPlan>> {
    let children = node.children().into_iter().map(|input| {
        let (input, pieces) = (Arc::clone(input), Some(Pieces::Rows(rows)));
        Arc::new(PauseExec { input, takes_memory: false, pieces, stop: stop.clone() }) as Arc<dyn ExecutionPlan>
    });
    let children = children.collect();
    node.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}

fn calls_what_grows(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut calls = false;
    node.apply_expressions(&mut |expr| {
        expr.apply(|inner| {
            calls |= inner.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| grows(call.fun()));
            Ok(if calls { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(calls)
}

/// Yields to other tasks after every few items of a stream.
pub(crate) fn paused<T: Send + 'static>(items: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send {
    items.enumerate().then(|(at, item)| async move {
        if at % BATCHES_AT_ONCE == BATCHES_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        item
    })
}

/// Passes batches through and yields regularly.
#[derive(Debug)]
struct PauseExec {
    input: Arc<dyn ExecutionPlan>,
    takes_memory: bool,
    /// How to split batches for the operator above.
    pieces: Option<Pieces>,
    stop: Stop,
}

/// How to split a batch.
#[derive(Clone, Debug)]
enum Pieces {
    /// For an operator that unnests these lists.
    Lists(Arc<[ListUnnest]>),
    /// Into pieces of this many rows.
    Rows(usize),
}

impl Pieces {
    fn of(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Lists(lists) => pieces(batch, lists),
            Self::Rows(rows) => {
                let starts = (0..batch.num_rows()).step_by(*rows);
                Ok(starts.map(|start| batch.slice(start, (*rows).min(batch.num_rows() - start))).collect())
            }
        }
    }
}

impl DisplayAs for PauseExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("PauseExec")
    }
}

impl ExecutionPlan for PauseExec {
    fn name(&self) -> &str {
        "PauseExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => {
                let (takes_memory, pieces, stop) = (self.takes_memory, self.pieces.clone(), self.stop.clone());
                Ok(Arc::new(Self { input, takes_memory, pieces, stop }))
            }
            _ => internal_err!("a pause has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let stop = self.stop.clone();
        if let Some(pieces) = self.pieces.clone() {
            let of_batch = move |batch: Result<RecordBatch>| {
                let pieces = batch.and_then(|batch| pieces.of(&batch));
                pieces.map_or_else(|error| vec![Err(error)], |pieces| pieces.into_iter().map(Ok).collect::<Vec<_>>())
            };
            let batches = self.input.execute(partition, context)?.flat_map(move |batch| iter(of_batch(batch)));
            let batches = paused(batches.map(move |batch| stop.check().and(batch)));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)));
        }
        let pool = Arc::clone(context.memory_pool());
        let mut batches = Box::pin(paused(self.input.execute(partition, context)?));
        if !self.takes_memory {
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)));
        }
        let batches = poll_fn(move |context| with_pool(&pool, || batches.as_mut().poll_next(context)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_expr::expressions::lit;
    use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

    use super::*;

    async fn sizes_of_batches(text: usize) -> Vec<usize> {
        let rows = RecordBatch::try_from_iter([("i", Arc::new(Int64Array::from_iter_values(0..8_192)) as _)]).unwrap();
        let input = MemorySourceConfig::try_new_exec(&[vec![rows.clone()]], rows.schema(), None).unwrap();
        let expr = ProjectionExpr { expr: lit("x".repeat(text)), alias: "v".to_owned() };
        let plan = Arc::new(ProjectionExec::try_new([expr], input).unwrap());
        let mut batches = pausing(plan, false, &Stop::default()).unwrap().0.execute(0, Arc::default()).unwrap();
        let mut sizes = Vec::new();
        while let Some(batch) = batches.next().await {
            sizes.push(batch.unwrap().num_rows());
        }
        sizes
    }

    /// 8192 rows of a megabyte each would be eight gigabytes.
    #[tokio::test]
    async fn a_large_value_of_the_query_is_in_few_rows_at_once() {
        assert_eq!(sizes_of_batches(10).await, [8_192]);
        let sizes = sizes_of_batches(1 << 20).await;
        assert_eq!(sizes.iter().sum::<usize>(), 8_192);
        assert!(sizes.iter().all(|rows| *rows <= 8), "{sizes:?}");
    }
}
