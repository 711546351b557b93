//! Which columns a caller gets, and in what order: the columns that its grants show, narrowed by `select` and ordered by
//! `order`. They become plan nodes over the endpoint's own.
//!
//! A column that the grants do not show is treated as one that does not exist, in every message too.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr};
use lakegate_core::catalog::Call;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::suggest_or_list;

/// The columns of an answer by their places in the endpoint's own, and the order of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Output {
    columns: Vec<usize>,
    /// Places, and whether from the greatest to the least.
    order: Vec<(usize, bool)>,
}

impl Output {
    /// What the call asks for and its grants show; `None` is everything as the endpoint gives it.
    ///
    /// # Errors
    /// [`Code::AccessNotGranted`] when no column is left, [`Code::ArgumentsInvalid`] for a name that the caller has not.
    pub(crate) fn of(call: &Call, schema: &SchemaRef) -> Result<Option<Self>, Error> {
        let (allowance, modifiers) = (call.allowance(), call.modifiers());
        if allowance.shows_all() && modifiers.select().is_none() && modifiers.order().is_empty() {
            return Ok(None);
        }
        let fields = schema.fields().iter().enumerate();
        let shown = fields.map(|(at, field)| (at, field.name().as_str())).filter(|(_, name)| allowance.shows(name));
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
        let order = modifiers.order().iter();
        let order = order.filter_map(|order| Some((place("order", &order.column)?, order.descending))).collect();
        if errors.is_empty() { Ok(Some(Self { columns, order })) } else { Err(Error::arguments(errors)) }
    }

    /// The plan with these columns in this order, NULL as the greatest value.
    pub(crate) fn over(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let columns = plan.schema().columns();
        let column = |at: &usize| Expr::Column(columns[*at].clone());
        let sort = self.order.iter().map(|(at, descending)| SortExpr::new(column(at), !descending, *descending));
        let builder = LogicalPlanBuilder::from(plan);
        let builder = if self.order.is_empty() { builder } else { builder.sort(sort.collect::<Vec<_>>())? };
        builder.project(self.columns.iter().map(column).collect::<Vec<_>>())?.build()
    }
}

/// Refuses a plan whose columns are not just those that were asked for: the second lock on column grants. Types are not
/// looked at: those of a `CASE` or a `UNION` over several types are not known before the optimiser, which also widens sums.
pub(crate) fn verify(plan: &LogicalPlan, endpoint: &LogicalPlan, output: Option<&Output>) -> Result<()> {
    let all = endpoint.schema();
    let places = output.map_or_else(|| (0..all.fields().len()).collect(), |output| output.columns.clone());
    let wanted = places.iter().map(|at| all.field(*at).name());
    let got = plan.schema().fields().iter().map(|field| field.name());
    if got.eq(wanted) { Ok(()) } else { plan_err!("the answer would have other columns than those that are granted") }
}

/// The Arrow schema of a plan.
pub(crate) fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}
