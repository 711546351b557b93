//! Rules around the engine's physical optimiser: what stands below a limit that leaves rows out is optimised by itself.
//!
//! The engine moves sorts and other limits through a limit with `OFFSET`, and takes its number of rows for that of the rows below
//! it: rows get lost, as in `SELECT i FROM (SELECT i FROM t LIMIT 10 OFFSET 4) AS q ORDER BY i`. So the rules are run over what is below
//! such a limit as over a query of its own, and then it is a leaf for those that are run over the rest.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::shortcut::is_unfilled;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The engine's rules, with limits that leave rows out hidden from them.
pub(super) fn physical_rules() -> Vec<Rule> {
    let rules = PhysicalOptimizer::new().rules;
    let mut all = rules.clone();
    all.insert(0, Arc::new(Hide { rules }));
    all.push(Arc::new(Show));
    all
}

/// Whether what is above a limit is to know nothing of what is below it.
fn stays(node: &dyn ExecutionPlan) -> bool {
    is_unfilled(node) || node.downcast_ref::<GlobalLimitExec>().is_some_and(|limit| limit.skip() > 0)
}

#[derive(Debug)]
struct Hide {
    rules: Vec<Rule>,
}

impl PhysicalOptimizerRule for Hide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let hidden = plan.transform_down(|node| {
            if !stays(node.as_ref()) {
                return Ok(Transformed::no(node));
            }
            let mut below = Vec::new();
            for input in node.children() {
                let mut input = self.optimize(Arc::clone(input), config)?;
                for rule in &self.rules {
                    input = rule.optimize(input, config)?;
                }
                below.push(Show.optimize(input, config)?);
            }
            let limit = node.replace_children(below, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
            Ok(Transformed::yes(Arc::new(Hidden { limit }) as Arc<dyn ExecutionPlan>))
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
            Some(Hidden { limit }) => Ok(Transformed::yes(Arc::clone(limit))),
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

/// A limit and all that is below it, while the rules run.
#[derive(Debug)]
struct Hidden {
    limit: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Hidden {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Hidden")
    }
}

impl ExecutionPlan for Hidden {
    fn name(&self) -> &str {
        "Hidden"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.limit.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("what is hidden has no inputs") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.limit.execute(partition, context)
    }
}
