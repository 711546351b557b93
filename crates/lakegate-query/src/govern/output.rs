//! Shapes a call's output: the columns that the caller's grants show, narrowed by `select` and ordered by `order`, and
//! the requested part of the rows, or only the row count. These become plan nodes above the endpoint's own plan.
//!
//! A column that the grants do not show is treated as unknown, even in error messages.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, plan_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, lit};
use lakegate_core::catalog::{Call, RowRange};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::suggest_or_list;

use super::{order_key, window};

/// The columns of a response, as indexes into the endpoint's own columns, and the order and part of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Output {
    columns: Vec<usize>,
    /// Column indexes, and whether the order is descending.
    order: Vec<(usize, bool)>,
    rows: Rows,
}

/// The part of the rows that is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rows {
    All,
    /// A part. Each request binds its offset and limit.
    Part {
        has_limit: bool,
    },
    /// No rows. DataFusion 55.2 fails on a limit of 0 that it learns after planning.
    Nothing,
    /// Only the row count.
    Count,
}

/// The single column of a row count.
const COUNT: &str = "count";

impl Output {
    /// The output that the call asks for and its grants show; `None` for everything in the endpoint's own order.
    ///
    /// # Errors
    /// [`Code::AccessNotGranted`] if no column is left, [`Code::ArgumentsInvalid`] for a name that the caller does not
    /// see.
    pub(crate) fn of(call: &Call, schema: &SchemaRef) -> Result<Option<Self>, Error> {
        let (granted_access, modifiers) = (call.granted_access(), call.modifiers());
        let rows = match call.row_range() {
            None => Rows::All,
            Some(RowRange { limit: Some(0), .. }) => Rows::Nothing,
            Some(RowRange { limit, .. }) => Rows::Part { has_limit: limit.is_some() },
        };
        if granted_access.shows_all()
            && modifiers.select().is_none()
            && modifiers.order().is_empty()
            && rows == Rows::All
        {
            return Ok(None);
        }
        let fields = schema.fields().iter().enumerate();
        let shown =
            fields.map(|(at, field)| (at, field.name().as_str())).filter(|(_, name)| granted_access.shows(name));
        let shown = shown.collect::<Vec<_>>();
        if shown.is_empty() {
            let detail = format!("no column of endpoint `{}` is granted to this caller", call.endpoint().name);
            return Err(Error::new(Code::AccessNotGranted, detail).hint("ask the operator for a grant"));
        }
        let mut errors = Vec::new();
        let mut place = |modifier: &str, name: &str| {
            let found = shown.iter().find(|(_, shown)| *shown == name).map(|(at, _)| *at);
            if found.is_none() {
                let shortened: String = name.chars().filter(|each| !each.is_control()).take(64).collect();
                let error = Error::new(Code::ArgumentConstraint, format!("there is no column `{shortened}`"));
                let hint = suggest_or_list(&shortened, shown.iter().map(|(_, name)| *name));
                errors.push(error.parameter(modifier).hint(hint));
            }
            found
        };
        let columns = match modifiers.select() {
            Some(names) => names.iter().filter_map(|name| place("select", name)).collect(),
            None => shown.iter().map(|(at, _)| *at).collect(),
        };
        let is_shown = |name: &str| shown.iter().any(|(_, shown)| *shown == name);
        let mut unclear = None;
        let order = modifiers.order().iter().filter_map(|order| {
            // `a.desc` is a column in descending order, or a column of that name.
            let whole = format!("{}.desc", order.column);
            if order.descending && is_shown(&whole) {
                if is_shown(&order.column) {
                    unclear = Some(whole);
                    return None;
                }
                return Some((place("order", &whole)?, false));
            }
            Some((place("order", &order.column)?, order.descending))
        });
        let order = order.collect();
        if let Some(whole) = unclear {
            let error = Error::new(Code::ArgumentConstraint, format!("`{whole}` may mean two orders"));
            let hint = format!("write `{whole}.asc` for the column `{whole}`; the other one has to get another name");
            errors.push(error.parameter("order").hint(hint));
        }
        if errors.is_empty() { Ok(Some(Self { columns, order, rows })) } else { Err(Error::arguments(errors)) }
    }

