//! Redundant semi-join elimination: recognises joins that already guarantee a row filter.
//!
//! Suppose that `order` shows the rows whose trackcode the caller sees. A query that joins `order` to `trackcode` by
//! that key reads `trackcode` under its own row filter, so it returns no other rows of `order`. Evaluating the
//! semi-join of the policy as well would cost time and change nothing.

use std::sync::Arc;

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::access::{Access, Parent};

/// Whether every row of `some` is a row of `all`. Returns false if that is not evident.
fn is_part(some: &Access, all: &Access) -> bool {
    let has_all = all.filters.iter().all(|filter| some.filters.contains(filter));
    let has_parent = match (&all.parent, &some.parent) {
        (None, _) => true,
        (Some(all), Some(some)) => all.column == some.column && all.key == some.key && is_part(&some.of, &all.of),
        (Some(_), None) => false,
    };
    Arc::ptr_eq(&some.table, &all.table) && has_all && has_parent
}

/// Whether rows that are joined by `column` to column `key` of `driver` are certain to have a parent.
pub(super) fn is_implied(parent: &Parent, column: usize, driver: &LogicalPlan, key: &Column) -> bool {
    if column != parent.column {
        return false;
    }
    let Some(at) = driver.schema().maybe_index_of_column(key) else { return false };
    let Some((access, place)) = origin(driver, at) else { return false };
    place == parent.key && is_part(&access, &parent.of)
}

/// The scan spec and table column that a plan's column comes from. Each value but NULL comes from a row of that scan.
fn origin(plan: &LogicalPlan, at: usize) -> Option<(Access, usize)> {
    if let Some(access) = Access::of(plan) {
        let place = access.place(at)?;
        return Some((access, place));
    }
    match plan {
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, at),
        LogicalPlan::Filter(filter) => origin(&filter.input, at),
        LogicalPlan::Sort(sort) => origin(&sort.input, at),
        LogicalPlan::Limit(limit) => origin(&limit.input, at),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => origin(input, at),
        LogicalPlan::Projection(projection) => match projection.expr.get(at)?.clone().unalias() {
            Expr::Column(column) => {
                let input = &projection.input;
                origin(input, input.schema().maybe_index_of_column(&column)?)
            }
            _ => None,
        },
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                // An outer join adds only NULLs.
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => match at.checked_sub(left) {
                    None => origin(&join.left, at),
                    Some(at) => origin(&join.right, at),
                },
                JoinType::LeftSemi | JoinType::LeftAnti => origin(&join.left, at),
                JoinType::RightSemi | JoinType::RightAnti => origin(&join.right, at),
                _ => None,
            }
        }
        _ => None,
    }
}
