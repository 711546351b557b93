//! When a join makes sure of what a row filter asks for.
//!
//! `order` shows rows whose trackcode the caller sees. A query that joins `order` to `trackcode` by that key, where
//! `trackcode` is under its own row filter, has no other rows of `order`: asking again costs and changes nothing.

use std::sync::Arc;

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::access::{Access, Parent};

/// Whether every row of `some` is one of `all`. "No" where it is not plain to see.
fn is_part(some: &Access, all: &Access) -> bool {
    let has_all = all.filters.iter().all(|filter| some.filters.contains(filter));
    let has_parent = match (&all.parent, &some.parent) {
        (None, _) => true,
        (Some(all), Some(some)) => all.column == some.column && all.key == some.key && is_part(&some.of, &all.of),
        (Some(_), None) => false,
    };
    Arc::ptr_eq(&some.table, &all.table) && has_all && has_parent
}

/// Whether rows that are joined by `column` to this column of a plan have a parent for sure.
pub(super) fn is_implied(parent: &Parent, column: usize, driver: &LogicalPlan, key: &Column) -> bool {
    if column != parent.column {
        return false;
    }
    let Some(at) = driver.schema().maybe_index_of_column(key) else { return false };
    let Some((access, place)) = origin(driver, at) else { return false };
    place == parent.key && is_part(&access, &parent.of)
}

/// The access that a column of a plan comes from, and its place in the table. Every value of it that is not NULL is one of a
/// row of that access.
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
                // What an outer join adds is NULL.
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
