//! Comparisons of intervals. A month has no fixed number of days, and DataFusion compares months, days and hours one
//! after the other, so 25 hours would be less than a day. A difference of times (`b - a`) is compared with days and
//! hours as a duration; all other comparisons are refused.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, lit};

use super::date_steps::NANOSECONDS;

const REFUSED: &str = "intervals have no order, as a month has no number of days: compare times, such as `b > a + INTERVAL '1 month'`, \
                       or what lies between two with days and hours, such as `b - a > INTERVAL '36 hours'`";
const DAY: i128 = NANOSECONDS as i128;

/// Whether an expression has an interval type.
pub(super) fn is_interval(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(matches!(expr.get_type(schema)?, DataType::Interval(_)))
}

/// Refuses intervals in places that would sort them or test them for equality.
pub(super) fn refuse<'e>(exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> Result<()> {
    for expr in exprs {
        if is_interval(expr, schema)? {
            return plan_err!("{REFUSED}");
        }
    }
    Ok(())
}

/// Converts the sides of a comparison to durations; `None` if none of them is an interval.
///
/// # Errors
/// For intervals other than a difference of two times, or a literal of days and hours.
pub(super) fn as_durations<const N: usize>(sides: [&Expr; N], schema: &DFSchema) -> Result<Option<[Expr; N]>> {
    let mut is_one = false;
    for side in sides {
        is_one |= is_interval(side, schema)?;
    }
    if !is_one {
        return Ok(None);
    }
    let measured = sides.iter().find_map(|side| measured(side, schema));
    let Some((_, unit)) = measured else { return plan_err!("{REFUSED}") };
    let durations = sides.map(|side| match self::measured(side, schema) {
        Some((duration, of)) => (of == unit).then(|| duration.clone()),
        None => written(side, unit).map(lit),
    });
    if durations.iter().any(Option::is_none) {
        return plan_err!("{REFUSED}");
    }
    Ok(Some(durations.map(Option::unwrap_or_default)))
}

/// The difference of two times, which DataFusion cast to an interval for the comparison, and its unit.
fn measured<'e>(expr: &'e Expr, schema: &DFSchema) -> Option<(&'e Expr, TimeUnit)> {
    let Expr::Cast(Cast { expr, field }) = expr else { return None };
    match (field.data_type(), expr.get_type(schema).ok()?) {
        (DataType::Interval(_), DataType::Duration(unit)) => Some((expr, unit)),
        _ => None,
    }
}

/// Converts a literal of days and hours to a duration; `None` if it has months or does not fit the unit.
fn written(expr: &Expr, unit: TimeUnit) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    let nanoseconds = match value {
        ScalarValue::IntervalMonthDayNano(Some(value)) if value.months == 0 => {
            i128::from(value.days) * DAY + i128::from(value.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(value)) => {
            i128::from(value.days) * DAY + i128::from(value.milliseconds) * 1_000_000
        }
        _ => return None,
    };
    let (of_unit, duration): (i128, fn(Option<i64>) -> ScalarValue) = match unit {
        TimeUnit::Second => (1_000_000_000, ScalarValue::DurationSecond),
        TimeUnit::Millisecond => (1_000_000, ScalarValue::DurationMillisecond),
        TimeUnit::Microsecond => (1_000, ScalarValue::DurationMicrosecond),
        TimeUnit::Nanosecond => (1, ScalarValue::DurationNanosecond),
    };
    let number = i64::try_from(nanoseconds / of_unit).ok().filter(|_| nanoseconds % of_unit == 0)?;
    Some(duration(Some(number)))
}
