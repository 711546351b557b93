//! Pushes a query's leakproof conjuncts below the barrier, so that they prune files and pages, too.
//!
//! [`super::total`] decides which conjuncts are leakproof; all others stay above.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Filter, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

use super::barrier::Barrier;
use super::masking;
use super::total;

/// The optimiser rule. It must run before and between the passes of `PushDownFilter`.
#[derive(Debug)]
pub(crate) struct LeakProofPushdown;

impl OptimizerRule for LeakProofPushdown {
    fn name(&self) -> &str {
        "leak_proof_pushdown"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let Some(barrier) = Barrier::of(&filter.input) else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        let schema = filter.input.schema();
        let (below, above): (Vec<_>, Vec<_>) =
            split_conjunction_owned(filter.predicate.clone()).into_iter().partition(|conjunct| {
                total::is_leak_proof(conjunct, schema) && !masking::names(conjunct, barrier.masked())
            });
        let Some(below) = conjunction(below) else { return Ok(Transformed::no(LogicalPlan::Filter(filter))) };
        let governed = LogicalPlan::Filter(Filter::try_new(below, Arc::new(barrier.input().clone()))?);
        let barrier = Barrier::over(barrier.table(), barrier.masked().clone(), governed);
        Ok(Transformed::yes(match conjunction(above) {
            Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(barrier))?),
            None => barrier,
        }))
    }
}
