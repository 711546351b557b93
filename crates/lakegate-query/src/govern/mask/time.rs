//! Masks times and dates: truncates to the hour, day, month or year in UTC, also before 1970.

use chrono::{Datelike, NaiveDate};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use lakegate_core::project::Granularity;

use super::rebuild;

const SECONDS_OF_HOUR: i64 = 3_600;
const SECONDS_OF_DAY: i64 = 86_400;

/// Returns `None` for an array without times. A time whose truncated value does not fit into the type becomes NULL.
pub(super) fn truncate(array: &ArrayRef, hidden: Option<&NullBuffer>, to: Granularity) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Date32 => {
            rebuild::primitives::<Date32Type>(array, hidden, |day| i32::try_from(first_day(i64::from(day), to)?).ok())
        }
        DataType::Date64 => {
            // A date has no hours.
            let to = to.max(Granularity::Day);
            rebuild::primitives::<Date64Type>(array, hidden, |time| beginning(time, 1_000, to))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            rebuild::primitives::<TimestampSecondType>(array, hidden, |time| beginning(time, 1, to))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            rebuild::primitives::<TimestampMillisecondType>(array, hidden, |time| beginning(time, 1_000, to))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            rebuild::primitives::<TimestampMicrosecondType>(array, hidden, |time| beginning(time, 1_000_000, to))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            rebuild::primitives::<TimestampNanosecondType>(array, hidden, |time| beginning(time, 1_000_000_000, to))
        }
        _ => None,
    }
}

/// Truncates a time since 1970. `per_second` is the number of its units in a second.
fn beginning(time: i64, per_second: i64, to: Granularity) -> Option<i64> {
    let day = SECONDS_OF_DAY * per_second;
    match to {
        Granularity::Hour => time.checked_sub(time.rem_euclid(SECONDS_OF_HOUR * per_second)),
        Granularity::Day => time.checked_sub(time.rem_euclid(day)),
        Granularity::Month | Granularity::Year => first_day(time.div_euclid(day), to)?.checked_mul(day),
    }
}

/// The first day of the month or year that contains a day, in days since 1970; the day itself for hours and days.
fn first_day(day: i64, to: Granularity) -> Option<i64> {
    let month = match to {
        Granularity::Hour | Granularity::Day => return Some(day),
        Granularity::Month => None,
        Granularity::Year => Some(1),
    };
    let from_epoch = i64::from(NaiveDate::default().num_days_from_ce());
    let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(day.checked_add(from_epoch)?).ok()?)?;
    let first = NaiveDate::from_ymd_opt(date.year(), month.unwrap_or(date.month()), 1)?;
    Some(i64::from(first.num_days_from_ce()) - from_epoch)
}
