//! Refuses correlated subqueries that DataFusion evaluates wrongly. Allowed are those whose references to the outer
//! query are in plain `WHERE` conjuncts, with nothing above them that counts, groups, limits or combines rows.
//!
//! DataFusion pulls such conjuncts up into a join condition. Above an aggregate, a `LIMIT`, a window or a set operation
//! this changes the result, so these are refused with a suggested rewriting.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Filter, JoinType, LogicalPlan, Operator, Subquery, lit,
};

use super::refused;
use crate::govern::policy::has_subquery;

const JOIN_INSTEAD: &str =
    "compute it in a CTE without the reference, grouped by the columns that are compared, and join that";

/// Whether a plan refers to columns of an outer query. Does not look into its nested subqueries.
pub(super) fn is_correlated(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

/// Replaces each comparison of an outer value with itself by `x IS NOT NULL`. DataFusion drops such a conjunct, as if
/// no value were NULL.
pub(super) fn without_self_comparisons(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    if !split_conjunction(&filter.predicate).into_iter().any(|conjunct| compared_with_itself(conjunct).is_some()) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let conjuncts = split_conjunction_owned(filter.predicate).into_iter();
    let conjuncts = conjuncts.map(|conjunct| match compared_with_itself(&conjunct) {
        Some(value) => value.clone().is_not_null(),
        None => conjunct,
    });
    let predicate = conjunction(conjuncts).unwrap_or_else(|| lit(true));
    Filter::try_new(predicate, filter.input).map(LogicalPlan::Filter).map(Transformed::yes)
}

fn compared_with_itself(conjunct: &Expr) -> Option<&Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { return None };
    (left == right && left.contains_outer()).then_some(left.as_ref())
}

