//! Finds the functions that a query calls but may not call. The list is in [`crate::functions`].

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Volatility};

use crate::functions::is_allowed;

/// The placeholder of `now()`. It has a dot, which no parameter name has.
pub(crate) const NOW: &str = "$clock.now";
/// The placeholder of `current_date()`.
pub(crate) const TODAY: &str = "$clock.today";

/// The plan with placeholders for the time of the request. Plans are cached, so the time must not be part of them.
pub(crate) fn with_clock(plan: LogicalPlan) -> Result<LogicalPlan> {
    let clocked = plan.transform_up_with_subqueries(|node| {
        let schema = Arc::clone(node.schema());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let clocked = expr.transform_up(|inner| {
                let id = match &inner {
                    Expr::ScalarFunction(call) if call.name() == "now" => NOW,
                    Expr::ScalarFunction(call) if call.name() == "current_date" => TODAY,
                    _ => return Ok(Transformed::no(inner)),
                };
                let data_type = match inner.get_type(&schema)? {
                    // Nanoseconds end in 2262, but times in the lake that are compared with this one may be later.
                    DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone),
                    other => other,
                };
                let field = Arc::new(Field::new("", data_type, false));
                Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(id.to_owned(), Some(field)))))
            })?;
            Ok(if clocked.transformed { clocked.update_data(|expr| name.restore(expr)) } else { clocked })
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(clocked.data)
}

/// The names of functions in a plan that a query may not call, without duplicates.
pub(crate) fn refused(plan: &LogicalPlan) -> Vec<String> {
    let mut names = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Some(name) = refused_name(inner)
                    && !names.contains(&name)
                {
                    names.push(name);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    names
}

/// The refused functions of one expression.
pub(crate) fn refused_in(expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    let _ = expr.apply(|inner| {
        names.extend(refused_name(inner));
        Ok(TreeNodeRecursion::Continue)
    });
    names
}

fn refused_name(expr: &Expr) -> Option<String> {
    let (name, volatility) = match expr {
        Expr::ScalarFunction(call) => (call.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
        _ => return None,
    };
    // A stable function would be evaluated once and cached.
    (volatility != Volatility::Immutable || !is_allowed(name)).then_some(name.to_owned())
}
