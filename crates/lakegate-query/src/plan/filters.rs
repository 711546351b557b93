//! Two places in which the engine evaluates a query's conditions on rows that the query does not mean, and what is done instead.
//!
//! What may go below a row filter's barrier is decided in `govern`; this is about a query's own conditions.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, lit, when};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::govern::can_fail;

/// The engine's rule that moves filters towards scans, but never below an aggregate that gives a row where it gets none.
///
/// The engine's own moves every condition without columns below `SELECT count(*) FROM …`: with `HAVING $flag`, and `$flag` false,
/// the answer is then a count of nothing and not no row. Its physical rules know this, its logical one does not.
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

/// The plan in which a condition that can fail is evaluated only on rows for which the other conditions of its filter hold:
/// `y > 0 AND 10 / y < 5` never divides by zero. The engine evaluates conditions in any order.
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
            // The guard stands beside the CASE, too: it is what files and blocks are pruned by.
            let predicate = guard.clone().and(when(guard, fallible).otherwise(lit(false))?);
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(guarded.data)
}
