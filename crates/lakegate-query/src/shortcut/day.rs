//! Fast path for `CAST(… AS DATE)` of a timestamp: a division instead of calendar arithmetic.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ExprSchema, Result, internal_err};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Days further from 1970 than this go to the ordinary cast, which checks the limits of the calendar.
const MOST_DAYS: i64 = 30_000_000;

const SECONDS: i64 = 86_400;

/// The function that replaces the cast.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DayOf(Signature);

/// Replaces the casts from timestamps to dates in an expression.
pub(super) fn quick(expr: Expr, schema: &dyn ExprSchema) -> Result<Expr> {
    let quick = expr.transform_up(|inner| match &inner {
        Expr::Cast(Cast { expr, field }) if *field.data_type() == DataType::Date32 => {
            // In a time zone other than UTC, the date depends on the zone.
            let is_plain = match expr.get_type(schema)? {
                DataType::Timestamp(_, None) => true,
                DataType::Timestamp(_, Some(zone)) => matches!(&*zone, "UTC" | "+00:00"),
                _ => false,
            };
            if !is_plain {
                return Ok(Transformed::no(inner));
            }
            let function = ScalarUDF::new_from_impl(DayOf(Signature::any(1, Volatility::Immutable)));
            Ok(Transformed::yes(function.call(vec![expr.as_ref().clone()])))
        }
        _ => Ok(Transformed::no(inner)),
    });
    quick.map(|quick| quick.data)
}

impl ScalarUDFImpl for DayOf {
    fn name(&self) -> &str {
        "day_of"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(times)] => days(times).map(ColumnarValue::Array),
            [ColumnarValue::Scalar(time)] => Ok(ColumnarValue::Scalar(time.cast_to(&DataType::Date32)?)),
            _ => internal_err!("the day of one time"),
        }
    }
}

/// The dates of an array of timestamps.
fn days(times: &ArrayRef) -> Result<ArrayRef> {
    let days = match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => divided::<TimestampSecondType>(times, SECONDS),
        DataType::Timestamp(TimeUnit::Millisecond, _) => divided::<TimestampMillisecondType>(times, SECONDS * 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            divided::<TimestampMicrosecondType>(times, SECONDS * 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            divided::<TimestampNanosecondType>(times, SECONDS * 1_000_000_000)
        }
        _ => None,
    };
    match days {
        Some(days) => Ok(days),
        None => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            Ok(cast_with_options(times, &DataType::Date32, &options)?)
        }
    }
}

/// Divides timestamps into days; `None` if a day is out of range, even in a row that is NULL.
fn divided<T: ArrowPrimitiveType<Native = i64>>(times: &ArrayRef, by: i64) -> Option<ArrayRef> {
    let times = times.as_primitive::<T>();
    let mut is_far = false;
    let days = times.values().iter().map(|time| {
        let day = time.div_euclid(by);
        is_far |= !(-MOST_DAYS..=MOST_DAYS).contains(&day);
        day as i32
    });
    let days = days.collect::<Vec<_>>();
    (!is_far).then(|| Arc::new(Date32Array::new(days.into(), times.nulls().cloned())) as ArrayRef)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::PrimitiveArray;
    use datafusion::arrow::compute::cast;
    use datafusion::arrow::datatypes::ArrowTimestampType;

    fn same<T: ArrowPrimitiveType<Native = i64> + ArrowTimestampType>(a_day: i64) {
        let near = [0, 1, -1, a_day - 1, a_day, -a_day, -a_day - 1, 19_000 * a_day + 5, -25_567 * a_day - 7];
        let times = near.iter().map(|time| Some(*time)).chain([None]).collect::<PrimitiveArray<T>>();
        let times: ArrayRef = Arc::new(times);
        assert_eq!(&days(&times).unwrap(), &cast(&times, &DataType::Date32).unwrap());
    }

    #[test]
    fn days_are_those_of_the_cast_before_and_after_1970() {
        same::<TimestampSecondType>(SECONDS);
        same::<TimestampMillisecondType>(SECONDS * 1_000);
        same::<TimestampMicrosecondType>(SECONDS * 1_000_000);
        same::<TimestampNanosecondType>(SECONDS * 1_000_000_000);
    }

    #[test]
    fn what_no_calendar_has_fails_as_the_cast_does() {
        let times = |time: i64| Arc::new(PrimitiveArray::<TimestampSecondType>::from(vec![0, time])) as ArrayRef;
        assert!(days(&times(i64::MAX)).is_err());
        assert!(days(&times(i64::MIN)).is_err());
        assert_eq!(
            days(&times(MOST_DAYS * SECONDS * 2))
                .unwrap()
                .as_primitive::<datafusion::arrow::datatypes::Date32Type>()
                .value(1),
            60_000_000
        );
    }
}
