//! Gives subqueries SQL's three-valued logic: rewrites `IN`, `NOT IN`, `ANY` and `ALL` so that NULL is exact, and
//! refuses correlated shapes that DataFusion evaluates wrongly.
//!
//! DataFusion turns a subquery that does not stand alone in a conjunct into a mark join whose mark is true or false but
//! never NULL. `NULL NOT IN (SELECT …)` becomes true, and a row filter shows rows that it should hide. So such places
//! keep only `EXISTS`, which has two values; see [`membership`]. [`shape`] checks correlated subqueries, and [`marks`]
//! rewrites subqueries outside of `WHERE` and `HAVING`.

mod marks;
mod membership;
mod shape;
#[cfg(test)]
mod tests;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result, Spans};
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{Filter, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::govern::policy::node_has_subquery;
use membership::Rewriter;

/// A subquery that `check` refuses, with a rewriting that works.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    pub(crate) message: &'static str,
    pub(crate) help: &'static str,
    /// The subquery's position in the text, if the planner knows it.
    pub(crate) span: Option<Span>,
}

fn refused<T>(spans: &Spans, message: &'static str, help: &'static str) -> Result<T> {
    let span = spans.first().map(|span| {
        let location =
            |at: datafusion::common::Location| datafusion::sql::sqlparser::tokenizer::Location::new(at.line, at.column);
        Span::new(location(span.start), location(span.end))
    });
    Err(DataFusionError::External(Box::new(Refused { message, help, span })))
}

/// The plan with every subquery in a form that DataFusion evaluates as SQL defines it.
///
/// # Errors
/// [`Refused`] if a subquery has no such form.
pub(crate) fn exact(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut rewriter = Rewriter::default();
    // Bottom-up: the subqueries of a node are in their final form before the node itself is rewritten.
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let Transformed { data: node, transformed, .. } = shape::without_self_comparisons(node)?;
        if transformed {
            return Ok(Transformed::yes(node));
        }
        if !node_has_subquery(&node) {
            return Ok(Transformed::no(node));
        }
        let scope = merge_schema(&node.inputs());
        shape::check(&node, &scope)?;
        match node {
            LogicalPlan::Filter(filter) => {
                let conjuncts = split_conjunction_owned(filter.predicate);
                let exact = conjuncts.into_iter().map(|conjunct| rewriter.conjunct(conjunct, &scope));
                match conjunction(exact.collect::<Result<Vec<_>>>()?) {
                    Some(predicate) => {
                        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
                    }
                    None => Ok(Transformed::yes(filter.input.as_ref().clone())),
                }
            }
            other => marks::outside_of_filters(other, &mut rewriter, &scope).map(Transformed::yes),
        }
    })?;
    Ok(rewritten.data)
}
