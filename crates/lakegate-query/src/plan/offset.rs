//! Wraps DataFusion's physical optimiser so that the input of a limit with `OFFSET` is optimised on its own.
//!
//! DataFusion moves sorts and other limits through a limit with `OFFSET`, and takes its row count for that of the rows
//! below it. Rows get lost, as in `SELECT i FROM (SELECT i FROM t LIMIT 10 OFFSET 4) AS q ORDER BY i`. So the rules
//! optimise the plan below such a limit like a separate query, and then see the limit as a leaf while they optimise the
//! rest. The rules also must not see which values all rows of an outer join's side, or of one input of a union, share,
//! because they would assume these values for all rows above.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::shortcut::is_unfilled;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules, with limits that skip rows hidden from them.
pub(super) fn physical_rules() -> Vec<Rule> {
    let rules = PhysicalOptimizer::new().rules;
    let mut all = rules.clone();
    all.insert(0, Arc::new(Hide { rules }));
    all.push(Arc::new(Show));
    all
}

/// Whether the rules must know nothing of what is below this node.
fn stays(node: &dyn ExecutionPlan) -> bool {
    is_unfilled(node) || node.downcast_ref::<GlobalLimitExec>().is_some_and(|limit| limit.skip() > 0)
}

#[derive(Debug)]
struct Hide {
    rules: Vec<Rule>,
}

/// The plan with `fetch` set on the sort below a limit. DataFusion's logical rules do this if the limit is a literal.
/// If it is a parameter, DataFusion would drop the sort as one whose order nobody needs.
fn with_fetch(node: Arc<dyn ExecutionPlan>, fetch: usize) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = node.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_none()) {
        return Ok(Transformed::yes(Arc::new(sort.with_fetch(Some(fetch)))));
    }
    if !node.is::<ProjectionExec>() {
        return Ok(Transformed::no(node));
    }
    let below =
        node.children().into_iter().map(|input| with_fetch(Arc::clone(input), fetch)).collect::<Result<Vec<_>>>()?;
    if !below.iter().any(|input| input.transformed) {
        return Ok(Transformed::no(node));
    }
    let below = below.into_iter().map(|input| input.data).collect();
    node.replace_children(below, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)).map(Transformed::yes)
}

/// Inputs whose constant columns and equivalences do not hold for the operator's rows: a column that is 1 in each row
/// of an outer join's side is NULL in some rows above the join.
fn forgets(node: &Arc<dyn ExecutionPlan>) -> Vec<usize> {
    let join_type = node
        .downcast_ref::<HashJoinExec>()
        .map(|join| *join.join_type())
        .or_else(|| node.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type()))
        .or_else(|| node.downcast_ref::<SortMergeJoinExec>().map(|join| join.join_type()));
    match join_type {
        Some(JoinType::Left) => return vec![1],
        Some(JoinType::Right) => return vec![0],
        Some(JoinType::Full) => return vec![0, 1],
        Some(_) => return Vec::new(),
        None => {}
    }
    let has_sets =
        node.downcast_ref::<AggregateExec>().is_some_and(|aggregate| aggregate.group_expr().has_grouping_set());
    if has_sets || node.is::<UnionExec>() { (0..node.children().len()).collect() } else { Vec::new() }
}

/// The plan with a [`Forget`] above each such input.
fn forgetting(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let forgetting = plan.transform_up(|node| {
        let is_known = |at: &usize| node.children().get(*at).is_some_and(|input| !input.is::<Forget>());
        let forgets = forgets(&node).into_iter().filter(is_known).collect::<Vec<_>>();
        if forgets.is_empty() {
            return Ok(Transformed::no(node));
        }
        let inputs = node.children().into_iter().enumerate().map(|(at, input)| match forgets.contains(&at) {
            true => Arc::new(Forget::new(Arc::clone(input))) as Arc<dyn ExecutionPlan>,
            false => Arc::clone(input),
        });
        let inputs = inputs.collect();
        node.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
            .map(Transformed::yes)
    });
    forgetting.map(|plan| plan.data)
}

impl PhysicalOptimizerRule for Hide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let limit =
                node.downcast_ref::<GlobalLimitExec>().filter(|limit| limit.skip() == 0 && limit.fetch() != Some(0));
            let Some((input, fetch)) = limit.and_then(|limit| Some((Arc::clone(limit.input()), limit.fetch()?))) else {
                return Ok(Transformed::no(node));
            };
            let input = with_fetch(input, fetch)?;
            match input.transformed {
                true => Ok(Transformed::yes(
                    Arc::new(GlobalLimitExec::new(input.data, 0, Some(fetch))) as Arc<dyn ExecutionPlan>
                )),
                false => Ok(Transformed::no(node)),
            }
        })?;
        let plan = forgetting(plan.data)?;
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

/// Stands for a limit and everything below it while the rules run.
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

/// Passes its input on with no known property but the schema. It stays in the plan, because operators inspect their
/// inputs whenever one of them is replaced.
#[derive(Debug)]
struct Forget {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Forget {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let nothing = EquivalenceProperties::new(input.schema());
        let properties = Arc::new(input.properties().as_ref().clone().with_eq_properties(nothing));
        Self { input, properties }
    }
}

impl DisplayAs for Forget {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ForgetExec")
    }
}

impl ExecutionPlan for Forget {
    fn name(&self) -> &str {
        "ForgetExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => internal_err!("it has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("it has one input"),
        }
    }
}
