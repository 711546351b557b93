//! Traces each masked column from its reader to the result, and refuses any expression but its mask that reads it.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::Reader;
use super::guards::Guard;
use super::origin::{From, from};
use crate::govern::MaskFunction;
use crate::shortcut::lookup::Kind;

/// An unmasked column that has a mask: its table and its name.
type Raw = (String, String);

/// For each column of an operator, the unmasked column that it passes on, if any.
type Columns = Vec<Option<Raw>>;

/// Checks that no unmasked column leaves the operators.
///
/// # Errors
/// If an unmasked column is read by anything but its mask, or reaches the result.
pub(super) fn check(operators: &Arc<dyn ExecutionPlan>, guards: &[Guard]) -> Result<()> {
    if guards.iter().all(|guard| guard.masked.is_empty()) {
        return Ok(());
    }
    match columns(operators, guards)?.into_iter().flatten().next() {
        None => Ok(()),
        Some((table, column)) => plan_err!("`{column}` of `{table}` would be in the answer without its mask"),
    }
}

fn columns(node: &Arc<dyn ExecutionPlan>, guards: &[Guard]) -> Result<Columns> {
    if let Some(reader) = Reader::of(node) {
        return read(&reader, guards);
    }
    let inputs = node.children().into_iter().map(|input| columns(input, guards)).collect::<Result<Vec<_>>>()?;
    if inputs.iter().flatten().all(Option::is_none) {
        return Ok(vec![None; node.schema().fields().len()]);
    }
    // A projection passes columns on and may contain masks. No other operator may name an unmasked column.
    let is_projection = node.is::<ProjectionExec>();
    let [input] = inputs.as_slice() else {
        // Joins refer to columns of their inputs by differing indices, so no input may hold an unmasked column.
        let (table, column) = inputs.iter().flatten().flatten().next().cloned().unwrap_or_default();
        return plan_err!("`{column}` of `{table}` comes to `{}` without its mask", node.name());
    };
    node.apply_expressions(&mut |expr| {
        if !(is_projection && expr.is::<Column>()) {
            looked_at(expr, input)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let places = 0..node.schema().fields().len();
    Ok(places
        .map(|at| match from(node, at) {
            From::Input(0, place) => input.get(place).cloned().flatten(),
            From::Input(..) | From::Elsewhere => None,
        })
        .collect())
}

/// The columns of an operator that reads a table.
fn read(reader: &Reader<'_>, guards: &[Guard]) -> Result<Columns> {
    let (table, schema) = (reader.table.name(), reader.table.schema());
    let own = guards.iter().filter(|guard| Arc::ptr_eq(&guard.table, reader.table)).collect::<Vec<_>>();
    let is_masked = |name: &str| own.iter().any(|guard| guard.masked.contains(name));
    let raw = |at: &usize| {
        let name = schema.field(*at).name();
        is_masked(name).then(|| (table.to_owned(), name.clone()))
    };
    // Below the mask, only the policy may refer to a masked column.
    for condition in reader.filter.into_iter().flat_map(datafusion::physical_expr::split_conjunction) {
        let text = super::conditions_of(condition)?;
        let is_policy = own.iter().any(|guard| text.iter().all(|text| guard.conditions.contains(text)));
        let names_masked = condition
            .exists(|inner| Ok(inner.downcast_ref::<Column>().is_some_and(|column| is_masked(column.name()))))?;
        if names_masked && !is_policy {
            return plan_err!("a condition looks at a masked column of `{table}` without its mask");
        }
    }
    let read = reader.columns.iter().map(raw).collect::<Columns>();
    let Some(lookup) = reader.lookup else { return Ok(read) };
    let (input, key, _) = lookup.asks_by();
    let driver = columns(input, guards)?;
    // A policy may compare unmasked keys, but a query may not.
    if lookup.kind() != Kind::Of
        && let Some(Some((table, column))) = driver.get(key)
    {
        return plan_err!("`{column}` of `{table}` is compared without its mask");
    }
    let side = match lookup.makes() {
        None => read,
        Some(made) => {
            let one = |expr: &Arc<dyn PhysicalExpr>| match expr.downcast_ref::<Column>() {
                Some(column) => Ok(read.get(column.index()).cloned().flatten()),
                None => looked_at(expr, &read).map(|()| None),
            };
            made.iter().map(one).collect::<Result<Columns>>()?
        }
    };
    Ok(match lookup.kind() {
        Kind::Of => side,
        Kind::Semi => driver,
        Kind::Inner | Kind::Left => driver.into_iter().chain(side).collect(),
    })
}

/// Refuses an expression that reads an unmasked column, unless it is that column's mask.
fn looked_at(expr: &Arc<dyn PhysicalExpr>, columns: &Columns) -> Result<()> {
    let raw = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>()?;
        columns.get(column.index()).and_then(Option::as_ref)
    };
    expr.apply(|inner| {
        let function = inner.downcast_ref::<ScalarFunctionExpr>();
        let mask = function.and_then(|function| function.fun().inner().downcast_ref::<MaskFunction>());
        if let (Some(function), Some(mask)) = (function, mask)
            && let [argument] = function.args()
            && raw(argument).is_some_and(|(table, column)| table == mask.table() && column == mask.column())
        {
            return Ok(TreeNodeRecursion::Jump);
        }
        match raw(inner) {
            Some((table, column)) => plan_err!("`{column}` of `{table}` is looked at without its mask"),
            None => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(())
}
