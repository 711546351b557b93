//! Analyzer rule that makes arithmetic and comparisons exact; runs after type coercion and before the optimiser.

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::checked::checked;
use super::compare::{exact_comparison, literal, whole_literal};
use super::date_steps;
use super::floats;
use super::guarded::guarded;
use super::intervals;
use super::moments::in_microseconds;
use super::time_casts::without_guess;
use super::windows;
use crate::floats::{canonical_scalar, has_floats};

/// The rule.
#[derive(Debug)]
pub(crate) struct ExactRule;

impl AnalyzerRule for ExactRule {
    fn name(&self) -> &str {
        "exact"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact_plan = plan.transform_up_with_subqueries(|node| {
            if let LogicalPlan::Join(join) = &node {
                intervals::refuse(join.on.iter().map(|(left, _)| left), join.left.schema())?;
                for (left, right) in &join.on {
                    if changes(left, join.left.schema()) || changes(right, join.right.schema()) {
                        return plan_err!("{MIXED_NUMBERS}");
                    }
                }
            }
            let inputs = node.inputs();
            let schema = if inputs.is_empty() { DFSchema::clone(node.schema()) } else { merge_schema(&inputs) };
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let exact = exact(expr, &schema)?;
                Ok(exact.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(exact_plan.data)
    }
}

/// Whether type coercion has changed the value of a number for a comparison.
fn changes(expr: &Expr, schema: &DFSchema) -> bool {
    lossy(expr, schema).is_some() || cut_float(expr, schema).is_some() || is_lossy_list(expr, schema)
}

/// Whether integers inside lists or structs were cast to floats that cannot represent them all.
fn is_lossy_list(expr: &Expr, schema: &DFSchema) -> bool {
    fn loses(of: &DataType, to: &DataType) -> bool {
        match (of, to) {
            (DataType::List(of) | DataType::LargeList(of), DataType::List(to) | DataType::LargeList(to)) => {
                loses(of.data_type(), to.data_type())
            }
            (DataType::Struct(of), DataType::Struct(to)) => {
                of.iter().zip(to).any(|(of, to)| loses(of.data_type(), to.data_type()))
            }
            (DataType::Int64 | DataType::UInt64, to) => to.is_floating(),
            (DataType::Int32 | DataType::UInt32, to) => matches!(to, DataType::Float32 | DataType::Float16),
            _ => false,
        }
    }
    match expr {
        Expr::Cast(Cast { expr, field }) if field.data_type().is_nested() => {
            expr.get_type(schema).is_ok_and(|of| loses(&of, field.data_type()))
        }
        _ => false,
    }
}

/// Functions that compare their arguments, or items of them.
const COMPARING: [&str; 13] = [
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_replace",
    "array_replace_all",
    "array_union",
    "nullif",
];

const MIXED_NUMBERS: &str = "whole numbers of 64 bits or decimals would be compared as numbers with a fraction, where two of \
                             them may be one; cast the other side to `BIGINT` or both to `DECIMAL`";

/// Makes an expression exact; its types must be coerced already.
pub(crate) fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|inner| {
        Ok(match inner {
            Expr::WindowFunction(call) => {
                Transformed::yes(Expr::WindowFunction(Box::new(windows::exact(*call, schema)?)))
            }
            Expr::AggregateFunction(call) => {
                Transformed::yes(Expr::AggregateFunction(windows::aggregate(call, schema)?))
            }
            Expr::ScalarFunction(call)
                if COMPARING.contains(&call.name()) && call.args.iter().any(|arg| changes(arg, schema)) =>
            {
                return plan_err!("{MIXED_NUMBERS}");
            }
            // DataFusion compares values by their bits, but `0.0 = -0.0`.
            Expr::ScalarFunction(mut call) if call.name() == "nullif" && is_of_floats(&call.args, schema)? => {
                let args = std::mem::take(&mut call.args);
                call.args = args.into_iter().map(|arg| windows::one_zero(arg, schema)).collect::<Result<_>>()?;
                Transformed::yes(Expr::ScalarFunction(call))
            }
            // If the rule runs again, it must not convert twice.
            Expr::ScalarFunction(mut call) if floats::is_one_form(&call.func) => {
                call.args = call.args.into_iter().map(floats::as_computed).collect();
                Transformed::yes(Expr::ScalarFunction(call))
            }
            Expr::ScalarFunction(call) => {
                if ["greatest", "least", "nullif"].contains(&call.name()) {
                    intervals::refuse(&call.args, schema)?;
                }
                if let ("range" | "generate_series", [from, _, step]) = (call.name(), call.args.as_slice()) {
                    date_steps::refuse(&from.get_type(schema)?, &step.get_type(schema)?, step)?;
                }
                guarded(call).update_data(Expr::ScalarFunction)
            }
            Expr::Cast(Cast { expr, field }) => {
                let expr = without_guess(*expr, &field, schema)?;
                let of = expr.get_type(schema)?;
                let exact = floats::exact_cast(&expr, &of, field.data_type(), false);
                Transformed::yes(exact.unwrap_or_else(|| Expr::Cast(Cast { expr: Box::new(expr), field })))
            }
            Expr::TryCast(TryCast { expr, field }) => {
                let expr = without_guess(*expr, &field, schema)?;
                let of = expr.get_type(schema)?;
                let exact = floats::exact_cast(&expr, &of, field.data_type(), true);
                Transformed::yes(exact.unwrap_or_else(|| Expr::TryCast(TryCast { expr: Box::new(expr), field })))
            }
            Expr::Literal(value, metadata) if has_floats(&value.data_type()) => {
                Transformed::yes(Expr::Literal(canonical_scalar(value)?, metadata))
            }
            Expr::BinaryExpr(binary) => binary_expr(binary, schema)?,
            Expr::Negative(value) => negative(*value, schema)?,
            Expr::Case(case) => searched(case, schema)?,
            Expr::InList(list) => in_list(list, schema)?,
            Expr::Between(between) => self::between(between, schema)?,
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                if changes(&expr, schema) || gives_changed(&subquery.subquery) {
                    return plan_err!("{MIXED_NUMBERS}");
                }
                Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated }))
            }
            Expr::SetComparison(comparison)
                if changes(&comparison.expr, schema) || gives_changed(&comparison.subquery.subquery) =>
            {
                return plan_err!("{MIXED_NUMBERS}");
            }
            other => Transformed::no(other),
        })
    })
}

