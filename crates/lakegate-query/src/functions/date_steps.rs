//! Refuses to add intervals with hours to dates. A date has no hours, and DataFusion ignores those of the interval.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr};

use super::fault::ValueFault;

/// The milliseconds and the nanoseconds of a day. Multiples are allowed, because `day + 1` is planned like that.
const MILLISECONDS: i32 = 86_400_000;
pub(super) const NANOSECONDS: i64 = 86_400_000_000_000;

/// Whether a date is moved by an interval of a type that can hold hours.
fn is_step(of: &DataType, step: &DataType) -> bool {
    let is_date = matches!(of, DataType::Date32 | DataType::Date64);
    is_date && matches!(step, DataType::Interval(IntervalUnit::MonthDayNano | IntervalUnit::DayTime))
}

/// Refuses a query that moves a date by an interval literal with hours.
pub(super) fn refuse(of: &DataType, step: &DataType, written: &Expr) -> Result<()> {
    let Expr::Literal(value, _) = written else { return Ok(()) };
    if is_step(of, step) && has_hours(value) {
        return plan_err!("{}", ValueFault::HoursOfDate);
    }
    Ok(())
}

/// Refuses to move a date by an interval value with hours.
pub(super) fn check(of: &ColumnarValue, step: &ColumnarValue) -> Result<()> {
    if !is_step(&of.data_type(), &step.data_type()) {
        return Ok(());
    }
    let have_hours = match step {
        ColumnarValue::Scalar(value) => has_hours(value),
        ColumnarValue::Array(array) => some_have_hours(array),
    };
    if have_hours { Err(ValueFault::HoursOfDate.into()) } else { Ok(()) }
}

fn has_hours(step: &ScalarValue) -> bool {
    match step {
        ScalarValue::IntervalMonthDayNano(Some(step)) => step.nanoseconds % NANOSECONDS != 0,
        ScalarValue::IntervalDayTime(Some(step)) => step.milliseconds % MILLISECONDS != 0,
        _ => false,
    }
}

fn some_have_hours(steps: &dyn Array) -> bool {
    match steps.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => steps
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .flatten()
            .any(|step| step.nanoseconds % NANOSECONDS != 0),
        DataType::Interval(IntervalUnit::DayTime) => steps
            .as_primitive::<IntervalDayTimeType>()
            .iter()
            .flatten()
            .any(|step| step.milliseconds % MILLISECONDS != 0),
        _ => false,
    }
}
