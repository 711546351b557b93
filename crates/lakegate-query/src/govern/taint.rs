//! Checks masks in an optimised plan: the second check, after injection. Follows every masked column from its barrier
//! upwards, and refuses the plan if anything but its mask reads the raw column, or if the raw column reaches the
//! response.
//!
//! Refuses a raw column at every node that is not known to pass its columns through unchanged.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::barrier::Barrier;
use super::inject::Injection;
use super::mask;
use super::masking;
use super::policy::subquery_of;

/// A masked column in its raw form: table and name.
type Raw = (String, String);

/// The raw columns of a node, by index.
type Taint = BTreeMap<usize, Raw>;

/// Checks a plan after the optimiser.
pub(super) fn check(plan: &LogicalPlan, injection: &Injection<'_>) -> Result<()> {
    match taint(plan, injection, &[])?.into_values().next() {
        None => Ok(()),
        Some((table, column)) => plan_err!("`{column}` of `{table}` would be in the answer without its mask"),
    }
}

/// The raw columns of the outer query that a subquery may refer to.
type Outer = Vec<(Column, Raw)>;

fn taint(plan: &LogicalPlan, injection: &Injection<'_>, outer: &[(Column, Raw)]) -> Result<Taint> {
    if let Some(barrier) = Barrier::of(plan) {
        let table = barrier.table();
        let masked = injection.masks.columns(table);
        below(barrier, &masked)?;
        let fields = plan.schema().fields().iter().enumerate();
        let raw = fields.filter(|(_, field)| masked.contains(field.name()));
        return Ok(raw.map(|(at, field)| (at, (table.to_owned(), field.name().clone()))).collect());
    }
    let inputs = plan.inputs();
    let taints = inputs.iter().map(|input| taint(input, injection, outer)).collect::<Result<Vec<_>>>()?;

    // The raw columns that the node's own expressions can read, over all inputs.
    let own = inputs
        .iter()
        .zip(&taints)
        .flat_map(|(input, taint)| taint.iter().map(|(at, raw)| (column_at(input.schema(), *at), raw.clone())));
    let own = own.collect::<Vec<_>>();
    let visible = Visible { inputs: &inputs, own: &own, outer };
    let hands_through = matches!(plan, LogicalPlan::Projection(_));
    for expr in plan.expressions() {
        if !(hands_through && plain(&expr).is_some()) {
            check_expr(&expr, &visible, injection)?;
        } else {
            check_subqueries(&expr, &visible, injection)?;
        }
    }

    let mut taints = taints.into_iter();
    let mut only = || taints.next().unwrap_or_default();
    Ok(match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        // A window's own columns follow those of its input.
        | LogicalPlan::Window(_) => only(),
        LogicalPlan::Projection(projection) => {
            let (input, raw) = (projection.input.schema(), only());
            let exprs = projection.expr.iter().enumerate();
            let handed = exprs.filter_map(|(at, expr)| {
                let from = input.maybe_index_of_column(plain(expr)?)?;
                Some((at, raw.get(&from)?.clone()))
            });
            handed.collect()
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (only(), only());
            let offset = join.left.schema().fields().len();
            let moved = |right: Taint, by: usize| right.into_iter().map(move |(at, raw)| (at + by, raw));
            match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    left.into_iter().chain(moved(right, offset)).collect()
                }
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            }
        }
        LogicalPlan::Union(_) => taints.flatten().collect(),
        LogicalPlan::Aggregate(_) | LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Taint::new(),
        // The check above has allowed this scan.
        LogicalPlan::TableScan(_) => Taint::new(),
        other => {
            if let Some((table, column)) = taints.flat_map(Taint::into_values).next() {
                return plan_err!("`{column}` of `{table}` comes to `{}` without its mask", other.display());
            }
            Taint::new()
        }
    })
}

/// Refuses a barrier if a projection below it renames a raw column, because the column would not be recognised above.
fn below(barrier: &Barrier, masked: &BTreeSet<String>) -> Result<()> {
    if masked.is_empty() {
        return Ok(());
    }
    barrier.input().apply_with_subqueries(|node| {
        if let LogicalPlan::Projection(projection) = node {
            let renames = |expr: &&Expr| !matches!(expr, Expr::Column(_)) && masking::names(expr, masked);
            if let Some(expr) = projection.expr.iter().find(renames) {
                return plan_err!("`{expr}` is taken from `{}` before its mask", barrier.table());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The column that an expression passes through unchanged.
fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

fn column_at(schema: &DFSchema, at: usize) -> Column {
    Column::from(schema.qualified_field(at))
}

/// Refuses an expression that reads a raw column, unless it is that column's mask.
fn check_expr(expr: &Expr, visible: &Visible<'_>, injection: &Injection<'_>) -> Result<()> {
    expr.apply(|inner| {
        if let Some(function) = mask::of(inner) {
            let Expr::ScalarFunction(call) = inner else { return Ok(TreeNodeRecursion::Continue) };
            let own = injection.masks.of(function.table()).and_then(|masks| masks.get(function.column()));
            let is_own = own.is_some_and(|own| own == function.mask());
            let argument = match call.args.as_slice() {
                [argument] | [argument, Expr::Placeholder(_)] => visible.raw(argument),
                _ => None,
            };
            let (table, column) = (function.table(), function.column());
            return match argument {
                Some((of, name)) if is_own && of == table && name == column => Ok(TreeNodeRecursion::Jump),
                _ => plan_err!("the mask of `{column}` of `{table}` stands over something else"),
            };
        }
        if let Some((table, name)) = visible.raw(inner) {
            return plan_err!("`{name}` of `{table}` is looked at without its mask");
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    check_subqueries(expr, visible, injection)
}

fn check_subqueries(expr: &Expr, visible: &Visible<'_>, injection: &Injection<'_>) -> Result<()> {
    expr.apply(|inner| {
        if let Some(subquery) = subquery_of(inner) {
            let outer: Outer = [visible.own, visible.outer].concat();
            if let Some((table, column)) = taint(subquery, injection, &outer)?.into_values().next() {
                return plan_err!("a subquery gives `{column}` of `{table}` without its mask");
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The raw columns that a node's expressions may name.
struct Visible<'a> {
    inputs: &'a [&'a LogicalPlan],
    own: &'a [(Column, Raw)],
    outer: &'a [(Column, Raw)],
}

impl Visible<'_> {
    /// The raw column that an expression refers to, if it is a plain column.
    fn raw(&self, expr: &Expr) -> Option<&Raw> {
        match expr {
            Expr::OuterReferenceColumn(_, column) => find(column, self.outer),
            // A subquery over the same table has its own columns of the same names.
            Expr::Column(column) => find(column, self.own).or_else(|| {
                let is_own = self.inputs.iter().any(|input| input.schema().maybe_index_of_column(column).is_some());
                if is_own { None } else { find(column, self.outer) }
            }),
            _ => None,
        }
    }
}

/// The raw column that a name may refer to. A name without a relation matches that column of any relation.
fn find<'v>(column: &Column, visible: &'v [(Column, Raw)]) -> Option<&'v Raw> {
    let same_relation = |other: &Column| match (&column.relation, &other.relation) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    visible.iter().find(|(other, _)| other.name == column.name && same_relation(other)).map(|(_, raw)| raw)
}
