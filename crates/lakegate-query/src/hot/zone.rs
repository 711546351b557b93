//! Min/max statistics of a part of a column: from a footer, or observed in decoded rows.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{cast, max, max_string_view, min, min_string_view};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;

/// A value that can be ordered, independent of the type of its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// An integer, or the number that represents a date or a timestamp.
    Number(i64),
    Text(Box<str>),
}

/// The min/max statistics of some rows of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Nothing is known.
    Unknown,
    /// All rows are NULL.
    Null,
    /// Lower and upper bound of all values, inclusive; there may be NULLs.
    Between(Key, Key),
}

/// Column statistics observed in decoded rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learnt {
    pub(crate) zone: Zone,
    pub(crate) has_nulls: bool,
}

impl Learnt {
    /// Computes the statistics of an array.
    pub(crate) fn of(array: &ArrayRef) -> Self {
        Self { zone: Zone::of(array), has_nulls: array.logical_null_count() > 0 }
    }
}

/// Whether a type has min/max statistics. Floats have none, because systems order NaN and signed zeros differently.
pub(crate) fn has_zones(data_type: &DataType) -> bool {
    is_number(data_type) || is_text(data_type)
}

/// Whether values of this type are 64-bit integers with the order of those integers.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    use DataType::{Date32, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Date32 | Timestamp(..))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

/// Converts an array of a number type to `Int64`, without a copy if it already is. `None` for other types.
pub(crate) fn numbers(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Int64 => Some(ArrayRef::clone(array)),
        // A date is a number of days; the cast through 32 bits keeps it.
        DataType::Date32 => cast(&cast(array, &DataType::Int32).ok()?, &DataType::Int64).ok(),
        data_type if is_number(data_type) => cast(array, &DataType::Int64).ok(),
        _ => None,
    }
}

impl Key {
    /// Converts a value to a key; `None` for NULL and for types without statistics.
    pub(crate) fn of(value: &ScalarValue) -> Option<Self> {
        match value {
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
                text.as_deref().map(|text| Self::Text(text.into()))
            }
            ScalarValue::Int64(number) => number.map(Self::Number),
            value if is_number(&value.data_type()) && !value.is_null() => {
                let numbers = numbers(&value.to_array().ok()?)?;
                Some(Self::Number(numbers.as_primitive::<Int64Type>().value(0)))
            }
            _ => None,
        }
    }
}

impl Zone {
    /// Computes the statistics of an array; `Unknown` if it is empty.
    pub(crate) fn of(array: &ArrayRef) -> Self {
        if array.is_empty() {
            return Self::Unknown;
        }
        if array.logical_null_count() == array.len() {
            return Self::Null;
        }
        let bounds = match array.data_type() {
            DataType::Utf8View => {
                let texts = array.as_string_view();
                let key = |text: Option<&str>| text.map(|text| Key::Text(text.into()));
                key(min_string_view(texts)).zip(key(max_string_view(texts)))
            }
            _ => numbers(array).and_then(|numbers| {
                let numbers = numbers.as_primitive::<Int64Type>();
                min(numbers).map(Key::Number).zip(max(numbers).map(Key::Number))
            }),
        };
        bounds.map_or(Self::Unknown, |(least, greatest)| Self::Between(least, greatest))
    }

    /// The statistics of the rows of both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Null, zone) | (zone, Self::Null) => zone.clone(),
            (Self::Between(a, b), Self::Between(c, d)) => Self::Between(a.min(c).clone(), b.max(d).clone()),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Date32Array, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    #[test]
    fn zones_are_of_values_and_know_of_nulls() {
        let zone = |array: ArrayRef| Zone::of(&array);
        let between = |low, high| Zone::Between(Key::Number(low), Key::Number(high));
        assert_eq!(zone(Arc::new(Int64Array::from(vec![Some(3), None, Some(-5)]))), between(-5, 3));
        assert_eq!(zone(Arc::new(Date32Array::from(vec![2, 1]))), between(1, 2));
        assert_eq!(zone(Arc::new(TimestampMicrosecondArray::from(vec![9, 8]))), between(8, 9));
        assert_eq!(zone(Arc::new(Int64Array::from(vec![None, None]))), Zone::Null);
        assert_eq!(zone(Arc::new(Float64Array::from(vec![1.0]))), Zone::Unknown);
        let texts = zone(Arc::new(StringViewArray::from(vec!["b", "a"])));
        assert_eq!(texts, Zone::Between(Key::Text("a".into()), Key::Text("b".into())));
        assert_eq!(between(1, 2).and(&between(5, 6)), between(1, 6));
        assert_eq!(between(1, 2).and(&Zone::Null), between(1, 2));
        assert_eq!(between(1, 2).and(&Zone::Unknown), Zone::Unknown);
    }

    #[test]
    fn keys_of_values_are_those_of_their_column() {
        assert_eq!(Key::of(&ScalarValue::Date32(Some(3))), Some(Key::Number(3)));
        assert_eq!(Key::of(&ScalarValue::TimestampMillisecond(Some(4), None)), Some(Key::Number(4)));
        assert_eq!(Key::of(&ScalarValue::UInt8(Some(5))), Some(Key::Number(5)));
        assert_eq!(Key::of(&ScalarValue::Int64(None)), None);
        assert_eq!(Key::of(&ScalarValue::Float64(Some(1.0))), None);
    }
}
