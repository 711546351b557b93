//! Selects a part of a response's rows: makes the order total, and adds the offset and the limit.
//!
//! Two requests for two parts of one result run its query twice. Rows that are equal in the endpoint's order may come
//! out differently in each run. So the columns of the response are appended to the sort, each by a key that
//! distinguishes all its values ([`super::order_key`]). Rows that are still equal are identical for the caller.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection, Sort, SortExpr};
use lakegate_core::catalog::RowRange;
use lakegate_core::value::{Scalar, Value};

use super::bind::Bindings;
use super::order_key;
use super::policy::has_subquery;
use super::template::Shape;

/// The placeholder of the number of rows to skip.
const OFFSET: &str = "$window.offset";
/// The placeholder of the maximum number of rows to return.
const LIMIT: &str = "$window.limit";

/// Whether a placeholder selects a part of the rows and does not change the rows.
pub(crate) fn is_window(id: &str) -> bool {
    id == OFFSET || id == LIMIT
}

/// The offset and limit of a window, as values to bind.
pub(super) struct Numbers {
    offset: Value,
    limit: Value,
}

impl Numbers {
    pub(super) fn of(row_range: Option<RowRange>) -> Self {
        let number = |number: u64| Value::Scalar(Scalar::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
        let (offset, limit) = row_range.map_or((0, None), |row_range| (row_range.offset, row_range.limit));
        Self { offset: number(offset), limit: number(limit.unwrap_or_default()) }
    }

    pub(super) fn bind<'a>(&'a self, bindings: &mut Bindings<'a>, shape: &mut Shape) {
        bindings.add(OFFSET.to_owned(), Some(&self.offset), shape);
        bindings.add(LIMIT.to_owned(), Some(&self.limit), shape);
    }
}

/// The plan under a limit whose offset and fetch are bound with each request. Without a limit, the plan has no fetch,
/// because a fetch makes DataFusion run the sort as a slower top-k.
pub(super) fn part_of(plan: LogicalPlan, has_limit: bool) -> LogicalPlan {
    let number = |id: &str| {
        let field = Arc::new(Field::new("", DataType::Int64, false));
        Some(Box::new(Expr::Placeholder(Placeholder::new_with_field(id.to_owned(), Some(field)))))
    };
    let fetch = if has_limit { number(LIMIT) } else { None };
    LogicalPlan::Limit(Limit { skip: number(OFFSET), fetch, input: Arc::new(plan) })
}

/// The plan in its own order, with these columns appended as keys.
pub(super) fn in_stable_order(plan: LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
    let keys = columns_at(&plan, columns);
    match completed(&plan, &keys)? {
        Some(ordered) => Ok(ordered),
        // The endpoint has no order of its own.
        None => ordered_by(plan, Vec::new(), columns),
    }
}

/// The plan ordered by these keys first, with these columns appended as keys.
pub(super) fn ordered_by(plan: LogicalPlan, mut order: Vec<SortExpr>, columns: &[usize]) -> Result<LogicalPlan> {
    let keys = columns_at(&plan, columns);
    complete(&mut order, &keys, plan.schema())?;
    Ok(sorted(plan, order))
}

/// The plan sorted by keys over its own columns. DataFusion's builder would resolve a key that is in a sort below to a
/// column.
pub(super) fn sorted(plan: LogicalPlan, order: Vec<SortExpr>) -> LogicalPlan {
    match order.is_empty() {
        true => plan,
        false => LogicalPlan::Sort(Sort { expr: order, input: Arc::new(plan), fetch: None }),
    }
}

fn columns_at(plan: &LogicalPlan, columns: &[usize]) -> Vec<Expr> {
    columns.iter().map(|at| Expr::Column(Column::from(plan.schema().qualified_field(*at)))).collect()
}

/// Appends the keys, which are expressions over the plan's own columns, to the sort at the top of the plan; `None` if
/// there is no sort at the top.
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

/// The expression of a projection that a column refers to.
fn below(key: &Expr, projection: &Projection) -> Result<Expr> {
    let Expr::Column(column) = key else { return Ok(key.clone()) };
    let at = projection.schema.index_of_column(column)?;
    Ok(projection.expr[at].clone().unalias_nested().data)
}

/// Appends the keys that are missing and useful.
fn complete(order: &mut Vec<SortExpr>, keys: &[Expr], schema: &DFSchema) -> Result<()> {
    for key in keys {
        // A subquery is not computed a second time for an order.
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
