//! Formats calendar intervals as ISO 8601: `P1Y2M3DT4H5M6.5S`. Each part has its own sign.

use std::fmt::{self, Write};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{
    DataType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
};

/// The interval in a row; `None` if the array has another type.
pub(super) fn of(array: &dyn Array, row: usize) -> Option<Interval> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive_opt::<IntervalYearMonthType>()?.value(row);
            Some(Interval { months, days: 0, nanoseconds: 0 })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive_opt::<IntervalDayTimeType>()?.value(row);
            let nanoseconds = i64::from(value.milliseconds) * 1_000_000;
            Some(Interval { months: 0, days: value.days, nanoseconds })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive_opt::<IntervalMonthDayNanoType>()?.value(row);
            Some(Interval { months: value.months, days: value.days, nanoseconds: value.nanoseconds })
        }
        _ => None,
    }
}

/// Months, days and time, which cannot be converted into each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    months: i32,
    days: i32,
    nanoseconds: i64,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.nanoseconds / 1_000_000_000;
        let fraction = (self.nanoseconds % 1_000_000_000).unsigned_abs();
        f.write_char('P')?;
        let date = [(self.months / 12, 'Y'), (self.months % 12, 'M'), (self.days, 'D')];
        for (number, unit) in date.into_iter().filter(|(number, _)| *number != 0) {
            write!(f, "{number}{unit}")?;
        }
        if self.nanoseconds == 0 {
            return if self.months == 0 && self.days == 0 { f.write_str("T0S") } else { Ok(()) };
        }
        f.write_char('T')?;
        for (number, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
            if number != 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        let seconds = seconds % 60;
        if fraction != 0 {
            let sign = if self.nanoseconds < 0 { "-" } else { "" };
            let digits = format!("{fraction:09}");
            write!(f, "{sign}{}.{}S", seconds.unsigned_abs(), digits.trim_end_matches('0'))
        } else if seconds != 0 {
            write!(f, "{seconds}S")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_nought_are_left_out() {
        let text = |months, days, nanoseconds| Interval { months, days, nanoseconds }.to_string();
        assert_eq!(text(0, 0, 0), "PT0S");
        assert_eq!(text(14, 3, 0), "P1Y2M3D");
        assert_eq!(text(-1, 2, -500_000_000), "P-1M2DT-0.5S");
        assert_eq!(text(0, 0, 3_600_000_000_000), "PT1H");
        assert_eq!(text(0, 0, 90_061_000_000_001), "PT25H1M1.000000001S");
        assert_eq!(text(0, 0, i64::MIN), "PT-2562047H-47M-16.854775808S");
    }
}
