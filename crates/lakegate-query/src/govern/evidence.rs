//! Checks that an optimised plan still enforces a policy below its barrier: that the plan tests the policy's columns
//! and attributes and reads its tables.
//!
//! The optimiser may rewrite a policy, so this does not compare expressions. It is the second check: see
//! [`super::verify`].

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableScan};

use super::barrier::Barrier;
use super::inject::{Injection, table_of, tables_of};
use super::policy::{self, attribute_of};
use super::template::{self, Shape};

/// Everything that a policy's predicate tests.
#[derive(Debug, Default)]
struct Evidence {
    columns: BTreeSet<Column>,
    /// Attributes that are compared with the table's own columns.
    attributes: BTreeSet<String>,
    /// Attributes in subqueries.
    nested_attributes: BTreeSet<String>,
    tables: BTreeSet<String>,
}

/// Everything that the plan below a barrier tests.
#[derive(Debug, Default)]
struct Asked {
    columns: BTreeSet<Column>,
    attributes: BTreeSet<String>,
    tables: BTreeSet<String>,
    own_scan: Option<TableScan>,
    /// Whether a part of the plan was found to have no rows, so that its tests may be gone.
    empty_part: bool,
}

/// The first thing that the policy tests but the plan below its barrier does not; `None` if nothing is lost.
pub(super) fn lost(barrier: &Barrier, injection: &Injection<'_>, shape: &Shape) -> Result<Option<String>> {
    let table = barrier.table();
    let Some(predicate) = injection.predicate(table)? else { return Ok(None) };
    let asked = Asked::below(barrier)?;
    // Without a scan, there are no rows to hide.
    if asked.own_scan.is_none() {
        return Ok(None);
    }
    let fitted = without_false(template::fit_expr(predicate, shape)?);
    if is_false(&fitted) {
        return Ok(Some("that there is nothing to see".to_owned()));
    }
    let needed = Evidence::of(&fitted, shape)?;
    let column = needed.columns.iter().find(|column| !asked.columns.contains(*column));
    let attribute = needed.attributes.iter().find(|name| !asked.attributes.contains(*name));
    let nested = needed.nested_attributes.iter().find(|name| !asked.attributes.contains(*name) && !asked.empty_part);
    let read = needed.tables.iter().find(|name| !asked.tables.contains(*name) && !asked.empty_part);
    Ok(column
        .map(|column| format!("`{column}`"))
        .or_else(|| attribute.or(nested).map(|name| format!("`principal('{name}')`")))
        .or_else(|| read.map(|name| format!("the table `{name}`"))))
}

impl Evidence {
    fn of(predicate: &Expr, shape: &Shape) -> Result<Self> {
        let mut evidence = Self::default();
        predicate.apply(|inner| {
            match inner {
                Expr::Column(column) => {
                    evidence.columns.insert(column.clone());
                }
                Expr::Placeholder(placeholder) => evidence.attributes.extend(attribute(&placeholder.id)),
                _ => {}
            }
            if let Some(plan) = policy::subquery_of(inner) {
                evidence.tables.extend(tables_of(plan)?);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        policy::visit_with_subqueries(predicate, &mut |inner| {
            if let Expr::Placeholder(placeholder) = inner
                && shape.lists.get(&placeholder.id) != Some(&0)
            {
                evidence.nested_attributes.extend(attribute(&placeholder.id));
            }
        })?;
        Ok(evidence)
    }
}

impl Asked {
    fn below(barrier: &Barrier) -> Result<Self> {
        let mut asked = Self::default();
        barrier.input().apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => {
                    let table = table_of(scan)?;
                    if table == barrier.table() {
                        asked.own_scan = Some(scan.clone());
                    }
                    asked.tables.insert(table);
                }
                LogicalPlan::EmptyRelation(_) => asked.empty_part = true,
                _ => {}
            }
            // A plain column in a projection is read but not tested.
            let asks = |expr: &Expr| match node {
                LogicalPlan::Filter(_) | LogicalPlan::Join(_) => true,
                LogicalPlan::Projection(_) => !matches!(expr, Expr::Column(_)),
                _ => false,
            };
            node.apply_expressions(|expr| {
                if asks(expr) {
                    asked.expression(expr)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(asked)
    }

    fn expression(&mut self, expr: &Expr) -> Result<()> {
        expr.apply(|inner| {
            match inner {
                Expr::Column(column) => {
                    self.columns.insert(column.clone());
                }
                Expr::Placeholder(placeholder) => self.attributes.extend(attribute(&placeholder.id)),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

/// The attribute of a placeholder, or of an item of a list.
fn attribute(id: &str) -> Option<String> {
    attribute_of(id).map(|name| name.split('#').next().unwrap_or(name).to_owned())
}

fn is_false(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(false)), _))
}

/// `false OR a` becomes `a`; `false AND a` becomes `false`.
fn without_false(expr: Expr) -> Expr {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            match (without_false(*left), without_false(*right)) {
                (left, right) if is_false(&left) => right,
                (left, right) if is_false(&right) => left,
                (left, right) => left.or(right),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (without_false(*left), without_false(*right)) {
                (left, _) if is_false(&left) => left,
                (_, right) if is_false(&right) => right,
                (left, right) => left.and(right),
            }
        }
        other => other,
    }
}