/// Refuses the subqueries of a node that DataFusion would evaluate wrongly.
pub(super) fn check(node: &LogicalPlan, scope: &DFSchema) -> Result<()> {
    node.apply_expressions(|expr| {
        expr.apply(|inner| {
            if let Some((subquery, is_value)) = subquery_of(inner) {
                one(subquery, is_value, scope)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// The subquery of an expression, and whether it is a scalar subquery.
pub(super) fn subquery_of(expr: &Expr) -> Option<(&Subquery, bool)> {
    match expr {
        Expr::Exists(exists) => Some((&exists.subquery, false)),
        Expr::InSubquery(membership) => Some((&membership.subquery, false)),
        Expr::SetComparison(comparison) => Some((&comparison.subquery, false)),
        Expr::ScalarSubquery(subquery) => Some((subquery, true)),
        _ => None,
    }
}

fn one(subquery: &Subquery, is_value: bool, scope: &DFSchema) -> Result<()> {
    let plan = subquery.subquery.as_ref();
    let references = plan.all_out_ref_exprs();
    let is_of_scope = |reference: &Expr| match reference {
        Expr::OuterReferenceColumn(_, column) => scope.maybe_index_of_column(column).is_some(),
        _ => true,
    };
    if !references.iter().all(is_of_scope) {
        return refused(
            &subquery.spans,
            "a subquery refers to a column of a query that is not the one right around it",
            "join the tables inside the subquery, so that each reference is to the next query",
        );
    }
    match (references.is_empty(), is_value) {
        (true, _) => Ok(()),
        (false, false) => plain(plan, subquery, By::Anything),
        (false, true) => value(plan, subquery),
    }
}

/// Allows a correlated scalar subquery only if it is one aggregate without groups over plain rows.
fn value(plan: &LogicalPlan, subquery: &Subquery) -> Result<()> {
    match plan {
        LogicalPlan::Projection(projection) => {
            no_references(plan, subquery)?;
            value(&projection.input, subquery)
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            no_references(plan, subquery)?;
            plain(&aggregate.input, subquery, By::Columns)
        }
        _ => refused(
            &subquery.spans,
            "a correlated subquery that gives a value must be one aggregate, such as `SELECT max(x) FROM … WHERE …`, without `GROUP BY`, `HAVING` and `LIMIT`",
            JOIN_INSTEAD,
        ),
    }
}

/// The conditions by which a subquery may be correlated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Anything,
    /// Equalities between its own columns and expressions of the outer query. The columns become group keys of an
    /// aggregate.
    Columns,
}

fn plain(plan: &LogicalPlan, subquery: &Subquery, by: By) -> Result<()> {
    if !is_correlated(plan) {
        return Ok(());
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            no_references(plan, subquery)?;
            plain(&projection.input, subquery, by)
        }
        // DataFusion pulls references out of a derived table but does not change the table's columns.
        LogicalPlan::SubqueryAlias(_) => refused(
            &subquery.spans,
            "a derived table inside a subquery refers to the query around it",
            "move the condition out of the derived table, into the subquery's own `WHERE`",
        ),
        LogicalPlan::Distinct(Distinct::All(input)) if by == By::Anything => plain(input, subquery, by),
        LogicalPlan::Filter(filter) => {
            for conjunct in split_conjunction(&filter.predicate) {
                if !conjunct.contains_outer() {
                    continue;
                }
                if has_subquery(conjunct) {
                    return refused(
                        &subquery.spans,
                        "a condition of a subquery combines a reference to the query around it with another subquery",
                        "write them as conditions of their own, combined with AND",
                    );
                }
                if by == By::Columns && !is_equality(conjunct) {
                    return refused(
                        &subquery.spans,
                        "a correlated subquery that aggregates may compare its own columns with the query around it by `=` alone",
                        JOIN_INSTEAD,
                    );
                }
            }
            plain(&filter.input, subquery, by)
        }
        LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => united(subquery),
        LogicalPlan::Join(join) => {
            no_references(plan, subquery)?;
            let keeps = |side: &LogicalPlan, may_be_referred: bool| match may_be_referred || !is_correlated(side) {
                true => plain(side, subquery, by),
                false => refused(
                    &subquery.spans,
                    "a correlated subquery refers to the query around it on the side of an outer join that may be missing",
                    JOIN_INSTEAD,
                ),
            };
            keeps(&join.left, matches!(join.join_type, JoinType::Inner | JoinType::Left))?;
            keeps(&join.right, matches!(join.join_type, JoinType::Inner | JoinType::Right))
        }
        LogicalPlan::Aggregate(aggregate) if is_grouped(aggregate) => {
            no_references(plan, subquery)?;
            plain(&aggregate.input, subquery, By::Columns)
        }
        LogicalPlan::Aggregate(_) => refused(
            &subquery.spans,
            "a correlated subquery aggregates the rows that it refers to, and has a row where there are none",
            JOIN_INSTEAD,
        ),
        LogicalPlan::Limit(_) => refused(&subquery.spans, "a correlated subquery has a `LIMIT`", JOIN_INSTEAD),
        LogicalPlan::Sort(_) => refused(
            &subquery.spans,
            "a correlated subquery has an `ORDER BY`",
            "remove it: the order of a subquery's rows means nothing",
        ),
        LogicalPlan::Window(_) => refused(&subquery.spans, "a correlated subquery has a window function", JOIN_INSTEAD),
        LogicalPlan::Union(_) => united(subquery),
        _ => refused(
            &subquery.spans,
            "a subquery refers to the query around it from a place other than `WHERE`",
            JOIN_INSTEAD,
        ),
    }
}

fn united(subquery: &Subquery) -> Result<()> {
    refused(
        &subquery.spans,
        "a correlated subquery has a set operation",
        "write one subquery for each part, combined with AND or OR",
    )
}

fn is_grouped(aggregate: &Aggregate) -> bool {
    !aggregate.group_expr.is_empty() && !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
}

fn no_references(node: &LogicalPlan, subquery: &Subquery) -> Result<()> {
    match node.contains_outer_reference() {
        false => Ok(()),
        true => refused(
            &subquery.spans,
            "a subquery refers to the query around it from a place other than `WHERE`",
            JOIN_INSTEAD,
        ),
    }
}

/// Whether a conjunct compares a column of the subquery with an expression over the outer query.
fn is_equality(conjunct: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { return false };
    let is_inner = |expr: &Expr| matches!(expr, Expr::Column(_));
    let is_outer = |expr: &Expr| expr.contains_outer() && expr.column_refs().is_empty();
    is_inner(left) && is_outer(right) || is_outer(left) && is_inner(right)
}
