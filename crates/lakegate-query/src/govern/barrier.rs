//! The barrier: nothing that a query says about a governed table is evaluated on rows that the policy hides.
//!
//! A plain filter does not hold: the optimiser merges it with the query's own predicates, and a cast or a division of
//! the query then meets hidden rows, whose values come back in its error. Two nodes keep them apart, one in the logical
//! plan and one in the physical plan. Both let pass what can not fail and does not depend on more than plain columns
//! and values: see [`super::pushdown`] and [`BarrierExec::gather_filters_for_pushdown`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use crate::lake::magnitude_only;

/// The logical node: a pass-through over a policy's filter.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct Barrier {
    table: String,
    /// Columns that are masked above: nothing that a query says about them goes down.
    masked: BTreeSet<String>,
    input: LogicalPlan,
}

impl Barrier {
    /// The governed table, its columns that are masked, and its scan under its filter.
    pub(crate) fn over(table: &str, masked: BTreeSet<String>, input: LogicalPlan) -> LogicalPlan {
        let node = Self { table: table.to_owned(), masked, input };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    }

    /// The barrier that a plan node is, if it is one.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Barrier> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn masked(&self) -> &BTreeSet<String> {
        &self.masked
    }

    pub(crate) fn input(&self) -> &LogicalPlan {
        &self.input
    }
}

/// What stands behind a barrier, and which columns are masked above it; `None` where a node is none.
pub(crate) fn barrier_of(plan: &LogicalPlan) -> Option<(&LogicalPlan, &BTreeSet<String>)> {
    Barrier::of(plan).map(|barrier| (barrier.input(), barrier.masked()))
}

impl UserDefinedLogicalNodeCore for Barrier {
    fn name(&self) -> &str {
        "Barrier"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    // `prevent_predicate_push_down_columns` is left at its default, all columns, and `supports_limit_pushdown` at its
    // default, false: that is what makes this node a barrier.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Barrier: {}", self.table)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self { table: self.table.clone(), masked: self.masked.clone(), input }),
            _ => internal_err!("a barrier has one input"),
        }
    }

    /// Columns pass one to one, so that a scan reads no more than the query needs.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// The physical node: a pass-through that no predicate of the query goes through.
#[derive(Debug)]
pub(crate) struct BarrierExec {
    table: String,
    input: Arc<dyn ExecutionPlan>,
}

impl BarrierExec {
    fn new(table: String, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { table, input }
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "BarrierExec: {}", self.table)
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    /// It does; but the optimiser moves a query's sort below every node that says so, where it would sort hidden rows.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
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
            (Some(input), true) => Ok(Arc::new(Self::new(self.table.clone(), input))),
            _ => internal_err!("a barrier has one input"),
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

    /// The order of magnitude of the number of rows, and nothing else: no count, minimum or maximum of a governed table is
    /// ever answered from statistics, and hidden rows do not choose how a join is made.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::new(magnitude_only(input, &self.schema()))),
            _ => internal_err!("a barrier has one input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    /// What joins and sorts learn while they run (bounds of a plain column) may prune the scan; nothing else goes down.
    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let all_leak_proof = parent_filters.iter().all(is_dynamic_over_columns);
        if phase == FilterPushdownPhase::Post && all_leak_proof {
            let child = ChildFilterDescription::from_child(&parent_filters, &self.input)?;
            return Ok(FilterDescription::new().with_child(child));
        }
        Ok(FilterDescription::all_unsupported(&parent_filters, &self.children()))
    }
}

fn is_dynamic_over_columns(filter: &Arc<dyn PhysicalExpr>) -> bool {
    filter.is::<DynamicFilterPhysicalExpr>() && filter.children().iter().all(|child| child.is::<Column>())
}

/// Whether a node is the barrier over a governed table.
pub(crate) fn is_barrier(node: &dyn ExecutionPlan) -> bool {
    node.is::<BarrierExec>()
}

/// Makes a [`BarrierExec`] of each [`Barrier`].
pub(crate) struct BarrierPlanner;

#[async_trait]
impl ExtensionPlanner for BarrierPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        match (node.as_any().downcast_ref::<Barrier>(), physical_inputs) {
            (None, _) => Ok(None),
            (Some(barrier), [input]) => Ok(Some(Arc::new(BarrierExec::new(barrier.table.clone(), Arc::clone(input))))),
            (Some(_), _) => internal_err!("a barrier has one input"),
        }
    }
}
