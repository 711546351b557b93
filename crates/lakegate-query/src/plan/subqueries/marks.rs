//! Rewrites subqueries outside of `WHERE` and `HAVING`: each `EXISTS` becomes a column of a mark join below its node.
//!
//! DataFusion does this only for filter conditions and refuses the rest.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, expr_to_columns, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, lit, not,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

use super::membership::{Need, Rewriter};
use super::refused;
use super::shape::{is_correlated, subquery_of};
use crate::govern::policy::has_subquery;

/// A node other than a filter, with its subqueries replaced by mark columns.
pub(super) fn outside_of_filters(node: LogicalPlan, rewriter: &mut Rewriter, scope: &DFSchema) -> Result<LogicalPlan> {
    match node {
        LogicalPlan::Projection(projection) => {
            let names = NamePreserver::new_for_projection();
            let mut input = projection.input.as_ref().clone();
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for expr in projection.expr {
                let name = names.save(&expr);
                exprs.push(name.restore(marked(rewriter.exact(expr, Need::Value, scope)?, &mut input, rewriter)?));
            }
            Projection::try_new(exprs, input.into()).map(LogicalPlan::Projection)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let names = NamePreserver::new_for_projection();
            let mut input = aggregate.input.as_ref().clone();
            let mut mark = |exprs: Vec<Expr>| {
                let mark_one = |expr: Expr| {
                    let name = names.save(&expr);
                    Ok(name.restore(marked(rewriter.exact(expr, Need::Value, scope)?, &mut input, rewriter)?))
                };
                exprs.into_iter().map(mark_one).collect::<Result<Vec<_>>>()
            };
            let (groups, calls) = (mark(aggregate.group_expr)?, mark(aggregate.aggr_expr)?);
            let mut values = Vec::new();
            let mut below = |exprs: Vec<Expr>| {
                let one = |expr: Expr| {
                    let name = names.save(&expr);
                    Ok(name.restore(with_values_below(expr, &mut values, rewriter)?))
                };
                exprs.into_iter().map(one).collect::<Result<Vec<_>>>()
            };
            let (groups, calls) = (below(groups)?, below(calls)?);
            if !values.is_empty() {
                let all = input.schema().columns().into_iter().map(Expr::Column).chain(values);
                input = LogicalPlanBuilder::from(input.clone()).project(all.collect::<Vec<_>>())?.build()?;
            }
            Aggregate::try_new(input.into(), groups, calls).map(LogicalPlan::Aggregate)
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => above_join(join, rewriter, scope),
        other => {
            let mut correlated = None;
            other.apply_expressions(|expr| {
                expr.apply(|inner| {
                    let subquery = subquery_of(inner).filter(|(subquery, is_value)| {
                        !is_value || !subquery.outer_ref_columns.is_empty() || is_correlated(&subquery.subquery)
                    });
                    correlated = correlated.take().or(subquery.map(|(subquery, _)| subquery.spans.clone()));
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            match correlated {
                Some(spans) => refused(
                    &spans,
                    "a subquery cannot stand there",
                    "compute it as a column in a CTE or a derived table, and use that column",
                ),
                None => Ok(other),
            }
        }
    }
}

/// An expression of an aggregate with its correlated scalar subqueries replaced by columns. DataFusion computes such
/// subqueries below projections and filters only.
fn with_values_below(expr: Expr, values: &mut Vec<Expr>, rewriter: &mut Rewriter) -> Result<Expr> {
    expr.transform_up(|inner| match inner {
        Expr::ScalarSubquery(subquery) if is_correlated(&subquery.subquery) => {
            let name = rewriter.name();
            values.push(Expr::ScalarSubquery(subquery).alias(name.clone()));
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Moves the conditions of an inner join that have a subquery into a filter above the join.
fn above_join(join: Join, rewriter: &mut Rewriter, scope: &DFSchema) -> Result<LogicalPlan> {
    let (mut above, mut kept) = (Vec::new(), Vec::new());
    for conjunct in join.filter.into_iter().flat_map(split_conjunction_owned) {
        match has_subquery(&conjunct) {
            true => above.push(rewriter.conjunct(conjunct, scope)?),
            false => kept.push(conjunct),
        }
    }
    let joined = LogicalPlan::Join(Join { filter: conjunction(kept), ..join });
    match conjunction(above) {
        Some(condition) => Filter::try_new(condition, joined.into()).map(LogicalPlan::Filter),
        None => Ok(joined),
    }
}

/// Replaces each `EXISTS` with a column, and `input` with a join that has these columns.
fn marked(expr: Expr, input: &mut LogicalPlan, rewriter: &mut Rewriter) -> Result<Expr> {
    expr.transform_up(|inner| match inner {
        Expr::Exists(exists) => mark(&exists, input, rewriter).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn mark(exists: &Exists, input: &mut LogicalPlan, rewriter: &mut Rewriter) -> Result<Expr> {
    let mut references = PullUpCorrelatedExpr::new().with_exists_sub_query(true);
    let plan = exists.subquery.subquery.as_ref().clone().rewrite(&mut references).data()?;
    if !references.can_pull_up {
        return refused(
            &exists.subquery.spans,
            "a subquery of this shape cannot stand there",
            "put it into `WHERE`, or join a CTE",
        );
    }
    let name = rewriter.name();
    let own = references.correlated_subquery_cols_map.into_values().flatten().collect::<BTreeSet<Column>>();
    let condition = match conjunction(references.join_filters) {
        Some(condition) => renamed(condition, &own, &name)?,
        None => lit(true),
    };
    let rows = LogicalPlanBuilder::from(plan).alias(name.clone())?.build()?;
    let mut asked = std::collections::HashSet::new();
    expr_to_columns(&condition, &mut asked)?;
    let mut asked = asked.iter().filter_map(|column| rows.schema().maybe_index_of_column(column)).collect::<Vec<_>>();
    asked.sort_unstable();
    asked.dedup();
    let columns = asked.iter().map(|at| Expr::Column(Column::from(rows.schema().qualified_field(*at))));
    let columns = columns.collect::<Vec<_>>();
    let rows = match columns.is_empty() {
        true => rows,
        false => LogicalPlanBuilder::from(rows).project(columns)?.build()?,
    };
    *input = LogicalPlanBuilder::from(input.clone()).join_on(rows, JoinType::LeftMark, Some(condition))?.build()?;
    let mark = Expr::Column(Column::new(Some(name), "mark"));
    Ok(if exists.negated { not(mark) } else { mark })
}

/// A condition whose references to the subquery's own columns are qualified with `name`, the join's side.
fn renamed(condition: Expr, own: &BTreeSet<Column>, name: &str) -> Result<Expr> {
    condition
        .transform_up(|inner| match inner {
            Expr::Column(column) if own.contains(&column) => {
                Ok(Transformed::yes(Expr::Column(Column::new(Some(name), column.name))))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
}
