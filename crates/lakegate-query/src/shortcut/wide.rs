//! Which plans may be run by several threads: those whose answer is the same, to the last bit and in the same order, however
//! their rows are shared out.
//!
//! Two answers to one question must not differ by chance. So a plan must sort what it gives, or give one row; sums of floats,
//! which depend on their order, and limits, windows and lists, which depend on that of the rows, are left to one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Result};
use datafusion::logical_expr::expr::Sort as SortKey;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, Sort, SubqueryAlias};

use super::cut::is_cut;
use crate::govern::order_key;

/// From how many rows on a scan is worth several threads: what sharing out costs is a tenth of a millisecond.
const LEAST_ROWS: usize = 64 * 1024;

/// No query has more threads than this.
const MOST_THREADS: usize = 16;

/// Functions of which it does not matter who comes first.
const ORDER_FREE: [&str; 11] =
    ["count", "sum", "min", "max", "avg", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "approx_distinct"];

/// How many threads a large query may have; `None` where there is one.
pub(super) fn threads() -> Option<usize> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let threads = if cfg!(test) { threads.max(3) } else { threads };
    (threads > 1).then_some(threads)
}

/// Whether so many rows are worth several threads. Tests, which have few rows, run every second plan so.
pub(super) fn is_worth(rows: usize) -> bool {
    if cfg!(test) {
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        return TURNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    }
    rows >= LEAST_ROWS
}

/// The plan as it may be run by several threads; `None` where it may not.
pub(super) fn widened(plan: &LogicalPlan) -> Option<LogicalPlan> {
    let mut is_free = true;
    let walked = plan.apply(|node| {
        is_free &= match node {
            LogicalPlan::Aggregate(aggregate) => is_order_free(aggregate),
            LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(_) => false,
            LogicalPlan::Sort(sort) => sort.fetch.is_none(),
            LogicalPlan::Extension(extension) => !is_cut(extension.node.as_ref()),
            _ => true,
        };
        Ok(if is_free { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    if walked.is_ok() && is_free { in_order(plan) } else { None }
}

/// The plan with an order that leaves nothing open.
fn in_order(plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let (input, schema) = (Arc::new(in_order(&projection.input)?), Arc::clone(&projection.schema));
            let projection = Projection::try_new_with_schema(projection.expr.clone(), input, schema);
            projection.ok().map(LogicalPlan::Projection)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let aliased = SubqueryAlias::try_new(Arc::new(in_order(&alias.input)?), alias.alias.clone());
            aliased.ok().map(LogicalPlan::SubqueryAlias)
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Some(plan.clone()),
        LogicalPlan::Sort(sort) => {
            let mut keys = sort.expr.clone();
            for (qualifier, field) in sort.input.schema().iter() {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                // Floats and nested values are in the order only where the query asks for it, and then to the last bit.
                let (schema, data_type) = (sort.input.schema(), field.data_type());
                let asked = order_key::number(column.clone(), schema).ok()?;
                let is_asked = sort.expr.iter().any(|key| key.expr == asked);
                if !is_asked && (data_type.is_nested() || data_type.is_floating()) {
                    return None;
                }
                let key = order_key::exact(column, schema).ok()?;
                if !keys.iter().any(|there| there.expr == key) {
                    keys.push(SortKey::new(key, true, true));
                }
            }
            Some(LogicalPlan::Sort(Sort { expr: keys, ..sort.clone() }))
        }
        _ => None,
    }
}

fn is_order_free(aggregate: &Aggregate) -> bool {
    let schema = aggregate.input.schema();
    let is_exact = |expr: &Expr| is_exact(expr, schema.as_ref()).unwrap_or(false);
    let is_free = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(call) => {
            let params = &call.params;
            ORDER_FREE.contains(&call.func.name()) && params.order_by.is_empty() && params.args.iter().all(is_exact)
        }
        _ => false,
    };
    aggregate.group_expr.iter().all(is_exact) && aggregate.aggr_expr.iter().all(is_free)
}

/// Whether equal values are one value, and their sum does not depend on an order.
fn is_exact(expr: &Expr, schema: &dyn ExprSchema) -> Result<bool> {
    let data_type = match expr {
        Expr::GroupingSet(_) => return Ok(false),
        expr => expr.get_type(schema)?,
    };
    Ok(!data_type.is_floating() && !data_type.is_nested() && data_type != DataType::Null)
}
