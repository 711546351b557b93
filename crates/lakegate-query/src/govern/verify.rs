//! Verifies governed plans: refuses a plan if a scan of a governed table is not under its policy.
//!
//! It shares no traversal with [`super::inject`], so that one mistake does not defeat both.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::barrier::Barrier;
use super::evidence;
use super::inject::{Injection, Rule, table_of};
use super::policy;
use super::taint;
use super::template::Shape;
use super::total;

/// Checks a plan right after injection: each governed scan is exactly masks, barrier, filter, scan, with the policy's
/// filter and the masks in force.
pub(crate) fn injected(plan: &LogicalPlan, injection: &Injection<'_>) -> Result<()> {
    if let LogicalPlan::Projection(projection) = plan
        && let Some(barrier) = Barrier::of(&projection.input)
        && injection.masks.of(barrier.table()).is_some()
    {
        injection.masks.verify(barrier.table(), projection)?;
        return guarded(barrier, injection);
    }
    if let Some(barrier) = Barrier::of(plan) {
        if injection.masks.of(barrier.table()).is_some() {
            return plan_err!("the columns of `{}` are not under their masks", barrier.table());
        }
        return guarded(barrier, injection);
    }
    if let LogicalPlan::TableScan(scan) = plan {
        let table = table_of(scan)?;
        if matches!(injection.rule(&table)?, Rule::Rows(_)) || injection.masks.of(&table).is_some() {
            return plan_err!("a scan of `{table}` is not under its policy");
        }
    }
    for expr in plan.expressions() {
        subqueries_of(&expr, &mut |inner| injected(inner, injection))?;
    }
    plan.inputs().into_iter().try_for_each(|input| injected(input, injection))
}

/// Checks the input of a barrier: the table's scan under its filter, or the bare scan if all rows are visible.
fn guarded(barrier: &Barrier, injection: &Injection<'_>) -> Result<()> {
    if *barrier.masked() != injection.masks.columns(barrier.table()) {
        return plan_err!("the barrier of `{}` does not know which columns are masked", barrier.table());
    }
    let filter = match barrier.input() {
        LogicalPlan::Filter(filter) => filter,
        LogicalPlan::TableScan(scan) => {
            let table = table_of(scan)?;
            return match injection.rule(&table)? {
                Rule::AllRows if table == barrier.table() => Ok(()),
                _ => plan_err!("a scan of `{table}` is not under its policy"),
            };
        }
        _ => return plan_err!("a barrier without a filter"),
    };
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else {
        return plan_err!("a filter that is not at its scan");
    };
    let table = table_of(scan)?;
    match injection.rule(&table)? {
        Rule::Rows(predicate) if *predicate == filter.predicate && table == barrier.table() => {
            let raw = injection.of_filters();
            subqueries_of(&filter.predicate, &mut |inner| injected(inner, &raw))
        }
        _ => plan_err!("the filter at the scan of `{table}` is not its policy"),
    }
}

/// The prefix of errors about expressions below a barrier that can fail.
pub(crate) const BELOW: &str = "below the barrier of ";

/// Checks a plan after the optimiser: each governed scan is still below its barrier, the plan still tests what its
/// policy depends on, and nothing below a barrier can fail.
pub(crate) fn optimised(plan: &LogicalPlan, injection: &Injection<'_>, shape: &Shape) -> Result<()> {
    below(plan, None, injection, shape)?;
    taint::check(plan, injection)
}

fn below(plan: &LogicalPlan, guard: Option<&str>, injection: &Injection<'_>, shape: &Shape) -> Result<()> {
    let mut guard = guard;
    if let Some(barrier) = Barrier::of(plan) {
        if let Some(fault) = total::plan_fault(barrier.input()) {
            return plan_err!("{BELOW}`{}`: {fault}", barrier.table());
        }
        if let Some(lost) = evidence::lost(barrier, injection, shape)? {
            return plan_err!("the policy of `{}` no longer goes by {lost}", barrier.table());
        }
        guard = Some(barrier.table());
    }
    if let LogicalPlan::TableScan(scan) = plan {
        let table = table_of(scan)?;
        let filtered = matches!(injection.rule(&table)?, Rule::Rows(_));
        // Below a barrier, the filter of another table may read this one, and filters use raw values.
        let governed = filtered || (guard.is_none() && injection.masks.of(&table).is_some());
        if governed && guard != Some(table.as_str()) {
            return plan_err!("a scan of `{table}` is not under its policy");
        }
    }
    for expr in plan.expressions() {
        subqueries_of(&expr, &mut |inner| below(inner, None, injection, shape))?;
    }
    plan.inputs().into_iter().try_for_each(|input| below(input, guard, injection, shape))
}

fn subqueries_of(expr: &Expr, check: &mut dyn FnMut(&LogicalPlan) -> Result<()>) -> Result<()> {
    expr.apply(|inner| {
        if let Some(plan) = policy::subquery_of(inner) {
            check(plan)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
