//! Recognises row filters that say whose a row is: directly by a column, or through the key of a parent table.
//!
//! What such a filter means can be computed once for every row (see `lake::owners`): the row's owner. A scan with owners
//! is then filtered by the owner alone, which is the same rows without a join.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::expr::{InList, InSubquery};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::inject::table_of;
use super::policy::Policies;
use crate::lake::OWNER_COLUMN;

/// `column IN (SELECT key FROM parent)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) column: String,
    pub(crate) parent: String,
    pub(crate) key: String,
}

/// The link that a predicate is, if it is just that.
pub(crate) fn link(predicate: &Expr) -> Option<Link> {
    let Expr::InSubquery(InSubquery { expr, subquery, negated: false }) = predicate else { return None };
    let (Expr::Column(column), LogicalPlan::Projection(projection)) = (expr.as_ref(), subquery.subquery.as_ref())
    else {
        return None;
    };
    let (LogicalPlan::TableScan(scan), [Expr::Column(key)]) = (projection.input.as_ref(), projection.expr.as_slice())
    else {
        return None;
    };
    let whole = scan.filters.is_empty() && scan.fetch.is_none() && subquery.outer_ref_columns.is_empty();
    let parent = table_of(scan).ok()?;
    whole.then(|| Link { column: column.name.clone(), parent, key: key.name.clone() })
}

/// The column whose value is the owner, if a predicate is `column = principal('a')` or `column IN (principal('a'), …)`.
pub(crate) fn owner_column(predicate: &Expr) -> Option<&str> {
    let is_attribute = |expr: &Expr| matches!(expr, Expr::Placeholder(_));
    let column = match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_attribute(right) => left,
        Expr::InList(InList { expr, list, negated: false }) if list.iter().all(is_attribute) => expr,
        _ => return None,
    };
    match column.as_ref() {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

/// The tables from one that is governed through links up to the one that names the owner, both included; `None` when
/// its filter is of another form.
pub(crate) fn chain<'a>(policies: &'a Policies, table: &'a str) -> Option<Vec<&'a str>> {
    let mut chain = vec![table];
    loop {
        let filter = chain.last().and_then(|last| policies.filter(last))?;
        if owner_column(&filter.predicate).is_some() {
            return Some(chain);
        }
        let link = link(&filter.predicate)?;
        // Cycles were refused when the policies were compiled, so this ends.
        chain.push(filter.reads.iter().find(|read| link.parent == **read)?);
    }
}

/// The root's predicate, asked of the owner column of `scan`.
pub(crate) fn owner_predicate(root: &Expr, scan: &TableReference) -> Result<Expr> {
    let asked = root.clone().transform_up(|inner| match inner {
        Expr::Column(_) => Ok(Transformed::yes(Expr::Column(Column::new(Some(scan.clone()), OWNER_COLUMN)))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(asked.data)
}

/// Computes owners for all tables that are governed through links and are in memory with their parents.
pub(crate) fn compute(policies: &Policies, tables: &[Arc<crate::lake::LakeTable>]) -> Result<()> {
    let find = |name: &str| tables.iter().find(|table| table.name() == name);
    let mut chains = policies.filters().filter_map(|(table, _)| chain(policies, table)).collect::<Vec<_>>();
    // Parents first: an owner is handed down.
    chains.sort_by_key(Vec::len);
    for chain in chains.iter().filter(|chain| chain.len() > 1) {
        let (Some(child), Some(parent)) = (find(chain[0]), find(chain[1])) else { continue };
        let Some(link) = policies.filter(chain[0]).and_then(|filter| link(&filter.predicate)) else { continue };
        let direct = policies.filter(chain[1]).and_then(|filter| owner_column(&filter.predicate));
        child.inherit(&link.column, parent, &link.key, direct)?;
    }
    Ok(())
}
