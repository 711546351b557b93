//! Refuses casts to and from dates, times and intervals for which DataFusion would guess a unit; for text without a
//! unit, the result is a fault or NULL.
//!
//! DataFusion reads `CAST(1 AS TIMESTAMP)` as a second and `CAST(1.5 AS TIMESTAMP)` as a nanosecond, and casts a
//! timestamp to a number in the unit of its column. The text `'12'` becomes 12 nanoseconds as a time of day, and 12
//! months as an interval. [`super::date_steps`] refuses intervals that do not fit a date.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions::expr_fn::{lower, right, upper};
use datafusion::logical_expr::{Expr, ExprSchemable, cast, lit, when};

/// Rewrites the argument of a cast so that the cast guesses no unit.
///
/// # Errors
/// For a cast without a unit.
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
