//! Widens the type of a column that differs between files to one that holds the values of both.
//!
//! All widening is exact: a value stays the same, so that a row filter finds the same rows as before.

use std::sync::Arc;

use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, TimeUnit,
};

/// The narrowest type that holds the values of both types; `None` when there is none.
pub(super) fn widest(one: &DataType, other: &DataType) -> Option<DataType> {
    if one == other {
        return Some(one.clone());
    }
    let way = |narrow: &DataType, wide: &DataType| widens(narrow, wide).then(|| wide.clone());
    way(one, other).or_else(|| way(other, one)).or_else(|| both(one, other)).or_else(|| nested(one, other))
}

/// Whether every value of the first type is a value of the second.
fn widens(narrow: &DataType, wide: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, Null,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    match (narrow, wide) {
        (Null, _) => true,
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64) => true,
        (UInt16, UInt32 | UInt64 | Int32 | Int64) | (UInt32, UInt64 | Int64) => true,
        // A double holds integers of 53 bits.
        (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 | Float32, Float64) => true,
        (Int8 | Int16 | UInt8 | UInt16, Float32) => true,
        (Date32, Timestamp(unit, None)) => *unit != TimeUnit::Nanosecond,
        (Timestamp(narrow, one), Timestamp(wide, other)) => {
            one == other && *wide != TimeUnit::Nanosecond && rank(*narrow) < rank(*wide)
        }
        (Utf8, LargeUtf8 | Utf8View) | (LargeUtf8, Utf8View) => true,
        (Binary, LargeBinary | BinaryView) | (LargeBinary, BinaryView) => true,
        (DataType::Dictionary(_, value), wide) => value.as_ref() == wide || widens(value, wide),
        _ => false,
    }
}

fn rank(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// A third type that holds the values of both.
fn both(one: &DataType, other: &DataType) -> Option<DataType> {
    if let Some(whole) = signed(one, other).or_else(|| signed(other, one)) {
        return Some(whole);
    }
    let parts = |decimal: &DataType| match decimal {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, *scale)),
        _ => None,
    };
    let ((precision, scale), (other_precision, other_scale)) = (parts(one)?, parts(other)?);
    let wider = scale.max(other_scale);
    let whole = (i16::from(precision) - i16::from(scale)).max(i16::from(other_precision) - i16::from(other_scale));
    let digits = u8::try_from(whole + i16::from(wider)).ok()?;
    match digits {
        0 => None,
        digits if digits <= DECIMAL128_MAX_PRECISION => Some(DataType::Decimal128(digits, wider)),
        digits if digits <= DECIMAL256_MAX_PRECISION => Some(DataType::Decimal256(digits, wider)),
        _ => None,
    }
}

/// The signed type that holds an unsigned and a signed integer type.
fn signed(unsigned: &DataType, signed: &DataType) -> Option<DataType> {
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32};
    Some(match (unsigned, signed) {
        (UInt8, Int8) => Int16,
        (UInt16, Int8 | Int16) => Int32,
        (UInt32, Int8 | Int16 | Int32) => Int64,
        _ => return None,
    })
}

/// The nested type for both: structs may get more fields, and common fields widen. A field that one file lacks is NULL
/// in it.
fn nested(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one, other) {
        (DataType::Struct(first), DataType::Struct(second)) => {
            let in_both = first.iter().map(|field| match second.find(field.name()) {
                Some((_, other)) => part(field, Some(other)),
                None => part(field, None),
            });
            let added = second.iter().filter(|field| first.find(field.name()).is_none()).map(|field| part(field, None));
            Some(DataType::Struct(in_both.chain(added).collect::<Option<_>>()?))
        }
        (DataType::List(item), DataType::List(other)) => Some(DataType::List(part(item, Some(other))?)),
        (DataType::LargeList(item), DataType::LargeList(other)) => Some(DataType::LargeList(part(item, Some(other))?)),
        _ => None,
    }
}

fn part(field: &FieldRef, other: Option<&FieldRef>) -> Option<FieldRef> {
    let data_type = match other {
        Some(other) => widest(field.data_type(), other.data_type())?,
        None => field.data_type().clone(),
    };
    let part = Field::new(field.name(), with_nullable_parts(&data_type), true);
    Some(Arc::new(part.with_metadata(field.metadata().clone())))
}

fn with_nullable_parts(data_type: &DataType) -> DataType {
    let nullable = |field: &FieldRef| {
        let data_type = with_nullable_parts(field.data_type());
        Arc::new(Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone()))
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::List(item) => DataType::List(nullable(item)),
        DataType::LargeList(item) => DataType::LargeList(nullable(item)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn types_widen_where_every_value_stays_what_it_is() {
        let micros = Timestamp(TimeUnit::Microsecond, None);
        for (one, other, wide) in [
            (Int32, Int64, Int64),
            (Float64, Float32, Float64),
            (Int32, Float64, Float64),
            (UInt32, Int64, Int64),
            (UInt32, Int32, Int64),
            (UInt8, Int8, Int16),
            (Null, Utf8View, Utf8View),
            (Date32, micros.clone(), micros.clone()),
            (Timestamp(TimeUnit::Millisecond, None), micros.clone(), micros.clone()),
            (Decimal128(10, 2), Decimal128(12, 4), Decimal128(12, 4)),
            (Decimal128(38, 0), Decimal128(10, 4), Decimal256(42, 4)),
            (Dictionary(Box::new(Int32), Box::new(Utf8)), Utf8View, Utf8View),
        ] {
            assert_eq!(widest(&one, &other), Some(wide.clone()), "{one} {other}");
            assert_eq!(widest(&other, &one), Some(wide), "{other} {one}");
        }
    }

    #[test]
    fn parts_of_values_widen_as_columns_do() {
        let of = |fields: Vec<(&str, DataType)>| {
            Struct(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect())
        };
        let one = of(vec![("a", Int32), ("b", Utf8View)]);
        let other = of(vec![("c", Boolean), ("a", Int64)]);
        let both = of(vec![("a", Int64), ("b", Utf8View), ("c", Boolean)]);
        assert_eq!(widest(&one, &other), Some(both.clone()));
        let list = |kind: DataType| DataType::new_list(kind, true);
        assert_eq!(widest(&list(one.clone()), &list(other)), Some(list(both)));
        assert_eq!(widest(&one, &of(vec![("a", Utf8View)])), None);
        assert_eq!(widest(&one, &list(Int32)), None);
    }

    #[test]
    fn types_that_would_lose_something_do_not_go_together() {
        let nanos = Timestamp(TimeUnit::Nanosecond, None);
        for (one, other) in [
            (Int64, Float64),
            (UInt64, Int64),
            (Int32, Float32),
            (Int64, Utf8View),
            (Boolean, Int8),
            (Timestamp(TimeUnit::Microsecond, None), nanos.clone()),
            (Date32, nanos),
            (Timestamp(TimeUnit::Second, None), Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ] {
            assert_eq!(widest(&one, &other), None, "{one} {other}");
            assert_eq!(widest(&other, &one), None, "{other} {one}");
        }
    }
}
