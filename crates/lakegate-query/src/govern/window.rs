//! A part of an answer's rows: an order in which every row has one place, and the number of rows to leave out and to give.
//!
//! Two requests for two parts of one answer are two runs of its query. Between rows that an order does not tell apart a
//! run may choose, and not every run chooses alike; so what the endpoint orders by is completed with the columns of the
//! answer, each by a key that tells all its values apart ([`super::order_key`]). Rows that are still alike then are the same
//! rows to the caller.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection, Sort, SortExpr};
use lakegate_core::catalog::Window;
use lakegate_core::value::{Scalar, Value};

use super::bind::Bindings;
use super::order_key;
use super::policy::has_subquery;
use super::template::Shape;

/// The placeholder of the number of rows to leave out.
const OFFSET: &str = "$window.offset";
/// The placeholder of the most rows to give.
const LIMIT: &str = "$window.limit";

/// Whether a placeholder says which part of the rows is given, and not what the rows are.
pub(crate) fn is_window(id: &str) -> bool {
    id == OFFSET || id == LIMIT
}

/// The numbers of a window as values to bind.
pub(super) struct Numbers {
    offset: Value,
    limit: Value,
}

impl Numbers {
    pub(super) fn of(window: Option<Window>) -> Self {
        let number = |number: u64| Value::Scalar(Scalar::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
        let (offset, limit) = window.map_or((0, None), |window| (window.offset, window.limit));
        Self { offset: number(offset), limit: number(limit.unwrap_or_default()) }
    }

    pub(super) fn bind<'a>(&'a self, bindings: &mut Bindings<'a>, shape: &mut Shape) {
        bindings.add(OFFSET.to_owned(), Some(&self.offset), shape);
        bindings.add(LIMIT.to_owned(), Some(&self.limit), shape);
    }
}

/// The plan, of which only a part of the rows is given: how many is bound with each request. Without a limit there is none
/// in the plan either, since a limit makes the engine keep the first rows of a sort in another, slower way.
pub(super) fn part_of(plan: LogicalPlan, has_limit: bool) -> LogicalPlan {
    let number = |id: &str| {
        let field = Arc::new(Field::new("", DataType::Int64, false));
        Some(Box::new(Expr::Placeholder(Placeholder::new_with_field(id.to_owned(), Some(field)))))
    };
    let fetch = if has_limit { number(LIMIT) } else { None };
    LogicalPlan::Limit(Limit { skip: number(OFFSET), fetch, input: Arc::new(plan) })
}

/// The plan in its own order, completed by these columns.
pub(super) fn in_stable_order(plan: LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
    let keys = columns_at(&plan, columns);
    match completed(&plan, &keys)? {
        Some(ordered) => Ok(ordered),
        // The endpoint says nothing of its order.
        None => ordered_by(plan, Vec::new(), columns),
    }
}

/// The plan ordered by these keys first, and completed by these columns.
pub(super) fn ordered_by(plan: LogicalPlan, mut order: Vec<SortExpr>, columns: &[usize]) -> Result<LogicalPlan> {
    let keys = columns_at(&plan, columns);
    complete(&mut order, &keys, plan.schema())?;
    Ok(sorted(plan, order))
}

/// The plan sorted by keys over its own columns. DataFusion's builder would take a key that stands in a sort below for a column.
pub(super) fn sorted(plan: LogicalPlan, order: Vec<SortExpr>) -> LogicalPlan {
    match order.is_empty() {
        true => plan,
        false => LogicalPlan::Sort(Sort { expr: order, input: Arc::new(plan), fetch: None }),
    }
}

fn columns_at(plan: &LogicalPlan, columns: &[usize]) -> Vec<Expr> {
    columns.iter().map(|at| Expr::Column(Column::from(plan.schema().qualified_field(*at)))).collect()
}

/// The plan with the sort at its top completed by the keys, which are expressions over the plan's own columns; `None`
/// when there is no sort at its top.
fn completed(plan: &LogicalPlan, keys: &[Expr]) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let mut sort = sort.clone();
            complete(&mut sort.expr, keys, sort.input.schema())?;
            Ok(Some(LogicalPlan::Sort(sort)))
        }
        LogicalPlan::Limit(limit) => Ok(completed(&limit.input, keys)?
            .map(|input| LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit.clone() }))),
        LogicalPlan::Projection(projection) => {
            let below = keys.iter().map(|key| below(key, projection)).collect::<Result<Vec<_>>>()?;
            let Some(input) = completed(&projection.input, &below)? else { return Ok(None) };
            Projection::try_new_with_schema(projection.expr.clone(), Arc::new(input), Arc::clone(&projection.schema))
                .map(|projection| Some(LogicalPlan::Projection(projection)))
        }
        _ => Ok(None),
    }
}

/// A column of a projection as what it is made of.
fn below(key: &Expr, projection: &Projection) -> Result<Expr> {
    let Expr::Column(column) = key else { return Ok(key.clone()) };
    let at = projection.schema.index_of_column(column)?;
    Ok(projection.expr[at].clone().unalias_nested().data)
}

/// Adds the keys that are not there yet and by which rows can be told apart.
fn complete(order: &mut Vec<SortExpr>, keys: &[Expr], schema: &DFSchema) -> Result<()> {
    for key in keys {
        // A subquery is not computed once more for an order.
        if has_subquery(key) {
            continue;
        }
        let key = order_key::exact(key.clone(), schema)?;
        if !order.iter().any(|there| there.expr == key) {
            order.push(ascending(key));
        }
    }
    Ok(())
}

fn ascending(key: Expr) -> SortExpr {
    SortExpr::new(key, true, false)
}
