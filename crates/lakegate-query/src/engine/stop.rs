//! Makes long joins without results cancellable: their condition checks whether anybody still waits for the query.
//!
//! A join with a condition compares all pairs of two batches before it yields, which takes minutes if one side is
//! large. Sorts and aggregations are cancelled when they request memory; see [`super::pool::Stop`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};

use super::pool::Stop;

/// Adds checks of `stop` to the join conditions of a plan.
pub(super) fn stopping(plan: Arc<dyn ExecutionPlan>, stop: &Stop) -> Result<Arc<dyn ExecutionPlan>> {
    let stopping = plan.transform_up(|node| {
        let looking = |filter: &JoinFilter| {
            let condition = Arc::new(Looking { condition: Arc::clone(filter.expression()), stop: stop.clone() });
            JoinFilter::new(condition, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
        };
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter().map(looking)
        {
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
            return Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter().map(looking)
        {
            let join = HashJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
            return Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(stopping.data)
}

/// Whether a plan has joins that compare all pairs of rows of two batches, which may take long without a yield.
pub(super) fn compares_pairs(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let compares = plan.exists(|node| {
        let by_condition = node.downcast_ref::<HashJoinExec>().is_some_and(|join| join.filter().is_some());
        Ok(by_condition || node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>())
    });
    compares.unwrap_or(true)
}

/// A condition that fails once the query is cancelled.
#[derive(Clone, Debug)]
struct Looking {
    condition: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PartialEq for Looking {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition)
    }
}

impl Eq for Looking {}

impl Hash for Looking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
    }
}

impl fmt::Display for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.condition)
    }
}

impl PhysicalExpr for Looking {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.condition.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.condition.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.condition.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.condition.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(condition), true) => Ok(Arc::new(Self { condition, stop: self.stop.clone() })),
            _ => internal_err!("a condition that looks has one within"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt_sql(f)
    }
}