fn is_nested_order(op: Operator, data_type: &DataType) -> bool {
    matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) && data_type.is_nested()
}

fn is_of_floats(args: &[Expr], schema: &DFSchema) -> Result<bool> {
    args.first().map_or(Ok(false), |arg| Ok(arg.get_type(schema)?.is_floating()))
}

fn binary_expr(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let BinaryExpr { left, op, right } = binary;
    if is_nested_order(op, &left.get_type(schema)?) {
        return plan_err!(
            "lists and rows of values have no order here: compare their parts, as in `a < 1 OR a = 1 AND b < 2`"
        );
    }
    if op.supports_propagation() && [&left, &right].into_iter().any(|side| is_lossy_list(side, schema)) {
        return plan_err!("{MIXED_NUMBERS}");
    }
    match op {
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            let types = (left.get_type(schema)?, right.get_type(schema)?);
            date_steps::refuse(&types.0, &types.1, &right)?;
            date_steps::refuse(&types.1, &types.0, &left)?;
            // Floats have infinity for values that are too large.
            if types.0.is_floating() && types.1.is_floating() {
                let (left, right) = (floats::as_computed(*left), floats::as_computed(*right));
                let computed = datafusion::logical_expr::binary_expr(left, op, right);
                return Ok(Transformed::yes(floats::in_one_form(computed)));
            }
            if types.0.is_null() || types.1.is_null() || always_fits(&types.0, op, &types.1) {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            Ok(Transformed::yes(checked(*left, op, *right)))
        }
        Operator::StringConcat => Ok(Transformed::yes(checked(*left, op, *right))),
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => Ok(match compared(&left, op, &right, schema) {
            _ if let Some([left, right]) = intervals::as_durations([&left, &right], schema)? => {
                Transformed::yes(datafusion::logical_expr::binary_expr(left, op, right))
            }
            _ if let Some([left, right]) = in_microseconds([&left, &right], schema)? => {
                Transformed::yes(datafusion::logical_expr::binary_expr(left, op, right))
            }
            Some(compared) => Transformed::yes(compared),
            None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
        }),
        _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
    }
}

