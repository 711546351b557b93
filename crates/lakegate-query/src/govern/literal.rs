//! Converts typed values to literals of exactly a column's type, or fails; never to a nearby value. The only exception:
//! a fraction becomes the nearest 32-bit float if the column has this type.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use lakegate_core::value::{Scalar, ScalarType};

use crate::floats::canonical;
use crate::uuids;

/// The type of a value that is compared with no column.
pub(crate) fn natural_type(scalar: ScalarType) -> DataType {
    match scalar {
        ScalarType::String | ScalarType::Uuid => DataType::Utf8View,
        ScalarType::Integer => DataType::Int64,
        ScalarType::Number => DataType::Float64,
        ScalarType::Boolean => DataType::Boolean,
        ScalarType::Date => DataType::Date32,
        ScalarType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The declared type that fits a column best.
pub(crate) fn declared_type(data_type: &DataType) -> Option<ScalarType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(ScalarType::String),
        DataType::Dictionary(_, value) => declared_type(value),
        kind if kind.is_integer() => Some(ScalarType::Integer),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            Some(ScalarType::Number)
        }
        DataType::Boolean => Some(ScalarType::Boolean),
        DataType::Date32 | DataType::Date64 => Some(ScalarType::Date),
        DataType::Timestamp(..) => Some(ScalarType::Timestamp),
        DataType::FixedSizeBinary(uuids::BYTES) => Some(ScalarType::Uuid),
        _ => None,
    }
}

/// Whether values of a declared type can be literals of a column's type without changing their meaning.
pub(crate) fn can_bind(scalar: ScalarType, to: &DataType) -> bool {
    match (scalar, to) {
        (ScalarType::String, to) => declared_type(to) == Some(ScalarType::String),
        (ScalarType::Uuid, to) => matches!(declared_type(to), Some(ScalarType::String | ScalarType::Uuid)),
        (ScalarType::Integer, to) => matches!(declared_type(to), Some(ScalarType::Integer | ScalarType::Number)),
        (ScalarType::Number, to) => declared_type(to) == Some(ScalarType::Number),
        (ScalarType::Boolean, to) => matches!(to, DataType::Boolean),
        (ScalarType::Date, to) => matches!(declared_type(to), Some(ScalarType::Date | ScalarType::Timestamp)),
        (ScalarType::Timestamp, to) => declared_type(to) == Some(ScalarType::Timestamp),
    }
}

/// The literal; `None` if the type has no such value.
pub(crate) fn literal(scalar: &Scalar, to: &DataType) -> Option<ScalarValue> {
    if let DataType::Dictionary(key, value) = to {
        return Some(ScalarValue::Dictionary(key.clone(), Box::new(literal(scalar, value)?)));
    }
    match scalar {
        Scalar::String(text) => text_literal(text.clone(), to),
        Scalar::Uuid(uuid) if *to == DataType::FixedSizeBinary(uuids::BYTES) => {
            Some(ScalarValue::FixedSizeBinary(uuids::BYTES, Some(uuid.as_bytes().to_vec())))
        }
        Scalar::Uuid(uuid) => text_literal(uuid.to_string(), to),
        Scalar::Integer(integer) => integer_literal(*integer, to),
        Scalar::Number(number) => number_literal(*number, to),
        Scalar::Boolean(boolean) => (*to == DataType::Boolean).then_some(ScalarValue::Boolean(Some(*boolean))),
        Scalar::Date(date) => date_literal(*date, to),
        Scalar::Timestamp(time) => timestamp_literal(*time, to),
    }
}

fn text_literal(text: String, to: &DataType) -> Option<ScalarValue> {
    match to {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(text))),
        DataType::LargeUtf8 => Some(ScalarValue::LargeUtf8(Some(text))),
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some(text))),
        _ => None,
    }
}

fn integer_literal(integer: i64, to: &DataType) -> Option<ScalarValue> {
    // Floats represent all integers up to this limit. Above it, the nearest float may be another integer.
    let is_exact = |digits: u32| integer.unsigned_abs() <= 1 << digits;
    match to {
        DataType::Int8 => integer.try_into().ok().map(|it| ScalarValue::Int8(Some(it))),
        DataType::Int16 => integer.try_into().ok().map(|it| ScalarValue::Int16(Some(it))),
        DataType::Int32 => integer.try_into().ok().map(|it| ScalarValue::Int32(Some(it))),
        DataType::Int64 => Some(ScalarValue::Int64(Some(integer))),
        DataType::UInt8 => integer.try_into().ok().map(|it| ScalarValue::UInt8(Some(it))),
        DataType::UInt16 => integer.try_into().ok().map(|it| ScalarValue::UInt16(Some(it))),
        DataType::UInt32 => integer.try_into().ok().map(|it| ScalarValue::UInt32(Some(it))),
        DataType::UInt64 => integer.try_into().ok().map(|it| ScalarValue::UInt64(Some(it))),
        DataType::Float32 => is_exact(f32::MANTISSA_DIGITS).then(|| ScalarValue::Float32(Some(integer as f32))),
        DataType::Float64 => is_exact(f64::MANTISSA_DIGITS).then(|| ScalarValue::Float64(Some(integer as f64))),
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            ScalarValue::try_from_string(integer.to_string(), to).ok()
        }
        _ => None,
    }
}

