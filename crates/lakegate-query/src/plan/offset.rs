//! Rules around the engine's physical optimiser: a limit that leaves rows out stays where it is.
//!
//! The engine moves sorts and other limits through a limit with `OFFSET`, and takes its number of rows for that of the rows below
//! it: rows get lost, as in `SELECT i FROM (SELECT i FROM t LIMIT 10 OFFSET 4) AS q ORDER BY i`. While its rules run such a limit is an
//! operator that they know nothing of.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::shortcut::order_below;

/// The engine's rules, with limits that leave rows out hidden from them.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(Hide));
    rules.push(Arc::new(Show));
    rules
}

#[derive(Debug)]
struct Hide;

impl PhysicalOptimizerRule for Hide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_up(|node| match node.downcast_ref::<GlobalLimitExec>() {
            Some(limit) if limit.skip() > 0 => {
                let (input, skip, fetch) = (Arc::clone(limit.input()), limit.skip(), limit.fetch());
                Ok(Transformed::yes(Arc::new(Hidden { input, skip, fetch }) as Arc<dyn ExecutionPlan>))
            }
            _ => Ok(Transformed::no(node)),
        });
        hidden.map(|hidden| hidden.data)
    }

    fn name(&self) -> &str {
        "hide_offsets"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Show;

impl PhysicalOptimizerRule for Show {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let shown = plan.transform_up(|node| match node.downcast_ref::<Hidden>() {
            Some(Hidden { input, skip, fetch }) => {
                let limit = GlobalLimitExec::new(Arc::clone(input), *skip, *fetch);
                Ok(Transformed::yes(Arc::new(limit) as Arc<dyn ExecutionPlan>))
            }
            None => Ok(Transformed::no(node)),
        });
        shown.map(|shown| shown.data)
    }

    fn name(&self) -> &str {
        "show_offsets"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A limit that leaves rows out, while the rules run.
#[derive(Debug)]
struct Hidden {
    input: Arc<dyn ExecutionPlan>,
    skip: usize,
    fetch: Option<usize>,
}

impl DisplayAs for Hidden {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Hidden: skip={}", self.skip)
    }
}

impl ExecutionPlan for Hidden {
    fn name(&self) -> &str {
        "Hidden"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        order_below(&self.input)
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
            (Some(input), true) => Ok(Arc::new(Self { input, skip: self.skip, fetch: self.fetch })),
            _ => internal_err!("a limit has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        GlobalLimitExec::new(Arc::clone(&self.input), self.skip, self.fetch).execute(partition, context)
    }
}