/// Whether the result type holds all digits of a decimal operation, so that no check is needed.
fn always_fits(left: &DataType, op: Operator, right: &DataType) -> bool {
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (left, right) else { return false };
    let (p1, s1, p2, s2) = (i32::from(*p1), i32::from(*s1), i32::from(*p2), i32::from(*s2));
    let digits = match op {
        Operator::Plus | Operator::Minus => s1.max(s2) + (p1 - s1).max(p2 - s2) + 1,
        Operator::Multiply => p1 + p2 + 1,
        _ => return false,
    };
    digits <= i32::from(DECIMAL128_MAX_PRECISION)
}

/// The float that DataFusion casts to a decimal for a comparison, which truncates it. A cast in the query itself has a
/// smaller scale.
fn cut_float<'e>(expr: &'e Expr, schema: &DFSchema) -> Option<&'e Expr> {
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    let (DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale)) = field.data_type() else { return None };
    // A literal, or a value computed from literals, keeps its digits.
    if !expr.any_column_refs() {
        return None;
    }
    match expr.get_type(schema).ok()? {
        DataType::Float64 => (*scale >= 15).then_some(expr),
        DataType::Float32 | DataType::Float16 => (*scale >= 7).then_some(expr),
        _ => None,
    }
}

/// Compares a decimal and a float as 64-bit floats, as PostgreSQL and DuckDB do.
fn as_doubles(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    let double = |expr: &Expr| datafusion::logical_expr::cast(expr.clone(), DataType::Float64);
    let (left, right) = match (cut_float(left, schema), cut_float(right, schema)) {
        (Some(float), None) => (double(float), double(right)),
        (None, Some(float)) => (double(left), double(float)),
        _ => return None,
    };
    Some(datafusion::logical_expr::binary_expr(left, op, right))
}

/// An exact comparison, if one side is an integer or float that coercion would change; else `None`.
fn compared(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Expr> {
    if let Some(doubles) = as_doubles(left, op, right, schema) {
        return Some(doubles);
    }
    match (lossy(left, schema), lossy(right, schema)) {
        (Some((whole, of)), None) => Some(exact_comparison(whole.clone(), &of, op, right.clone())),
        (None, Some((whole, of))) => Some(exact_comparison(whole.clone(), &of, op.swap()?, left.clone())),
        _ => None,
    }
}

/// The integer and its type in a cast to a float type that cannot represent all integers of the type.
fn lossy<'e>(expr: &'e Expr, schema: &DFSchema) -> Option<(&'e Expr, DataType)> {
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    let bytes = match field.data_type() {
        DataType::Float64 => 4,
        DataType::Float32 | DataType::Float16 => 2,
        _ => return None,
    };
    let of = expr.get_type(schema).ok().filter(DataType::is_integer)?;
    let is_literal = matches!(expr.as_ref(), Expr::Literal(..));
    (of.primitive_width()? > bytes && !is_literal).then_some((expr, of))
}

/// Whether coercion has changed the numbers that a subquery returns.
fn gives_changed(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    let given = projection.expr.first().map(|expr| expr.clone().unalias());
    given.is_some_and(|expr| changes(&expr, projection.input.schema()))
}

/// `-x` as `0 - x`, which fails for the minimum of the type. Intervals do not change.
fn negative(value: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let data_type = value.get_type(schema)?;
    let zero = match &data_type {
        // A plain negation would change the sign bit of NaN and of zero.
        kind if kind.is_floating() => {
            let zero = lit(ScalarValue::new_zero(kind)?);
            return Ok(Transformed::yes(datafusion::logical_expr::binary_expr(zero, Operator::Minus, value)));
        }
        kind if kind.is_integer() || kind.is_decimal() => ScalarValue::new_zero(kind)?,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) => {
            return plan_err!("a date or a time has no negative");
        }
        _ => return Ok(Transformed::no(Expr::Negative(Box::new(value)))),
    };
    Ok(Transformed::yes(checked(lit(zero), Operator::Minus, value)))
}

