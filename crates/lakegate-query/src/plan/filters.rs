//! Corrects two cases where DataFusion evaluates a query's conditions on rows that the query excludes.
//!
//! This is about the query's own conditions; `govern` decides which of them may be pushed below the barrier of a row
//! filter.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, lit, when};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::govern::can_fail;

/// DataFusion's filter pushdown, except below an aggregate that returns a row for empty input.
///
/// DataFusion's rule pushes every condition without columns below `SELECT count(*) FROM …`. With `HAVING $flag` and a
/// false `$flag`, the result would be a count of 0 in place of no row. DataFusion's physical rules know this case, but
/// its logical rule does not.
#[derive(Debug, Default)]
pub(super) struct FilterPushdown(PushDownFilter);

impl OptimizerRule for FilterPushdown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && let LogicalPlan::Aggregate(aggregate) = filter.input.as_ref()
            && gives_a_row_of_nothing(aggregate)
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn gives_a_row_of_nothing(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
}

/// Evaluates a condition that can fail only on rows that satisfy the other conditions of its filter:
/// `y > 0 AND 10 / y < 5` never divides by zero. DataFusion evaluates conditions in any order.
pub(crate) fn guarded(plan: LogicalPlan) -> Result<LogicalPlan> {
    let guarded = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => {
            let schema = DFSchema::clone(filter.input.schema());
            let conjuncts = split_conjunction_owned(filter.predicate.clone());
            let (fallible, infallible): (Vec<_>, Vec<_>) =
                conjuncts.into_iter().partition(|conjunct| can_fail(conjunct, &schema));
            let (Some(guard), Some(fallible)) = (conjunction(infallible), conjunction(fallible)) else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            // The guard is also a conjunct of its own, because files and blocks are pruned by it.
            let predicate = guard.clone().and(when(guard, fallible).otherwise(lit(false))?);
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(guarded.data)
}