    /// The row count of the output. Refuses every call that [`Output::of`] refuses.
    ///
    /// # Errors
    /// As for [`Output::of`].
    pub(crate) fn count_of(call: &Call, schema: &SchemaRef) -> Result<Self, Error> {
        Self::of(call, schema)?;
        Ok(Self { columns: Vec::new(), order: Vec::new(), rows: Rows::Count })
    }

    /// The plan with these columns in this order. NULL sorts as the greatest value.
    pub(crate) fn over(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let columns = plan.schema().columns();
        let column = |at: &usize| Expr::Column(columns[*at].clone());
        let key = |(at, descending): &(usize, bool)| {
            let by = order_key::number(column(at), plan.schema())?;
            Ok(SortExpr::new(by, !descending, *descending))
        };
        let order = self.order.iter().map(key).collect::<Result<Vec<_>>>()?;
        let ordered = match self.rows {
            Rows::Count => {
                let counted =
                    LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), [count(lit(1_i64)).alias(COUNT)])?;
                return counted.build();
            }
            Rows::All | Rows::Nothing if order.is_empty() => plan,
            Rows::All | Rows::Nothing => window::sorted(plan, order),
            Rows::Part { .. } if order.is_empty() => window::in_stable_order(plan, &self.columns)?,
            Rows::Part { .. } => window::ordered_by(plan, order, &self.columns)?,
        };
        let projected =
            LogicalPlanBuilder::from(ordered).project(self.columns.iter().map(column).collect::<Vec<_>>())?;
        let projected = projected.build()?;
        match self.rows {
            Rows::Part { has_limit } => Ok(window::part_of(projected, has_limit)),
            Rows::Nothing => LogicalPlanBuilder::from(projected).limit(0, Some(0))?.build(),
            _ => Ok(projected),
        }
    }
}

/// Refuses a plan whose columns are not exactly the requested ones: the second check of column grants. Does not compare
/// types, because the types of a `CASE` or a `UNION` over several types are unknown before the optimiser runs, and the
/// optimiser also widens sums.
pub(crate) fn verify(plan: &LogicalPlan, endpoint: &LogicalPlan, output: Option<&Output>) -> Result<()> {
    let all = endpoint.schema();
    let places = output.map_or_else(|| (0..all.fields().len()).collect(), |output| output.columns.clone());
    let is_count = output.is_some_and(|output| output.rows == Rows::Count);
    let wanted = places.iter().map(|at| all.field(*at).name().as_str()).chain(is_count.then_some(COUNT));
    let got = plan.schema().fields().iter().map(|field| field.name().as_str());
    if got.eq(wanted) { Ok(()) } else { plan_err!("the answer would have other columns than those that are granted") }
}

/// The Arrow schema of a plan.
pub(crate) fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    fn plan(names: &[&str]) -> LogicalPlan {
        let columns = names.iter().map(|name| lit(1_i64).alias(*name));
        LogicalPlanBuilder::empty(true).project(columns.collect::<Vec<_>>()).unwrap().build().unwrap()
    }

    #[test]
    fn a_plan_with_other_columns_than_those_that_are_granted_is_refused() {
        let endpoint = plan(&["id", "name", "secret"]);
        let output = |columns: &[usize], rows| Output { columns: columns.to_vec(), order: Vec::new(), rows };
        let whole = |names: &[&str]| verify(&plan(names), &endpoint, None).is_ok();
        assert!(whole(&["id", "name", "secret"]));
        assert!(!whole(&["id", "name"]) && !whole(&["id", "secret", "name"]) && !whole(&["id", "name", "secret", "x"]));
        for rows in [Rows::All, Rows::Part { has_limit: true }, Rows::Nothing] {
            let part = |names: &[&str]| verify(&plan(names), &endpoint, Some(&output(&[1, 0], rows))).is_ok();
            assert!(part(&["name", "id"]));
            assert!(
                !part(&["id", "name"]) && !part(&["name", "id", "secret"]) && !part(&["secret", "id"]) && !part(&[])
            );
        }
        let count = |names: &[&str]| verify(&plan(names), &endpoint, Some(&output(&[], Rows::Count))).is_ok();
        assert!(count(&["count"]) && !count(&["count", "secret"]) && !count(&["secret"]));
    }
}
