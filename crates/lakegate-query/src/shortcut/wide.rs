//! Decides which prepared plans may run in parallel: those whose result does not depend on how rows are partitioned,
//! down to the last bit and the order of rows.
//!
//! Repeating a request must not change its response by chance. So a plan must sort its result or return one row. Sums
//! of floats, limits, windows and lists depend on the order of rows, so they run in one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, Result};
use datafusion::logical_expr::expr::Sort as SortKey;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, Sort, SubqueryAlias};

use super::cut::is_cut;
use crate::govern::order_key;

/// The minimum number of scanned rows for a parallel plan; parallelism costs a tenth of a millisecond.
const LEAST_ROWS: usize = 64 * 1024;

/// The maximum number of threads of a query.
const MOST_THREADS: usize = 16;

/// Aggregate functions whose result does not depend on the order of rows.
const ORDER_FREE: [&str; 11] =
    ["count", "sum", "min", "max", "avg", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "approx_distinct"];

/// The number of threads of a large query; `None` if the machine has only one.
pub(super) fn threads() -> Option<usize> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let threads = if cfg!(test) { threads.max(3) } else { threads };
    (threads > 1).then_some(threads)
}

/// Whether this many rows are worth a parallel plan. Tests have few rows, so they run every second plan in parallel.
pub(super) fn is_worth(rows: usize) -> bool {
    if cfg!(test) {
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        return TURNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    }
    rows >= LEAST_ROWS
}

/// The plan to run in parallel; `None` if it must not.
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

/// Extends the sort keys of a plan to a total order; `None` if that is not possible.
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
                // Floats and nested values must already be sort keys of the query, which compares them to the last bit.
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

/// Whether equal values are identical and their sum does not depend on the order of addition.
fn is_exact(expr: &Expr, schema: &dyn ExprSchema) -> Result<bool> {
    let data_type = match expr {
        Expr::GroupingSet(_) => return Ok(false),
        expr => expr.get_type(schema)?,
    };
    Ok(!data_type.is_floating() && !data_type.is_nested() && data_type != DataType::Null)
}
