//! `LIMIT` and `OFFSET` whose numbers are parameters of each request.
//!
//! DataFusion's own limit operator takes constants. This one holds parameters; binding it creates DataFusion's
//! operator.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{
    Expr, Extension, Limit, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::template::Slots;

/// The logical node with the placeholders of the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cut {
    input: LogicalPlan,
    skip: Option<Placeholder>,
    fetch: Option<Placeholder>,
}

impl Cut {
    /// The limit over its converted input; `None` if a number is not a placeholder.
    pub(super) fn of(limit: &Limit, input: LogicalPlan) -> Option<LogicalPlan> {
        let number = |expr: &Option<Box<Expr>>| match expr.as_deref() {
            None => Some(None),
            Some(Expr::Placeholder(placeholder)) => Some(Some(placeholder.clone())),
            Some(_) => None,
        };
        let (skip, fetch) = (number(&limit.skip)?, number(&limit.fetch)?);
        let node = Arc::new(Self { input, skip, fetch });
        Some(LogicalPlan::Extension(Extension { node }))
    }

    /// Plans the operator.
    pub(super) fn planned(&self, input: &Arc<dyn ExecutionPlan>, slots: &Slots) -> Result<Arc<dyn ExecutionPlan>> {
        let slot = |placeholder: &Option<Placeholder>| match placeholder {
            None => Ok(None),
            Some(placeholder) => match slots.find(placeholder) {
                Some(slot) => Ok(Some(slot)),
                None => internal_err!("a limit without a slot"),
            },
        };
        let (skip, fetch) = (slot(&self.skip)?, slot(&self.fetch)?);
        Ok(Arc::new(CutExec { input: Arc::clone(input), skip, fetch }))
    }
}

/// Whether a logical node is a limit with parameters.
pub(super) fn is_cut(node: &dyn UserDefinedLogicalNode) -> bool {
    node.as_any().is::<Cut>()
}

impl PartialOrd for Cut {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Cut {
    fn name(&self) -> &str {
        "Cut"
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

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Cut")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self { input, ..self.clone() }),
            _ => internal_err!("a cut has one input"),
        }
    }
}

/// Whether an operator is a limit whose parameters are not bound.
pub(crate) fn is_unfilled(node: &dyn ExecutionPlan) -> bool {
    node.is::<CutExec>()
}

/// The operator before its parameters are bound; it cannot run.
#[derive(Debug)]
pub(super) struct CutExec {
    input: Arc<dyn ExecutionPlan>,
    skip: Option<usize>,
    fetch: Option<usize>,
}

impl CutExec {
    /// Binds the parameters: returns DataFusion's limit over `input`.
    pub(super) fn filled(
        &self,
        input: Arc<dyn ExecutionPlan>,
        values: &[ScalarValue],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let number = |slot: usize| match values.get(slot) {
            Some(ScalarValue::Int64(Some(number))) if *number >= 0 => {
                Ok(usize::try_from(*number).unwrap_or(usize::MAX))
            }
            _ => internal_err!("a limit that is not a number of rows"),
        };
        let skip = self.skip.map(number).transpose()?.unwrap_or(0);
        let fetch = self.fetch.map(number).transpose()?;
        if fetch == Some(0) {
            // A top-k sort cannot keep zero rows.
            return Ok(Arc::new(EmptyExec::new(input.schema())));
        }
        let most = fetch.and_then(|fetch| skip.checked_add(fetch));
        let input = match most {
            Some(most) => sorted_up_to(&input, most)?.unwrap_or(input),
            None => input,
        };
        Ok(Arc::new(GlobalLimitExec::new(input, skip, fetch)))
    }
}

/// Makes the sort at the root of the plan a top-k sort of `most` rows; `None` if there is no such sort.
fn sorted_up_to(plan: &Arc<dyn ExecutionPlan>, most: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.is::<SortExec>() {
        // Keeps a limit that the endpoint set on the sort.
        return Ok(if plan.fetch().is_none() { plan.with_fetch(Some(most)) } else { None });
    }
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    let Some(input) = sorted_up_to(projection.input(), most)? else { return Ok(None) };
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(vec![input], options).map(Some)
}

impl DisplayAs for CutExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("CutExec")
    }
}

impl ExecutionPlan for CutExec {
    fn name(&self) -> &str {
        "CutExec"
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
            (Some(input), true) => Ok(Arc::new(Self { input, skip: self.skip, fetch: self.fetch })),
            _ => internal_err!("a cut has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a cut whose numbers are not in their places")
    }
}
