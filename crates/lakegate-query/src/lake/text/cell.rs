//! Parses a cell's text as a value of an inferred type: exactly what is written there, or `None`.
//!
//! `ingest` parses the cells of columns with a declared type.

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::datatypes::TimeUnit;

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.len() {
        4 => text.eq_ignore_ascii_case("true").then_some(true),
        5 => text.eq_ignore_ascii_case("false").then_some(false),
        _ => None,
    }
}

/// Digits, optionally after a minus.
pub(super) fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

/// A number with or without a point or an exponent; `NaN`, `nan`, `inf`, `-inf`.
pub(super) fn number(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" => return Some(f64::NAN),
        "inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let first = text.bytes().next()?;
    let is_plain = first.is_ascii_digit() || matches!(first, b'-' | b'.');
    if !is_plain || !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    // A number that is too large must not become infinity, nor one that is too small zero.
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    (number != 0.0 || mantissa.bytes().all(|byte| b"-.0".contains(&byte))).then_some(number)
}

/// `2024-02-29`, as days since 1970; `None` for a day that does not exist.
pub(super) fn date(text: &str) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    let bytes = text.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let part = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(part(0, 4)?).ok()?, part(5, 7)?, part(8, 10)?)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// A timestamp, and the coarsest unit that holds it. A date means its midnight; a time without an offset is in UTC.
pub(super) fn timestamp(text: &str) -> Option<(DateTime<Utc>, TimeUnit)> {
    if text.len() == 10 {
        let days = date(text)?;
        return Some((DateTime::from_timestamp(i64::from(days) * 86_400, 0)?, TimeUnit::Second));
    }
    let bytes = text.as_bytes();
    let is_time = text.len() >= 19
        && text.is_ascii()
        && date(&text[..10]).is_some()
        && matches!(bytes[10], b'T' | b' ')
        && bytes[11..19].iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
        // A leap second would become the next second.
        && bytes[17] < b'6';
    if !is_time {
        return None;
    }
    let digits = match bytes.get(19) {
        Some(b'.') => bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let unit = match digits {
        0 if bytes.get(19) == Some(&b'.') => return None,
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        7..=9 => TimeUnit::Nanosecond,
        _ => return None,
    };
    string_to_datetime(&Utc, text).ok().map(|time| (time, unit))
}

/// A time since 1970 in a unit; `None` if it does not fit.
pub(super) fn since_1970(time: DateTime<Utc>, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(time.timestamp()),
        TimeUnit::Millisecond => Some(time.timestamp_millis()),
        TimeUnit::Microsecond => Some(time.timestamp_micros()),
        TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
    }
}

/// The kind of a cell's text, for errors that must not show the value.
pub(super) fn kind(text: &str) -> &'static str {
    if text.is_empty() {
        "nothing"
    } else if boolean(text).is_some() {
        "true or false"
    } else if integer(text).is_some() {
        "a whole number"
    } else if number(text).is_some() {
        "a number"
    } else if date(text).is_some() {
        "a day"
    } else if timestamp(text).is_some() {
        "a time"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_is_written_and_nothing_near_it() {
        assert_eq!(
            (boolean("TRUE"), boolean("False"), boolean("yes"), boolean("1")),
            (Some(true), Some(false), None, None)
        );
        assert_eq!((integer("-12"), integer("9223372036854775807")), (Some(-12), Some(i64::MAX)));
        for text in ["", "-", "+7", "1.0", " 1", "9223372036854775808", "١٢", "1e2"] {
            assert_eq!(integer(text), None, "{text}");
        }
        assert_eq!(
            (number("-0.25"), number(".5"), number("6.02e23"), number("0.000")),
            (Some(-0.25), Some(0.5), Some(6.02e23), Some(0.0))
        );
        for text in ["", ".", "-", "1e999", "1e-999", "infinity", "0x10", "1_0", "1e", "१.५", "+1.5"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!((date("1970-01-02"), date("2024-02-29"), date("1969-12-31")), (Some(1), Some(19_782), Some(-1)));
        for text in ["2024-02-30", "2023-02-29", "2024-13-01", "2024-1-1", "20240101", "２024-01-01", "2024-01-0é"] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_moments_in_the_coarsest_unit_that_holds_them() {
        let micros = |text: &str| timestamp(text).map(|(time, unit)| (time.timestamp_micros(), unit));
        assert_eq!(micros("1970-01-01T00:00:01"), Some((1_000_000, TimeUnit::Second)));
        assert_eq!(micros("1970-01-01 00:00:01.5"), Some((1_500_000, TimeUnit::Millisecond)));
        assert_eq!(micros("1970-01-01T02:00:00.000001+02:00"), Some((1, TimeUnit::Microsecond)));
        assert_eq!(micros("1970-01-02"), Some((86_400_000_000, TimeUnit::Second)));
        for text in [
            "2024-01-01T25:00:00",
            "2024-02-30T10:00:00",
            "2024-01-01T10:00",
            "2024-01-01T10:00:00.1234567890",
            "2024-01-01T10:00:00 nonsense",
            "2024-01-01T10:00:60",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