fn number_literal(number: f64, to: &DataType) -> Option<ScalarValue> {
    let number = canonical(number);
    match to {
        DataType::Float64 => Some(ScalarValue::Float64(Some(number))),
        // Few fractions are exact in 32 bits, and a column of this type holds the nearest value, too.
        DataType::Float32 => (number as f32).is_finite().then(|| ScalarValue::Float32(Some(number as f32))),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            let text = number.to_string();
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            (digits <= usize::try_from(*scale).unwrap_or(0))
                .then(|| ScalarValue::try_from_string(text, to).ok())
                .flatten()
        }
        _ => None,
    }
}

fn date_literal(date: NaiveDate, to: &DataType) -> Option<ScalarValue> {
    match to {
        DataType::Date32 => {
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?.num_days_from_ce();
            Some(ScalarValue::Date32(Some(date.num_days_from_ce() - epoch)))
        }
        DataType::Date64 => Some(ScalarValue::Date64(Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis()))),
        DataType::Timestamp(..) => timestamp_literal(date.and_time(NaiveTime::MIN).and_utc(), to),
        _ => None,
    }
}

/// A column without a time zone holds UTC, as is usual in lakes.
fn timestamp_literal(time: DateTime<Utc>, to: &DataType) -> Option<ScalarValue> {
    let DataType::Timestamp(unit, zone) = to else { return None };
    let nanos = time.timestamp_subsec_nanos();
    let zone = zone.clone();
    match unit {
        TimeUnit::Second => (nanos == 0).then(|| ScalarValue::TimestampSecond(Some(time.timestamp()), zone)),
        TimeUnit::Millisecond => (nanos.is_multiple_of(1_000_000))
            .then(|| ScalarValue::TimestampMillisecond(Some(time.timestamp_millis()), zone)),
        TimeUnit::Microsecond => (nanos.is_multiple_of(1_000))
            .then(|| ScalarValue::TimestampMicrosecond(Some(time.timestamp_micros()), zone)),
        TimeUnit::Nanosecond => {
            time.timestamp_nanos_opt().map(|nanos| ScalarValue::TimestampNanosecond(Some(nanos), zone))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_the_type_does_not_have_is_no_literal() {
        assert_eq!(literal(&Scalar::Integer(300), &DataType::Int8), None);
        assert_eq!(literal(&Scalar::Integer(-1), &DataType::UInt64), None);
        assert_eq!(literal(&Scalar::Integer((1 << 53) + 1), &DataType::Float64), None);
        assert_eq!(literal(&Scalar::Number(0.125), &DataType::Decimal128(10, 2)), None);
        let half_second = ScalarType::Timestamp.parse("2022-10-01T00:00:00.5Z").unwrap();
        assert_eq!(literal(&half_second, &DataType::Timestamp(TimeUnit::Second, None)), None);
        let far = ScalarType::Timestamp.parse("9999-01-01").unwrap();
        assert_eq!(literal(&far, &DataType::Timestamp(TimeUnit::Nanosecond, None)), None);
    }

    #[test]
    fn literals_are_of_exactly_the_type_asked_for() {
        let types = [
            (Scalar::String("x".into()), DataType::Utf8View),
            (Scalar::Integer(7), DataType::Int16),
            (Scalar::Integer(7), DataType::Decimal128(10, 2)),
            (Scalar::Number(1.5), DataType::Decimal128(10, 2)),
            (ScalarType::Date.parse("2022-10-01").unwrap(), DataType::Timestamp(TimeUnit::Nanosecond, None)),
            (ScalarType::Uuid.parse("5ce7f90d-0000-4000-8000-000000000001").unwrap(), DataType::FixedSizeBinary(16)),
            (ScalarType::Uuid.parse("5ce7f90d-0000-4000-8000-000000000001").unwrap(), DataType::Utf8View),
            (
                ScalarType::Timestamp.parse("2022-10-01").unwrap(),
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            ),
        ];
        for (scalar, to) in types {
            assert_eq!(literal(&scalar, &to).map(|literal| literal.data_type()), Some(to));
        }
    }
}
