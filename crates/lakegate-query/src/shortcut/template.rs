//! Prepared plan: operators that are planned once, and to which each request binds its values.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ReplaceChildrenOptions, has_same_children_properties,
};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::convert::converted;
use super::cut::CutExec;
use super::day;
use super::distinct;
use super::lookup::LookupExec;
use super::node::Planner;
use super::param;
use super::scan::HotScanExec;
use super::verify;
use super::wide::{self, widened};
use crate::hot::HotTable;

/// The parameters of a plan: the id and type of each placeholder. A parameter's index is that of its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(Vec<(String, DataType)>);

impl Slots {
    /// Collects the placeholders of a plan and its subqueries.
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut slots = Vec::new();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|inner| {
                    if let Expr::Placeholder(Placeholder { id, field: Some(field) }) = inner {
                        let slot = (id.clone(), field.data_type().clone());
                        if !slots.contains(&slot) {
                            slots.push(slot);
                        }
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(Self(slots))
    }

    /// The ids and types, in the order of the values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &DataType)> {
        self.0.iter().map(|(id, data_type)| (id.as_str(), data_type))
    }

    /// The index of a placeholder's value.
    pub(crate) fn find(&self, placeholder: &Placeholder) -> Option<usize> {
        let data_type = placeholder.field.as_ref()?.data_type();
        self.0.iter().position(|(id, of)| *id == placeholder.id && of == data_type)
    }

    pub(super) fn place(&self, expr: Expr) -> Result<Expr> {
        let placed = expr.transform_up(|inner| match &inner {
            Expr::Placeholder(placeholder) => match (self.find(placeholder), &placeholder.field) {
                (Some(slot), Some(field)) => Ok(Transformed::yes(param::place(slot, field.data_type().clone()))),
                _ => internal_err!("a placeholder without a slot"),
            },
            _ => Ok(Transformed::no(inner)),
        })?;
        Ok(placed.data)
    }
}

/// A prepared plan over resident tables.
pub(crate) struct Shortcut {
    plan: Arc<dyn ExecutionPlan>,
    /// A parallel version of the plan, for many rows.
    wide: Option<Arc<dyn ExecutionPlan>>,
    indexes: Vec<(Arc<HotTable>, usize)>,
}

impl fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl Shortcut {
    /// Prepares a governed, optimised and verified plan; `None` if that is not possible.
    pub(crate) async fn of(plan: &LogicalPlan, slots: &Slots, session: &SessionState) -> Option<Self> {
        let converted = converted(plan)?;
        // If planning with parameters fails, each request is planned in the ordinary way.
        match Self::planned(plan, &converted, slots, session).await {
            Ok(shortcut) => shortcut,
            Err(error) => {
                tracing::debug!(%error, "no shortcut");
                None
            }
        }
    }

    async fn planned(
        governed: &LogicalPlan,
        converted: &LogicalPlan,
        slots: &Slots,
        session: &SessionState,
    ) -> Result<Option<Self>> {
        let Some(plan) = physical(converted, slots, session).await? else { return Ok(None) };
        let wide = match wide::threads().zip(widened(converted)) {
            Some((threads, widened)) => {
                let mut session = session.clone();
                session.config_mut().options_mut().execution.target_partitions = threads;
                physical(&widened, slots, &session).await?
            }
            None => None,
        };
        // Checks the final operators; nothing rewrites them afterwards.
        if !std::iter::once(&plan).chain(&wide).all(|plan| verify::holds(plan, governed, slots, session)) {
            return Ok(None);
        }
        let mut indexes = Vec::new();
        plan.apply(|node| {
            if let Some(lookup) = node.downcast_ref::<LookupExec>() {
                let (table, column) = lookup.asks();
                indexes.push((Arc::clone(table), column));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Some(Self { plan, wide, indexes }))
    }

    /// Binds the values. Returns a plan to be executed once.
    ///
    /// # Errors
    /// If a value is missing.
    pub(crate) fn filled(&self, values: &[ScalarValue]) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = filled(&self.plan, values)?;
        match &self.wide {
            Some(wide) if wide::is_worth(rows(&plan)?) => filled(wide, values),
            _ => Ok(plan),
        }
    }

    /// Builds the indexes that the plan uses.
    pub(crate) async fn warm(&self) -> Result<()> {
        for (table, column) in &self.indexes {
            table.index(*column).await?;
        }
        Ok(())
    }

    /// The operators, before the parameters are bound.
    #[cfg(test)]
    pub(super) fn operators(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// The number of metrics that the operators hold. It must be 0, because each execution has its own.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> usize {
        let mut counts = 0;
        for plan in std::iter::once(&self.plan).chain(&self.wide) {
            plan.apply(|node| {
                counts += node.metrics().map_or(0, |metrics| metrics.iter().count());
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        }
        counts
    }

    /// The operators as text.
    pub(crate) fn display(&self) -> String {
        let operators = displayable(self.plan.as_ref()).indent(false);
        let threads = if self.wide.is_some() { "Many rows: by several threads\n" } else { "" };
        format!("{threads}{operators}")
    }
}

/// Plans operators with parameters; `None` if the parameters could not be bound.
async fn physical(
    converted: &LogicalPlan,
    slots: &Slots,
    session: &SessionState,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let placed = converted.clone().transform_up(|node| {
        let (names, schema) = (NamePreserver::new(&node), merge_schema(&node.inputs()));
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(Transformed::yes(name.restore(slots.place(day::quick(expr, &schema)?)?)))
        })
    })?;
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Planner { slots: slots.clone() })]);
    let plan = distinct::streaming(planner.create_physical_plan(&placed.data, session).await?)?;
    Ok(if can_be_filled(&plan)? { Some(plan) } else { None })
}

