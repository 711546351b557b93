//! Binds the caller's attributes and the arguments to a template's placeholders, as literals of exactly their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{EmptyRelation, Expr, Limit, LogicalPlan};
use lakegate_core::value::{Scalar, Value};

use super::fingerprint::Fingerprint;
use super::template::{LONG, Shape, item_id, padded};
use super::{literal, one_of};
use crate::shortcut::Slots;

/// Values by placeholder id.
#[derive(Debug, Default)]
pub(crate) struct Bindings<'a> {
    values: BTreeMap<String, &'a Scalar>,
    /// Lists that are looked up in a set.
    long_lists: BTreeMap<String, &'a [Scalar]>,
}

/// A value that the column it is compared with cannot hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{id}` has no literal of type {data_type}")]
pub(crate) struct Unrepresentable {
    pub(crate) id: String,
    data_type: String,
}

impl<'a> Bindings<'a> {
    /// Adds a value under an id, and records in the shape what the optimiser must know about it.
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
                if length == LONG {
                    self.long_lists.insert(id.clone(), items);
                    shape.lists.insert(id, length);
                    return;
                }
                // An empty list has no item to repeat, and its length is 0.
                let filling = items.first().into_iter().cycle();
                for (at, item) in items.iter().chain(filling).take(length).enumerate() {
                    self.values.insert(item_id(&id, at), item);
                }
                shape.lists.insert(id, length);
            }
        }
    }

    /// Adds the values of these placeholders to a fingerprint. The plan has no other placeholders, so other values do
    /// not change the result.
    pub(crate) fn add_to<'i>(&self, fingerprint: &mut Fingerprint, ids: impl Iterator<Item = &'i String>) {
        for id in ids {
            let items = match (self.values.get(id), self.long_lists.get(id)) {
                (Some(scalar), _) => std::slice::from_ref(*scalar),
                (None, Some(items)) => *items,
                (None, None) => continue,
            };
            fingerprint.part(id.as_bytes());
            // Lists of one shape may differ in length. A value and a list of one have different shapes.
            fingerprint.part(&items.len().to_le_bytes());
            for scalar in items {
                fingerprint.part(scalar.scalar_type().name().as_bytes());
                fingerprint.text(scalar);
            }
        }
    }

    /// The values in slot order, each as a literal of exactly the slot's type.
    ///
    /// # Errors
    /// [`Unrepresentable`] as an external error; a placeholder without a value.
    pub(crate) fn literals(&self, slots: &Slots) -> Result<Arc<[ScalarValue]>> {
        let literal = |id: &str, scalar: &Scalar, data_type: &DataType| {
            literal::literal(scalar, data_type).ok_or_else(|| {
                let fault = Unrepresentable { id: id.to_owned(), data_type: data_type.to_string() };
                DataFusionError::External(Box::new(fault))
            })
        };
        let value = |(id, data_type): (&str, &DataType)| match (self.long_lists.get(id), one_of::item_type(data_type)) {
            (Some(items), Some(item)) => {
                let items = items.iter().map(|scalar| literal(id, scalar, item)).collect::<Result<_>>()?;
                Ok(one_of::list_value(items, item))
            }
            _ => match self.values.get(id) {
                Some(scalar) => literal(id, scalar, data_type),
                None => plan_err!("placeholder `{id}` has no value"),
            },
        };
        slots.iter().map(value).collect()
    }
}

/// The plan with its placeholders replaced by values. Does not change types or schemas.
///
/// # Errors
/// A placeholder without a value.
pub(crate) fn filled(plan: LogicalPlan, slots: &Slots, values: &[ScalarValue]) -> Result<LogicalPlan> {
    let filled = replace(plan, &|expr| {
        let Expr::Placeholder(placeholder) = &expr else {
            return match one_of::parts(&expr) {
                Some(_) => Ok(Transformed::yes(one_of::as_in_list(expr)?)),
                None => Ok(Transformed::no(expr)),
            };
        };
        match slots.find(placeholder).and_then(|slot| values.get(slot)) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => plan_err!("placeholder `{}` has no value", placeholder.id),
        }
    })?;
    without_rows(filled)
}

/// Replaces `LIMIT 0` with a plan without rows, because a top-k operator cannot keep 0 rows.
fn without_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_zero = |fetch: &Expr| matches!(fetch, Expr::Literal(ScalarValue::Int64(Some(0)), _));
    let emptied = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Limit(Limit { fetch: Some(fetch), .. }) if is_zero(fetch) => {
            let schema = Arc::clone(node.schema());
            Ok(Transformed::yes(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema })))
        }
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(emptied.data)
}

/// The plan with NULL for every placeholder, which plans like the original; for `check`.
pub(crate) fn with_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    replace(plan, &|expr| match expr {
        Expr::Placeholder(Placeholder { field: Some(field), .. }) => {
            Ok(Transformed::yes(Expr::Literal(ScalarValue::try_from(field.data_type())?, None)))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Replaces placeholders. Columns keep their names, because nodes above refer to them.
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
