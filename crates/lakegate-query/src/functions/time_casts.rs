//! Casts to and from dates, times and intervals in which the engine guesses a unit: they are refused, or give no value.
//!
//! A number is no moment: the engine takes `CAST(1 AS TIMESTAMP)` for a second, `CAST(1.5 AS TIMESTAMP)` for a nanosecond, and gives
//! a timestamp as so many nanoseconds or microseconds, as the column has them. Of texts, `'12'` is 12 nanoseconds as a time of day,
//! and 12 months as an interval. What [`super::date_steps`] refuses are intervals that do not fit a date.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions::expr_fn::{lower, right, upper};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, lit, when};

/// What is cast to a type, so that a cast guesses nothing.
///
/// # Errors
/// For a cast that says no unit.
pub(super) fn without_guess(value: Expr, to: &FieldRef, schema: &DFSchema) -> Result<Expr> {
    let of = value.get_type(schema)?;
    let has_unit: fn(Expr) -> Expr = match to.data_type() {
        DataType::Time32(_) | DataType::Time64(_) if of.is_numeric() => {
            return plan_err!("a number is no time of day: write it as text, such as '09:30:00'");
        }
        kind if of.is_numeric() && is_day_or_moment(kind) => {
            return plan_err!(
                "a number is no date and no timestamp: say what it counts, such as `to_timestamp_seconds(n)`, or compare \
                 with a date such as `DATE '2024-01-31'`"
            );
        }
        kind if kind.is_numeric() && is_day_or_moment(&of) => {
            return plan_err!(
                "a date or a timestamp is no number: say what is counted, such as `date_part('year', day)` or `to_unixtime(at)`"
            );
        }
        DataType::Time32(_) | DataType::Time64(_) => |text| text.like(lit("%:%")),
        DataType::Interval(_) => ends_with_a_letter,
        _ => return Ok(value),
    };
    if !of.is_string() {
        return Ok(value);
    }
    let has_none = has_unit(cast(value.clone(), DataType::Utf8)).is_false();
    when(has_none, cast(lit(""), of)).otherwise(value)
}

fn is_day_or_moment(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

fn ends_with_a_letter(text: Expr) -> Expr {
    let last = right(text, lit(1_i64));
    upper(last.clone()).not_eq(lower(last))
}
