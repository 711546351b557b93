//! Extracts the policy of each governed table from a governed plan: the conditions below the table's barrier.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr, split_conjunction as split_physical};

use crate::govern::barrier_of;
use crate::hot::HotTable;
use crate::lake::lake_table;
use crate::shortcut::template::Slots;
use crate::shortcut::{day, param};

/// Conditions that hold for the rows of one scan below a barrier.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) table: Arc<HotTable>,
    /// Conditions on the table's own columns, as text.
    pub(super) conditions: Vec<String>,
    pub(super) parents: Vec<Parent>,
    /// The columns that are masked above the barrier.
    pub(super) masked: BTreeSet<String>,
}

/// A parent table: its visible rows determine the visible rows of the child.
#[derive(Debug)]
pub(super) struct Parent {
    /// The index of the foreign key column in the child.
    pub(super) column: usize,
    /// The index in the parent of the column that it equals.
    pub(super) key: usize,
    pub(super) guard: Guard,
}

/// The guards of all barriers of a governed plan.
pub(super) fn of(plan: &LogicalPlan, slots: &Slots, session: &SessionState) -> Result<Vec<Guard>> {
    let mut guards = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let Some((input, masked)) = barrier_of(node) {
            let guard = guard_of(input, slots, session)?;
            guards.push(Guard { masked: masked.clone(), ..guard });
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(guards)
}

fn guard_of(plan: &LogicalPlan, slots: &Slots, session: &SessionState) -> Result<Guard> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let any: &dyn Any = provider.as_ref();
            let Some(table) = lake_table(any).and_then(|table| table.hot()) else {
                return plan_err!("`{}` is not in memory", scan.table_name);
            };
            let (table, masked) = (Arc::clone(table), BTreeSet::new());
            let mut guard = Guard { table, conditions: Vec::new(), parents: Vec::new(), masked };
            for filter in &scan.filters {
                guard.ask(filter, slots, session)?;
            }
            Ok(guard)
        }
        LogicalPlan::Filter(filter) => {
            let mut guard = guard_of(&filter.input, slots, session)?;
            for conjunct in split_conjunction(&filter.predicate) {
                guard.ask(conjunct, slots, session)?;
            }
            Ok(guard)
        }
        LogicalPlan::SubqueryAlias(alias) => guard_of(&alias.input, slots, session),
        LogicalPlan::Projection(projection) if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) => {
            guard_of(&projection.input, slots, session)
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::LeftSemi && join.filter.is_none() => {
            let (mut guard, parent) = (guard_of(&join.left, slots, session)?, guard_of(&join.right, slots, session)?);
            let [(Expr::Column(column), Expr::Column(key))] = join.on.as_slice() else {
                return plan_err!("a policy goes by a parent in a way that is not known");
            };
            let (column, key) = (guard.place(column)?, parent.place(key)?);
            guard.parents.push(Parent { column, key, guard: parent });
            Ok(guard)
        }
        LogicalPlan::Extension(_) => match barrier_of(plan) {
            Some((input, _)) => guard_of(input, slots, session),
            None => plan_err!("a policy has a node that is not known"),
        },
        _ => plan_err!("a policy has a node that is not known"),
    }
}

impl Guard {
    fn place(&self, column: &Column) -> Result<usize> {
        Ok(self.table.schema().index_of(&column.name)?)
    }

    fn ask(&mut self, condition: &Expr, slots: &Slots, session: &SessionState) -> Result<()> {
        // Drops the qualifiers: below a barrier, all columns belong to one table.
        let own = condition
            .clone()
            .transform_up(|inner| match inner {
                Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))),
                other => Ok(Transformed::no(other)),
            })
            .data()?;
        let schema = DFSchema::try_from(self.table.schema().as_ref().clone())?;
        let own = slots.place(day::quick(own, &schema)?)?;
        let physical =
            create_physical_expr(&own, &schema, session.execution_props(), &PhysicalPlanningContext::default())?;
        self.conditions.extend(conditions_of(&physical)?);
        Ok(())
    }
}

/// The conjuncts of a predicate as text, with the names of columns and the numbers of parameters.
pub(super) fn conditions_of(predicate: &Arc<dyn PhysicalExpr>) -> Result<Vec<String>> {
    split_physical(predicate).into_iter().map(text).collect()
}

fn text(condition: &Arc<dyn PhysicalExpr>) -> Result<String> {
    let named = Arc::clone(condition)
        .transform_up(|inner| {
            let name = match (inner.downcast_ref::<PhysicalColumn>(), param::slot_of(&inner)) {
                (Some(column), _) => column.name().to_owned(),
                (None, Some(slot)) => format!("$value {slot}"),
                (None, None) => return Ok(Transformed::no(inner)),
            };
            Ok(Transformed::yes(Arc::new(PhysicalColumn::new(&name, 0)) as Arc<dyn PhysicalExpr>))
        })
        .data()?;
    Ok(named.to_string())
}
