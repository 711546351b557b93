//! Enforces `min_group_size`: rewrites an endpoint's plan so that groups with fewer subjects are not in the response.
//!
//! The outermost aggregation also counts the distinct subjects of each group, and a filter directly above it drops the
//! groups with too few. No operator between that filter and the response may add other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, TableReference};
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::expr_fn::count_distinct;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias};
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::project::{Finding, SmallGroups};

use super::identifiers::{self, Relation};
use super::place::Place;
use super::sql;
use crate::govern::policy::{node_has_subquery, subquery_of};

/// The column of counted subjects, which only the filter sees.
const SUBJECTS: &str = "__lakegate_subjects";

/// The plan without small groups.
pub(crate) fn without_small(
    plan: LogicalPlan,
    groups: &SmallGroups,
    session: &SessionState,
) -> Result<LogicalPlan, Vec<Finding>> {
    let place = Place::String(&groups.subject_position);
    let (subject, _) = sql::parse_predicate(&groups.subject, &place)?;
    if !matches!(subject, SqlExpr::Identifier(_) | SqlExpr::CompoundIdentifier(_)) {
        let finding = place.finding(Span::empty(), "`subject` is not a column");
        return Err(vec![finding.help("name a column of the rows that are grouped, such as `t.client_id`")]);
    }
    rewritten(plan, groups, &subject, session, &place)
}

fn rewritten(
    plan: LogicalPlan,
    groups: &SmallGroups,
    subject: &SqlExpr,
    session: &SessionState,
    place: &Place<'_>,
) -> Result<LogicalPlan, Vec<Finding>> {
    let fault = |error: DataFusionError| vec![place.error(&error)];
    if let LogicalPlan::Aggregate(aggregate) = plan {
        if let Some((fault, help)) = unheld(&aggregate) {
            return Err(vec![place.finding(Span::empty(), fault).help(help)]);
        }
        let ambiguous = identifiers::ambiguous(subject, &relations(aggregate.input.schema()), place);
        if !ambiguous.is_empty() {
            return Err(ambiguous);
        }
        let named = ExprWithAlias { expr: subject.clone(), alias: None };
        let column = session.create_logical_expr_from_sql_expr(named, aggregate.input.schema()).map_err(fault)?;
        return filtered(aggregate, column, groups.least).map_err(fault);
    }
    let passes = matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(Distinct::All(_))
    );
    let mut inputs = plan.inputs().into_iter().cloned().collect::<Vec<_>>();
    let (true, Some(input), true) = (passes, inputs.pop(), inputs.is_empty()) else {
        let finding = place.finding(Span::empty(), "`min_group_size` needs a query that groups its rows at the end");
        return Err(vec![finding.help("write the query as one `SELECT … GROUP BY …` over whatever it reads")]);
    };
    if node_has_subquery(&plan) {
        let finding =
            place.finding(Span::empty(), "a subquery beside the groups would not be held to `min_group_size`");
        return Err(vec![finding.help("move it into the rows that are grouped")]);
    }
    let input = rewritten(input, groups, subject, session, place)?;
    plan.with_new_exprs(plan.expressions(), vec![input]).map_err(fault)
}

/// The tables whose rows are grouped, under their names in the query.
fn relations(schema: &DFSchema) -> Vec<Relation> {
    let mut tables = BTreeMap::<Option<&TableReference>, Vec<FieldRef>>::new();
    for (table, field) in schema.iter() {
        tables.entry(table).or_default().push(Arc::clone(field));
    }
    let relation = |(table, fields): (Option<&TableReference>, Vec<FieldRef>)| Relation {
        names: table.map(|table| table.table().to_owned()).into_iter().collect(),
        schema: Arc::new(Schema::new(fields)),
    };
    tables.into_iter().map(relation).collect()
}

/// Functions that return values of single rows, whatever the size of the group.
const LISTING: &[&str] = &["array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// The first part of an aggregation that would reveal small groups, as a message and a suggested fix.
fn unheld(aggregate: &Aggregate) -> Option<(&'static str, &'static str)> {
    let has = |exprs: &[Expr], is: &dyn Fn(&Expr) -> bool| {
        exprs.iter().any(|expr| expr.exists(|inner| Ok(is(inner))).unwrap_or(true))
    };
    let (groups, values) = (&aggregate.group_expr, &aggregate.aggr_expr);
    if has(groups, &|inner| matches!(inner, Expr::GroupingSet(_))) {
        return Some((
            "`ROLLUP`, `CUBE` and `GROUPING SETS` do not go with `min_group_size`: a total less its parts is a group that is left out",
            "write one `GROUP BY`",
        ));
    }
    if has(values, &|inner| matches!(inner, Expr::Placeholder(_))) {
        return Some((
            "a parameter inside an aggregate does not go with `min_group_size`: it could pick one subject of a group",
            "use the parameter in `WHERE`",
        ));
    }
    if has(values, &|inner| subquery_of(inner).is_some()) || has(groups, &|inner| subquery_of(inner).is_some()) {
        return Some((
            "a subquery beside the groups would not be held to `min_group_size`",
            "move it into the rows that are grouped",
        ));
    }
    let lists = |inner: &Expr| matches!(inner, Expr::AggregateFunction(call) if LISTING.contains(&call.func.name()));
    has(values, &lists)
        .then_some(("a function that lists values does not go with `min_group_size`", "count, sum or average them"))
}

fn filtered(aggregate: Aggregate, subject: Expr, least: u64) -> Result<LogicalPlan> {
    let least = i64::try_from(least).unwrap_or(i64::MAX);
    let columns = aggregate.schema.columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
    let mut counted = aggregate.aggr_expr.clone();
    counted.push(count_distinct(subject).alias(SUBJECTS));
    let aggregate = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr, counted)?;
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(aggregate))
        .filter(Expr::Column(Column::from_name(SUBJECTS)).gt_eq(lit(least)))?
        .project(columns)?
        .build()
}
