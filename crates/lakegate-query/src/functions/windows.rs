//! Window functions and aggregates: restricts aggregates over moving frames, and makes both zeros equal in keys.

use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{
    AggregateFunction, NullTreatment, Sort, WindowFunction, WindowFunctionDefinition,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits, binary_expr, lit,
};

use super::intervals;

/// Aggregates that are exact over moving frames. DataFusion's others remove rows inexactly or not at all.
const MOVING: &[&str] = &[
    "array_agg",
    "avg",
    "bit_xor",
    "count",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "sum",
];

/// Rewrites a window call so that both zeros are equal in its keys.
///
/// # Errors
/// For a function that does not support its frame.
pub(super) fn exact(mut call: WindowFunction, schema: &DFSchema) -> Result<WindowFunction> {
    let params = &mut call.params;
    if let WindowFunctionDefinition::AggregateUDF(function) = &call.fun {
        let name = function.name();
        // Each row would hold the values of all rows before it, so the result would grow quadratically.
        let WindowFrame { units, start_bound, end_bound, .. } = &params.window_frame;
        let is_short = *units == WindowFrameUnits::Rows && [start_bound, end_bound].into_iter().all(is_near);
        if name == "string_agg" || name == "array_agg" && !is_short {
            return plan_err!(
                "`{name}` over a window would give each row the values of all others: write it with `GROUP BY`, or `array_agg` over a \
                 few rows, such as `ROWS BETWEEN 10 PRECEDING AND CURRENT ROW`"
            );
        }
        let start = &params.window_frame.start_bound;
        let moves = !matches!(start, WindowFrameBound::Preceding(bound) if bound.is_null());
        let can_move = MOVING.contains(&name) && !(params.distinct && name == "avg");
        if moves && !can_move {
            return plan_err!(
                "`{name}` does not go over a frame whose first row moves: begin the frame with `UNBOUNDED PRECEDING`, or join the \
                 table with itself and group"
            );
        }
    }
    let name = call.fun.name();
    if ["lag", "lead"].contains(&name)
        && params.null_treatment == Some(NullTreatment::IgnoreNulls)
        && params.args.get(1).is_some_and(|offset| *offset != lit(1_i64))
    {
        return plan_err!("`{name}` with `IGNORE NULLS` goes to the next value alone: leave its second argument out");
    }
    if ["min", "max"].contains(&name) {
        refuse_parts(name, &params.args, schema)?;
    }
    let one_zero = |expr: Expr| self::one_zero(expr, schema);
    params.partition_by = std::mem::take(&mut params.partition_by).into_iter().map(one_zero).collect::<Result<_>>()?;
    for Sort { expr, .. } in &mut params.order_by {
        *expr = one_zero(std::mem::take(expr))?;
    }
    if params.distinct {
        params.args = std::mem::take(&mut params.args).into_iter().map(one_zero).collect::<Result<_>>()?;
    }
    Ok(call)
}

/// Whether a frame bound is within a thousand rows.
fn is_near(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(rows) | WindowFrameBound::Following(rows) => {
            matches!(rows, ScalarValue::UInt64(Some(0..=1_000)))
        }
    }
}

/// Rewrites an aggregate so that both zeros are equal wherever it distinguishes values.
pub(super) fn aggregate(mut call: AggregateFunction, schema: &DFSchema) -> Result<AggregateFunction> {
    let params = &mut call.params;
    if ["min", "max"].contains(&call.func.name()) {
        intervals::refuse(&params.args, schema)?;
        refuse_parts(call.func.name(), &params.args, schema)?;
    }
    if params.distinct {
        let args = std::mem::take(&mut params.args);
        params.args = args.into_iter().map(|arg| one_zero(arg, schema)).collect::<Result<_>>()?;
    }
    Ok(call)
}

/// Refuses nested values, because their order depends on the order of rows if a part is NULL.
fn refuse_parts(name: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    for arg in args {
        if arg.get_type(schema)?.is_nested() {
            return plan_err!(
                "`{name}` takes no lists, structs and maps: order the rows by their parts, and take the first"
            );
        }
    }
    Ok(())
}

/// Adds 0.0 to a float expression, so that -0.0 becomes 0.0.
pub(super) fn one_zero(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let data_type = expr.get_type(schema)?;
    if !data_type.is_floating() {
        return Ok(expr);
    }
    Ok(binary_expr(expr, Operator::Plus, lit(ScalarValue::new_zero(&data_type)?)))
}
