//! Which functions a query may call: those that give the same answer for the same rows.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

/// The names of functions in a plan that a query may not call, each once.
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

fn refused_name(expr: &Expr) -> Option<String> {
    let (name, volatility) = match expr {
        Expr::ScalarFunction(call) => (call.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
        _ => return None,
    };
    // `version` tells a caller what runs here; stable functions would be answered once and kept.
    (volatility != Volatility::Immutable || name == "version").then_some(name.to_owned())
}