/// The number of rows that the scans of a plan read, after binding.
fn rows(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let mut rows = 0;
    plan.apply(|node| {
        rows += node.downcast_ref::<HotScanExec>().map_or(0, HotScanExec::rows);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(rows)
}

/// Whether all parameters are in operators that bind them, and executions of the plan share no state.
fn can_be_filled(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut can = true;
    plan.apply(|node| {
        let takes_values = node.is::<HotScanExec>()
            || node.is::<LookupExec>()
            || node.is::<FilterExec>()
            || node.is::<ProjectionExec>();
        let mut has_places = false;
        node.apply_expressions(&mut |expr| {
            has_places |= param::has_places(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        can &= takes_values || !has_places;
        // These operators keep results of subqueries across executions.
        can &= node.name() != "ScalarSubqueryExec" && node.name() != "RecursiveQueryExec";
        // A leaf scans a resident table or holds its rows in the plan.
        can &= !node.children().is_empty()
            || node.is::<HotScanExec>()
            || ["PlaceholderRowExec", "EmptyExec"].contains(&node.name());
        Ok(if can { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(can)
}

fn filled(node: &Arc<dyn ExecutionPlan>, values: &[ScalarValue]) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(scan) = node.downcast_ref::<HotScanExec>() {
        return Ok(Arc::new(scan.filled(values)?));
    }
    let children = node.children().into_iter().map(|child| filled(child, values)).collect::<Result<Vec<_>>>()?;
    if let Some(lookup) = node.downcast_ref::<LookupExec>() {
        let [input] = children.as_slice() else { return internal_err!("a lookup has one input") };
        return Ok(Arc::new(lookup.filled(Arc::clone(input), values)?));
    }
    if let Some(cut) = node.downcast_ref::<CutExec>() {
        let [input] = children.as_slice() else { return internal_err!("a cut has one input") };
        return cut.filled(Arc::clone(input), values);
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>().filter(|filter| param::has_places(filter.predicate())) {
        let [input] = children.as_slice() else { return internal_err!("a filter has one input") };
        let predicate = param::filled(filter.predicate(), &input.schema(), values)?;
        let builder = FilterExecBuilder::from(filter).with_input(Arc::clone(input)).with_predicate(predicate);
        return Ok(Arc::new(builder.build()?));
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>()
        && projection.expr().iter().any(|of| param::has_places(&of.expr))
    {
        let [input] = children.as_slice() else { return internal_err!("a projection has one input") };
        let schema = input.schema();
        let exprs = projection
            .expr()
            .iter()
            .map(|of| Ok(ProjectionExpr { expr: param::filled(&of.expr, &schema, values)?, alias: of.alias.clone() }));
        return Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Result<Vec<_>>>()?, Arc::clone(input))?));
    }
    let mode = match has_same_children_properties(node.as_ref(), &children)? {
        true => ChildrenPropertiesMode::Keep,
        false => ChildrenPropertiesMode::Recompute,
    };
    // Operators hold metrics, and joins hold the rows of their build side; each execution needs its own.
    Arc::clone(node).replace_children(children, ReplaceChildrenOptions::new(mode))?.reset_state()
}
