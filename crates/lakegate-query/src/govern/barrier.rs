//! Implements the barrier, which keeps a query's expressions from being evaluated on rows that the policy hides.
//!
//! A plain filter is not enough: the optimiser merges it with the query's own predicates, so that a cast or a division
//! of the query is evaluated on hidden rows, and its error contains their values. Two nodes keep the predicates apart,
//! one in the logical plan and one in the physical plan. Both let through only leakproof predicates, which cannot fail
//! and use only plain columns and values: see [`super::pushdown`] and [`BarrierExec::gather_filters_for_pushdown`].

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

/// The logical node: a pass-through above a policy's filter.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct Barrier {
    table: String,
    /// Columns that are masked above. No predicate of a query on them is pushed below the barrier.
    masked: BTreeSet<String>,
    input: LogicalPlan,
}

impl Barrier {
    /// A barrier over a table's scan under its filter, with the columns masked above.
    pub(crate) fn over(table: &str, masked: BTreeSet<String>, input: LogicalPlan) -> LogicalPlan {
        let node = Self { table: table.to_owned(), masked, input };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    }

    /// The plan node as a barrier, if it is one.
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

/// The input of a barrier, and the columns that are masked above it; `None` for other nodes.
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

    // `prevent_predicate_push_down_columns` keeps its default, all columns, and `supports_limit_pushdown` its default,
    // false. These defaults make this node a barrier.

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Barrier: {}", self.table)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self { table: self.table.clone(), masked: self.masked.clone(), input }),
            _ => internal_err!("a barrier has one input"),
        }
    }

    /// Maps output columns to the same input columns, so that a scan reads only what the query needs.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// The physical node: a pass-through that stops every predicate of the query.
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

    /// It does maintain the order, but the optimiser would push a query's sort below a node that reports so, where it
    /// would sort hidden rows.
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

    /// Returns only the order of magnitude of the row count, so that no count, minimum or maximum of a governed table
    /// is ever answered from statistics, and hidden rows do not influence join planning.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::new(magnitude_only(input, &self.schema()))),
            _ => internal_err!("a barrier has one input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    /// Lets the dynamic filters of joins and sorts (bounds of a plain column) prune the scan. Nothing else is pushed
    /// down.
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

/// Plans each [`Barrier`] as a [`BarrierExec`].
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
