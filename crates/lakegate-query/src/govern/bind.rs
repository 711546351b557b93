//! Fills a template's placeholders with the caller's attributes and arguments, as literals of exactly their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use lakegate_core::value::{Scalar, Value};

use super::fingerprint::Fingerprint;
use super::literal;
use super::template::{Shape, item_id, padded};
use crate::shortcut::Slots;

/// Values by the ids of placeholders.
#[derive(Debug, Default)]
pub(crate) struct Bindings<'a> {
    values: BTreeMap<String, &'a Scalar>,
    has_long_lists: bool,
}

/// A value that the column it meets can not hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{id}` has no literal of type {data_type}")]
pub(crate) struct Unrepresentable {
    pub(crate) id: String,
    data_type: String,
}

impl<'a> Bindings<'a> {
    /// Adds a value under an id, and notes in the shape what the optimiser must know of it.
    pub(crate) fn add(&mut self, id: String, value: Option<&'a Value>, shape: &mut Shape) {
        match value {
            None => {
                shape.nulls.insert(id);
            }
            Some(Value::Scalar(scalar)) => {
                self.values.insert(id, scalar);
            }
            Some(Value::List(_, items)) => {
                let length = padded(items.len());
                // An empty list has no item to fill up with, and nothing to fill.
                let filling = items.first().into_iter().cycle();
                for (at, item) in items.iter().chain(filling).take(length).enumerate() {
                    self.values.insert(item_id(&id, at), item);
                }
                self.has_long_lists |= length >= LONG_LIST;
                shape.lists.insert(id, length);
            }
        }
    }

    /// Adds the values of these placeholders to a fingerprint. Others are not in the plan: the answer is the same for any
    /// value of theirs.
    pub(crate) fn add_to<'i>(&self, fingerprint: &mut Fingerprint, ids: impl Iterator<Item = &'i String>) {
        for (id, scalar) in ids.filter_map(|id| Some((id, self.values.get(id)?))) {
            fingerprint.part(id.as_bytes());
            fingerprint.part(scalar.scalar_type().name().as_bytes());
            fingerprint.text(scalar);
        }
    }

    /// The values in the order of their slots, each as a literal of exactly the slot's type.
    ///
    /// # Errors
    /// [`Unrepresentable`] as an external error; a placeholder without a value.
    pub(crate) fn literals(&self, slots: &Slots) -> Result<Arc<[ScalarValue]>> {
        let literal = |(id, data_type): (&str, &DataType)| {
            let Some(scalar) = self.values.get(id) else { return plan_err!("placeholder `{id}` has no value") };
            literal::literal(scalar, data_type).ok_or_else(|| {
                let fault = Unrepresentable { id: id.to_owned(), data_type: data_type.to_string() };
                DataFusionError::External(Box::new(fault))
            })
        };
        slots.iter().map(literal).collect()
    }

    /// Whether a list is so long that it is looked up.
    pub(crate) fn has_long_lists(&self) -> bool {
        self.has_long_lists
    }
}

/// The plan without placeholders. Types, and so schemas, stay as they are.
///
/// # Errors
/// A placeholder without a value.
pub(crate) fn filled(
    plan: LogicalPlan,
    slots: &Slots,
    values: &[ScalarValue],
    has_long_lists: bool,
) -> Result<LogicalPlan> {
    let filled = replace(plan, &|expr| {
        let Expr::Placeholder(placeholder) = &expr else { return Ok(Transformed::no(expr)) };
        match slots.find(placeholder).and_then(|slot| values.get(slot)) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => plan_err!("placeholder `{}` has no value", placeholder.id),
        }
    })?;
    if has_long_lists { fold_lists(filled) } else { Ok(filled) }
}

/// From this many comparisons on, a list is looked up faster than compared item by item.
const LONG_LIST: usize = 8;

/// Long chains of `x = 1 OR x = 2 …` as lists again: templates have no lists of placeholders, see `template`.
fn fold_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let folded = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let folded = expr.transform_down(|inner| Ok(fold_list(inner)))?;
            Ok(if folded.transformed { folded.update_data(|expr| name.restore(expr)) } else { folded })
        })
    })?;
    Ok(folded.data)
}

fn fold_list(expr: Expr) -> Transformed<Expr> {
    for (join, compare, negated) in [(Operator::Or, Operator::Eq, false), (Operator::And, Operator::NotEq, true)] {
        let mut leaves = Vec::new();
        leaves_of(&expr, join, &mut leaves);
        let Some(Expr::BinaryExpr(BinaryExpr { left: column, .. })) = leaves.first() else { continue };
        let item = |leaf: &&Expr| match leaf {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if *op == compare && left == column && matches!(**right, Expr::Literal(..)) =>
            {
                Some((**right).clone())
            }
            _ => None,
        };
        let items = leaves.iter().map(item).collect::<Option<Vec<_>>>();
        if let Some(list) = items.filter(|items| items.len() >= LONG_LIST) {
            return Transformed::yes(Expr::InList(InList { expr: column.clone(), list, negated }));
        }
    }
    Transformed::no(expr)
}

fn leaves_of<'e>(expr: &'e Expr, join: Operator, leaves: &mut Vec<&'e Expr>) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == join => {
            leaves_of(left, join, leaves);
            leaves_of(right, join, leaves);
        }
        leaf => leaves.push(leaf),
    }
}

/// The plan with NULL for every placeholder: the same plan to a planner, for `check`.
pub(crate) fn with_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    replace(plan, &|expr| match expr {
        Expr::Placeholder(Placeholder { field: Some(field), .. }) => {
            Ok(Transformed::yes(Expr::Literal(ScalarValue::try_from(field.data_type())?, None)))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Replaces placeholders; columns keep their names, which nodes above refer to.
fn replace(plan: LogicalPlan, with: &dyn Fn(Expr) -> Result<Transformed<Expr>>) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !has_placeholder(&expr)? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let replaced = expr.transform_up(with)?;
            Ok(replaced.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(replaced.data)
}

fn has_placeholder(expr: &Expr) -> Result<bool> {
    expr.exists(|inner| Ok(matches!(inner, Expr::Placeholder(_))))
}
