//! Logical nodes of a converted plan, and the planner that turns them into operators.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::access::{Access, schema_of};
use super::cut::Cut;
use super::day;
use super::filter::Filter;
use super::lookup::{Kind, LookupExec, Side};
use super::scan::HotScanExec;
use super::template::Slots;

/// Reads a resident table, in full or by the keys of an input.
#[derive(Clone, Debug)]
struct Node {
    access: Access,
    lookup: Option<Lookup>,
    schema: DFSchemaRef,
}

#[derive(Clone, Debug)]
struct Lookup {
    input: LogicalPlan,
    key: usize,
    kind: Kind,
    by: usize,
}

/// A scan of a resident table.
pub(super) fn scan(access: &Access) -> LogicalPlan {
    let node = Node { access: access.clone(), lookup: None, schema: Arc::clone(&access.schema) };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// An index join of column `key` of the input with column `by` of a table.
pub(super) fn lookup(
    input: LogicalPlan,
    key: usize,
    kind: Kind,
    access: &Access,
    by: usize,
    schema: DFSchemaRef,
) -> LogicalPlan {
    let lookup = Lookup { input, key, kind, by };
    let node = Node { access: access.clone(), lookup: Some(lookup), schema };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

impl Node {
    /// A text that differs between different nodes of one plan.
    fn text(&self) -> String {
        let Access { table, columns, filters, .. } = &self.access;
        let by = self.lookup.as_ref().map(|lookup| (lookup.key, lookup.kind, lookup.by));
        format!("{} {columns:?} {filters:?} {by:?} {}", table.name(), self.schema)
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.lookup.iter().map(|lookup| &lookup.input).collect()
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() && self.inputs() == other.inputs()
    }
}

impl Eq for Node {}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.text().partial_cmp(&other.text())
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for Node {
    fn name(&self) -> &str {
        "Hot"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Self::inputs(self)
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    // None, because the optimiser must not rewrite the conditions on the table; they belong to this node.
    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Hot: {}", self.text())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let lookup = match (&self.lookup, inputs.pop(), inputs.is_empty()) {
            (None, None, _) => None,
            (Some(lookup), Some(input), true) => Some(Lookup { input, ..lookup.clone() }),
            _ => return internal_err!("a scan has no input, and a lookup one"),
        };
        Ok(Self { lookup, ..self.clone() })
    }
}

/// Plans the operators of these nodes.
pub(super) struct Planner {
    pub(super) slots: Slots,
}

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let (Some(cut), [input]) = (node.as_any().downcast_ref::<Cut>(), physical_inputs) {
            return cut.planned(input, &self.slots).map(Some);
        }
        let Some(Node { access, lookup, schema }) = node.as_any().downcast_ref() else { return Ok(None) };
        let physical = |exprs: &[Expr], columns: &[usize]| -> Result<(SchemaRef, Vec<Arc<dyn PhysicalExpr>>)> {
            let schema = schema_of(&access.table, columns)?;
            let exprs = exprs.iter().map(|expr| {
                let expr = self.slots.place(day::quick(expr.clone(), &schema)?)?;
                create_physical_expr(&expr, &schema, session.execution_props(), context)
            });
            let exprs = exprs.collect::<Result<_>>()?;
            Ok((Arc::new(schema.as_arrow().clone()), exprs))
        };
        let filter = match conjunction(access.filters.iter().cloned()) {
            None => None,
            Some(filter) => {
                let Some(columns) = access.filter_columns() else { return internal_err!("a filter of other columns") };
                let (schema, mut exprs) = physical(&[filter], &columns)?;
                exprs.pop().map(|predicate| Filter { columns: columns.into(), schema, predicate })
            }
        };
        let schema = Arc::new(schema.as_arrow().clone());
        let columns = access.columns.as_slice().into();
        let table = Arc::clone(&access.table);
        Ok(Some(match (lookup, physical_inputs) {
            (None, []) => {
                let partitions = session.config().target_partitions();
                Arc::new(HotScanExec::new(table, columns, filter, schema, partitions))
            }
            (Some(lookup), [input]) => {
                let (side_schema, made) = physical(access.made.as_deref().unwrap_or_default(), &columns)?;
                let made = access.made.as_ref().map(|_| made.into());
                let side = Side { table, by: lookup.by, filter, columns, schema: side_schema, made };
                Arc::new(LookupExec::new(Arc::clone(input), lookup.kind, lookup.key, side, schema))
            }
            _ => return internal_err!("a scan has no input, and a lookup one"),
        }))
    }
}
