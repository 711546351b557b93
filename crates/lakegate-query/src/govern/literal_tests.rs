//! Tests that literals have exactly their value, in every type that has the value and in no other.

use chrono::{DateTime, NaiveDate};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use lakegate_core::value::{Scalar, ScalarType};
use proptest::prelude::*;

use super::literal::{can_bind, declared_type, literal, natural_type};

fn types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float32, Float64, Boolean, Utf8];
    types.extend([LargeUtf8, Utf8View, Date32, Date64, Decimal128(10, 2), Decimal128(38, 0), Decimal256(50, 10)]);
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("UTC".into())));
        types.push(Timestamp(unit, Some("+02:00".into())));
    }
    types.extend([Utf8, Int32].map(|value| Dictionary(Box::new(Int32), Box::new(value))));
    types
}

fn scalars() -> impl Strategy<Value = Scalar> {
    let small = -200_i64..200;
    prop_oneof![
        any::<i64>().prop_map(Scalar::Integer),
        small.prop_map(Scalar::Integer),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Scalar::Number),
        (-1_000_000_i64..1_000_000).prop_map(|hundredths| Scalar::Number(hundredths as f64 / 100.0)),
        any::<bool>().prop_map(Scalar::Boolean),
        ".*".prop_map(Scalar::String),
        any::<u128>().prop_map(|bits| Scalar::Uuid(uuid::Uuid::from_u128(bits))),
        (-700_000_i32..3_000_000).prop_map(|days| {
            Scalar::Date(NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::TimeDelta::days(days.into()))
        }),
        (-62_000_000_000_000_000_i64..253_000_000_000_000_000)
            .prop_map(|micros| Scalar::Timestamp(DateTime::from_timestamp_micros(micros).unwrap())),
    ]
}

/// The instant of a timestamp in nanoseconds.
fn nanos(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::TimestampSecond(Some(it), _) => Some(i128::from(*it) * 1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(it), _) => Some(i128::from(*it) * 1_000_000),
        ScalarValue::TimestampMicrosecond(Some(it), _) => Some(i128::from(*it) * 1_000),
        ScalarValue::TimestampNanosecond(Some(it), _) => Some(i128::from(*it)),
        ScalarValue::Date32(Some(days)) => Some(i128::from(*days) * 86_400_000_000_000),
        ScalarValue::Date64(Some(millis)) => Some(i128::from(*millis) * 1_000_000),
        _ => None,
    }
}

fn same(scalar: &Scalar, value: &ScalarValue) -> bool {
    if let ScalarValue::Dictionary(_, value) = value {
        return same(scalar, value);
    }
    match scalar {
        Scalar::String(text) => value.try_as_str() == Some(Some(text)),
        Scalar::Uuid(uuid) => value.try_as_str() == Some(Some(uuid.to_string().as_str())),
        Scalar::Boolean(boolean) => *value == ScalarValue::Boolean(Some(*boolean)),
        Scalar::Date(date) => {
            nanos(value) == Some(i128::from(date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()) * 1_000_000_000)
        }
        Scalar::Timestamp(time) => nanos(value) == Some(i128::from(time.timestamp_micros()) * 1_000),
        Scalar::Integer(integer) => match value {
            ScalarValue::Float32(Some(float)) => f64::from(*float) as i128 == i128::from(*integer),
            ScalarValue::Float64(Some(float)) => *float as i128 == i128::from(*integer),
            decimal_or_integer => decimal_or_integer
                .to_string()
                .split(',')
                .next()
                .unwrap()
                .trim_end_matches(".00")
                .contains(&integer.to_string()),
        },
        Scalar::Number(number) => match value {
            ScalarValue::Float64(Some(float)) => float == number,
            // The nearest value, because a column of this type has no nearer one.
            ScalarValue::Float32(Some(float)) => float.is_finite() && *float == *number as f32,
            ScalarValue::Decimal128(Some(unscaled), _, scale) => {
                *unscaled as f64 / 10_f64.powi((*scale).into()) == *number
            }
            ScalarValue::Decimal256(Some(_), ..) => true,
            _ => false,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_literal_is_the_value_in_the_type(scalar in scalars()) {
        for to in types() {
            if let Some(value) = literal(&scalar, &to) {
                prop_assert_eq!(value.data_type(), to.clone());
                prop_assert!(!value.is_null(), "{:?} as {}", scalar, to);
                prop_assert!(same(&scalar, &value), "{:?} as {} became {:?}", scalar, to, value);
                prop_assert!(can_bind(scalar.scalar_type(), &to), "{:?} as {} was bound but is refused by check", scalar, to);
            }
        }
        prop_assert!(literal(&scalar, &natural_type(scalar.scalar_type())).is_some());
    }

    #[test]
    fn an_integer_is_bound_wherever_it_fits(integer in any::<i64>()) {
        let has = |to: DataType| literal(&Scalar::Integer(integer), &to).is_some();
        prop_assert_eq!(has(DataType::Int8), i8::try_from(integer).is_ok());
        prop_assert_eq!(has(DataType::UInt32), u32::try_from(integer).is_ok());
        prop_assert_eq!(has(DataType::UInt64), integer >= 0);
    }
}

#[test]
fn what_check_accepts_has_a_literal_for_usual_values() {
    let usual = |scalar: ScalarType| match scalar {
        ScalarType::String => Scalar::String("x".to_owned()),
        ScalarType::Integer => Scalar::Integer(1),
        ScalarType::Number => Scalar::Number(1.5),
        ScalarType::Boolean => Scalar::Boolean(true),
        other => other
            .parse(if other == ScalarType::Uuid { "67e55044-10b1-426f-9247-bb680e5fe0c8" } else { "2022-10-01" })
            .unwrap(),
    };
    for to in types() {
        for scalar in ScalarType::ALL {
            let whole = matches!(to, DataType::Decimal128(_, 0)) && scalar == ScalarType::Number;
            // A dictionary holds text in every lake; `check` examines the type of its values, too.
            assert_eq!(
                literal(&usual(scalar), &to).is_some(),
                can_bind(scalar, &to) && !whole,
                "{} as {to}",
                scalar.name()
            );
        }
        if let Some(declared) = declared_type(&to) {
            assert!(can_bind(declared, &to), "{to}");
        }
    }
}

#[test]
fn a_number_beyond_the_type_is_no_literal() {
    assert_eq!(literal(&Scalar::Number(1e300), &DataType::Float32), None);
    // The nearest 32-bit float is another client's number.
    assert_eq!(literal(&Scalar::Integer(16_777_217), &DataType::Float32), None);
    assert_eq!(
        literal(&Scalar::Integer(1 << 53), &DataType::Float64),
        Some(ScalarValue::Float64(Some(9_007_199_254_740_992.0)))
    );
}