/// `CASE x WHEN v` of floats as `CASE WHEN x = v`, because DataFusion looks values up by their bits, but `0.0 = -0.0`.
fn searched(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Case { expr, when_then_expr, else_expr } = case;
    let Some(value) = expr else { return Ok(Transformed::no(Expr::Case(Case { expr, when_then_expr, else_expr }))) };
    intervals::refuse([value.as_ref()], schema)?;
    if !value.get_type(schema)?.is_floating() {
        let expr = Some(value);
        return Ok(Transformed::no(Expr::Case(Case { expr, when_then_expr, else_expr })));
    }
    let condition = |when: Expr| match compared(&value, Operator::Eq, &when, schema) {
        Some(compared) => compared,
        None => value.as_ref().clone().eq(when),
    };
    let when_then_expr = when_then_expr.into_iter().map(|(when, then)| (Box::new(condition(*when)), then)).collect();
    Ok(Transformed::yes(Expr::Case(Case { expr: None, when_then_expr, else_expr })))
}

/// `IN` of floats: adds the other zero if the list has one, and compares integers as integers.
fn in_list(list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InList { mut expr, mut list, negated } = list;
    if std::iter::once(expr.as_ref())
        .chain(&list)
        .any(|part| cut_float(part, schema).is_some() || is_lossy_list(part, schema))
    {
        return plan_err!("{MIXED_NUMBERS}");
    }
    if intervals::is_interval(&expr, schema)? {
        let mut of = expr.as_ref().clone();
        for item in &mut list {
            if let Some([value, written]) = intervals::as_durations([&expr, item], schema)? {
                (of, *item) = (value, written);
            }
        }
        *expr = of;
    }
    let items = list.iter().map(|item| in_microseconds([&expr, item], schema)).collect::<Result<Option<Vec<_>>>>()?;
    if let Some(items) = items
        && let Some([value, _]) = items.first().cloned()
    {
        *expr = value;
        list = items.into_iter().map(|[_, item]| item).collect();
    }
    if let Some((whole, of)) = lossy(&expr, schema) {
        let numbers = list.iter().map(literal).collect::<Option<Vec<_>>>();
        let Some(numbers) = numbers.filter(|numbers| !numbers.iter().any(|number| number.is_nan())) else {
            return plan_err!("{MIXED_NUMBERS}");
        };
        // A number with a fraction equals no integer.
        let items = numbers.into_iter().filter_map(|number| whole_literal(number, &of));
        let list = items.map(lit).collect::<Vec<_>>();
        let whole = whole.clone();
        return Ok(Transformed::yes(match list.is_empty() {
            false => Expr::InList(InList { expr: Box::new(whole), list, negated }),
            true if negated => whole.is_not_null().or(lit(ScalarValue::Boolean(None))),
            true => whole.is_null().and(lit(ScalarValue::Boolean(None))),
        }));
    }
    let zeros = match expr.get_type(schema)? {
        DataType::Float64 => [lit(0.0_f64), lit(-0.0_f64)],
        DataType::Float32 => [lit(0.0_f32), lit(-0.0_f32)],
        _ => return Ok(Transformed::no(Expr::InList(InList { expr, list, negated }))),
    };
    if !list.iter().any(|item| literal(item) == Some(0.0)) {
        return Ok(Transformed::no(Expr::InList(InList { expr, list, negated })));
    }
    let list = with_zeros(list, zeros);
    Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
}

fn with_zeros(list: Vec<Expr>, zeros: [Expr; 2]) -> Vec<Expr> {
    list.into_iter().filter(|item| literal(item) != Some(0.0)).chain(zeros).collect()
}

/// `BETWEEN` of intervals as durations, of times in microseconds, and of integers and floats as two exact comparisons.
fn between(between: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Between { expr, negated, low, high } = &between;
    let sides = match intervals::as_durations([expr, low, high], schema)? {
        None => in_microseconds([expr, low, high], schema)?,
        sides => sides,
    };
    if let Some([expr, low, high]) = sides {
        let within = Between::new(Box::new(expr), *negated, Box::new(low), Box::new(high));
        return Ok(Transformed::yes(Expr::Between(within)));
    }
    let is_lossy = [expr, low, high].into_iter().any(|part| changes(part, schema));
    if !is_lossy {
        return Ok(Transformed::no(Expr::Between(between)));
    }
    let side = |op: Operator, bound: &Expr| {
        compared(expr, op, bound, schema)
            .unwrap_or_else(|| datafusion::logical_expr::binary_expr(expr.as_ref().clone(), op, bound.clone()))
    };
    let within = side(Operator::GtEq, low).and(side(Operator::LtEq, high));
    Ok(Transformed::yes(if *negated { Expr::Not(Box::new(within)) } else { within }))
}
