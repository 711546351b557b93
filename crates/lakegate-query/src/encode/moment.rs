//! Writes dates and timestamps as ISO 8601, digit by digit. Equals chrono's output for years with four digits.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

const DAY: i64 = 86_400;
/// Days in 400 years.
const ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. A year that starts in March has its leap day at the end.
const BEFORE_1970: i64 = 719_468;
/// 0000-01-01 and 9999-12-31, in days since 1970-01-01.
const FIRST_DAY: i64 = -719_528;
const LAST_DAY: i64 = 2_932_896;

/// The values of a date or timestamp array.
pub(super) enum Moments<'a> {
    /// Days since 1970-01-01.
    Days(&'a [i32]),
    /// Fractions of a second since 1970-01-01.
    Parts {
        values: &'a [i64],
        per_second: i64,
        /// Whether the value is an instant in UTC; otherwise it is a local time.
        is_utc: bool,
    },
}

impl<'a> Moments<'a> {
    /// `None` for other types, and for time zones other than UTC.
    pub(super) fn of(array: &'a dyn Array) -> Option<Self> {
        let (unit, zone) = match array.data_type() {
            DataType::Date32 => return Some(Self::Days(array.as_primitive_opt::<Date32Type>()?.values())),
            DataType::Timestamp(unit, zone) => (unit, zone),
            _ => return None,
        };
        let is_utc = match zone.as_deref() {
            None => false,
            Some("UTC" | "+00:00") => true,
            Some(_) => return None,
        };
        let (values, per_second): (&[i64], i64) = match unit {
            TimeUnit::Second => (array.as_primitive_opt::<TimestampSecondType>()?.values(), 1),
            TimeUnit::Millisecond => (array.as_primitive_opt::<TimestampMillisecondType>()?.values(), 1_000),
            TimeUnit::Microsecond => (array.as_primitive_opt::<TimestampMicrosecondType>()?.values(), 1_000_000),
            TimeUnit::Nanosecond => (array.as_primitive_opt::<TimestampNanosecondType>()?.values(), 1_000_000_000),
        };
        Some(Self::Parts { values, per_second, is_utc })
    }

    /// Writes the value of a row, in quotes. Writes nothing and returns `false` if its year has not four digits.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let mut text = Text::new();
        let is_written = match self {
            Self::Days(values) => text.date(i64::from(values[row])),
            Self::Parts { values, per_second, is_utc } => text.moment(values[row], *per_second, *is_utc),
        };
        if is_written {
            text.push(b'"');
            out.extend_from_slice(text.bytes());
        }
        is_written
    }
}

/// Enough for `"2022-10-01T08:19:05.678901234Z"`.
const LONGEST: usize = 32;

/// A value under construction, with its opening quote.
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    fn new() -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        text.push(b'"');
        text
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Appends a number of `count` digits, padded with zeros.
    fn digits(&mut self, mut number: i64, count: usize) {
        for place in (self.length..self.length + count).rev() {
            // The number is not negative, so this is one digit.
            self.bytes[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += count;
    }

    fn date(&mut self, day: i64) -> bool {
        if !(FIRST_DAY..=LAST_DAY).contains(&day) {
            return false;
        }
        let day = day + BEFORE_1970;
        let (era, day) = (day.div_euclid(ERA), day.rem_euclid(ERA));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // March is month 0.
        let month = (5 * day + 2) / 153;
        let (day, in_next_year) = (day - (153 * month + 2) / 5 + 1, month >= 10);
        self.digits(year + era * 400 + i64::from(in_next_year), 4);
        self.push(b'-');
        self.digits(if in_next_year { month - 9 } else { month + 3 }, 2);
        self.push(b'-');
        self.digits(day, 2);
        true
    }

    fn moment(&mut self, value: i64, per_second: i64, is_utc: bool) -> bool {
        let (seconds, part) = (value.div_euclid(per_second), value.rem_euclid(per_second));
        if !self.date(seconds.div_euclid(DAY)) {
            return false;
        }
        let second = seconds.rem_euclid(DAY);
        for (before, number) in [(b'T', second / 3_600), (b':', second / 60 % 60), (b':', second % 60)] {
            self.push(before);
            self.digits(number, 2);
        }
        let nanoseconds = part * (1_000_000_000 / per_second);
        let (fraction, digits) = match nanoseconds {
            0 => (0, 0),
            milliseconds if milliseconds % 1_000_000 == 0 => (milliseconds / 1_000_000, 3),
            microseconds if microseconds % 1_000 == 0 => (microseconds / 1_000, 6),
            nanoseconds => (nanoseconds, 9),
        };
        if digits > 0 {
            self.push(b'.');
            self.digits(fraction, digits);
        }
        if is_utc {
            self.push(b'Z');
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, NaiveDate, SecondsFormat};
    use datafusion::arrow::array::{ArrayRef, Date32Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    fn written(array: &ArrayRef) -> Option<String> {
        let mut out = Vec::new();
        let is_written = Moments::of(array.as_ref())?.write(0, &mut out);
        is_written.then(|| String::from_utf8(out).unwrap())
    }

    fn of_days(days: i32) -> Option<String> {
        written(&(Arc::new(Date32Array::from(vec![days])) as ArrayRef))
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        // Check every 89th day of the range, and each day of two centuries.
        for days in (-719_528..=2_932_896).step_by(89).chain([2_932_896]).chain(-36_524..36_525) {
            let day = NaiveDate::from_epoch_days(days).unwrap();
            assert_eq!(of_days(days), Some(format!("\"{day}\"")));
        }
        for outside in [-719_529, 2_932_897, i32::MIN, i32::MAX] {
            assert_eq!(of_days(outside), None);
        }
    }

    #[test]
    fn what_has_a_zone_with_rules_is_for_others() {
        let of_zone = |zone: &str| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone(zone.to_owned()))
        };
        assert_eq!(written(&of_zone("America/Bogota")), None);
        assert_eq!(written(&of_zone("-05:00")), None);
        assert_eq!(written(&of_zone("UTC")).as_deref(), Some("\"1970-01-01T00:00:00Z\""));
    }

    proptest! {
        #[test]
        fn times_are_what_chrono_writes(seconds in -70_000_000_000_i64..260_000_000_000, part in 0_i64..1_000_000_000, zeros in 0_u32..10) {
            let part = part / 10_i64.pow(zeros) * 10_i64.pow(zeros) % 1_000_000_000;
            for per_second in [1, 1_000, 1_000_000, 1_000_000_000] {
                let part = part / (1_000_000_000 / per_second);
                let Some(value) = seconds.checked_mul(per_second).and_then(|value| value.checked_add(part)) else { continue };
                let nanoseconds = u32::try_from(part * (1_000_000_000 / per_second)).unwrap();
                let time = DateTime::from_timestamp(seconds, nanoseconds).unwrap();
                let has_four_digits = (0..=9_999).contains(&chrono::Datelike::year(&time));
                for is_utc in [false, true] {
                    let mut text = Text::new();
                    prop_assert_eq!(text.moment(value, per_second, is_utc), has_four_digits);
                    if has_four_digits {
                        let wanted = if is_utc { time.to_rfc3339_opts(SecondsFormat::AutoSi, true) } else { format!("{:?}", time.naive_utc()) };
                        prop_assert_eq!(std::str::from_utf8(text.bytes()).unwrap(), format!("\"{wanted}"));
                    }
                }
            }
        }
    }
}
