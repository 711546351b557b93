//! Tests the value of each mask at the edges of its input types.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, DictionaryArray,
    Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, Float64Type, Int16Type, Int32Type, Int64Type, TimeUnit, UInt64Type, i256,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ExprSchemable, ScalarFunctionArgs, ScalarUDFImpl, col};
use lakegate_core::project::{Granularity, MaskSpec};

use super::testing::{SECRET, apply, compile, grid, hash, holds, masked_texts, round, shown, truncate};
use super::{Mask, MaskKey, MaskRule, expr, of};

fn check_texts(spec: &MaskSpec, cases: &[(&str, Option<&str>)]) {
    let texts = cases.iter().map(|(text, _)| Some(*text)).collect::<Vec<_>>();
    for ((text, expected), masked) in cases.iter().zip(masked_texts(spec, &texts)) {
        assert_eq!(masked.as_deref(), *expected, "{spec:?} of {text:?}");
    }
}

#[test]
fn null_and_redact_tell_nothing_of_any_row() {
    let long = "x".repeat(100_000);
    let texts = [Some(""), None, Some("a"), Some("\0"), Some(long.as_str())];
    assert_eq!(masked_texts(&MaskSpec::Null, &texts), vec![None; 5]);
    assert_eq!(masked_texts(&MaskSpec::Redact, &texts), vec![Some("[redacted]".to_owned()); 5]);
}

#[test]
fn partial_keeps_the_ends_of_a_text_that_is_long_enough() {
    let two = MaskSpec::Partial { prefix: 2, suffix: 2 };
    check_texts(
        &two,
        &[
            ("", Some("****")),
            ("a", Some("****")),
            ("abcd", Some("****")),
            ("abcdefg", Some("****")),
            ("abcdefgh", Some("ab****gh")),
            ("abcdefghijklmnop", Some("ab****op")),
            ("áéíóúñçß", Some("áé****çß")),
            ("áéíóúñç", Some("****")),
            ("e\u{301}aaaaaa\u{301}", Some("e\u{301}****a\u{301}")),
            ("🦀🦀🦀🦀🦀🦀🦀🦀", Some("🦀🦀****🦀🦀")),
            ("\0\0bcdefg", Some("\0\0****fg")),
        ],
    );
    check_texts(&MaskSpec::Partial { prefix: 1, suffix: 0 }, &[("abcd", Some("****")), ("abcde", Some("a****"))]);
    check_texts(&MaskSpec::Partial { prefix: 0, suffix: 1 }, &[("abcd", Some("****")), ("abcdé", Some("****é"))]);
    let long = format!("{}{}{}", "p".repeat(64), "x".repeat(1_000_000), "s".repeat(64));
    let kept = format!("{}****{}", "p".repeat(64), "s".repeat(64));
    check_texts(&MaskSpec::Partial { prefix: 64, suffix: 64 }, &[(&long, Some(&kept))]);
    assert_eq!(masked_texts(&two, &[None]), [None]);
}

#[test]
fn email_keeps_the_domain_of_an_address() {
    check_texts(
        &MaskSpec::Email,
        &[
            ("Anna.Ruiz+x@Mail.Example.ORG", Some("****@mail.example.org")),
            ("a@x-1.co", Some("****@x-1.co")),
            ("ñandú@x.org", Some("****@x.org")),
            ("", Some("****")),
            ("@", Some("****")),
            ("@x.org", Some("****")),
            ("a@", Some("****")),
            ("a@b@x.org", Some("****")),
            ("a@secret", Some("****")),
            ("a@x..org", Some("****")),
            ("a@.org", Some("****")),
            ("a@x.org.", Some("****")),
            ("a@-x.org", Some("****")),
            ("a@x_y.org", Some("****")),
            ("a@münchen.de", Some("****")),
            ("a@x.org ", Some("****")),
            ("Anna Ruiz@x.org", Some("****")),
            ("Anna <a@x.org>", Some("****")),
            ("a\0@x.org", Some("****")),
            ("no address at all", Some("****")),
        ],
    );
    assert_eq!(masked_texts(&MaskSpec::Email, &[None]), [None]);
    let long = format!("a@{}.org", "x.".repeat(200));
    check_texts(&MaskSpec::Email, &[(&long, Some("****"))]);
}

#[test]
fn grid_gives_the_centre_of_the_cell() {
    check_texts(
        &grid("0.01"),
        &[
            ("POINT (-74.0721 4.7110)", Some("POINT (-74.075 4.715)")),
            ("POINT (-74.0799999 4.7199999)", Some("POINT (-74.075 4.715)")),
            ("point(-74.08 4.71)", Some("POINT (-74.075 4.715)")),
            ("  Point  (\t-74.08\n4.71 )  ", Some("POINT (-74.075 4.715)")),
            ("SRID=4326;POINT(-74.08 4.71)", Some("POINT (-74.075 4.715)")),
            ("srid=4326; point(-74.08 4.71)", Some("POINT (-74.075 4.715)")),
            ("POINT (0.29 4.35)", Some("POINT (0.295 4.355)")),
            ("POINT (0 -0)", Some("POINT (0.005 0.005)")),
            ("POINT (-1e-300 1e-7)", Some("POINT (-0.005 0.005)")),
            ("POINT (180 90)", Some("POINT (179.995 89.995)")),
            ("POINT (-180 -90)", Some("POINT (-179.995 -89.995)")),
        ],
    );
    check_texts(&grid("0.5"), &[("POINT (-0.1 12.5)", Some("POINT (-0.25 12.75)"))]);
    check_texts(&grid("2"), &[("POINT (-74.1 4.7)", Some("POINT (-75 5)"))]);
    check_texts(&grid("90"), &[("POINT (1 90)", Some("POINT (45 45)")), ("POINT (-180 -1)", Some("POINT (-135 -45)"))]);
    check_texts(&grid("80"), &[("POINT (170 85)", Some("POINT (180 90)"))]);
    for text in [
        "",
        "POINT",
        "POINT EMPTY",
        "POINT ()",
        "POINT (1)",
        "POINT (1 2 3)",
        "POINT Z (1 2 3)",
        "POINT (1, 2)",
        "POINT (a b)",
        "POINT (nan nan)",
        "POINT (inf 1)",
        "POINT (181 0)",
        "POINT (0 91)",
        "POINT (0 -90.0000001)",
        "POINT (1 2",
        "LINESTRING (1 2, 3 4)",
        "SRID=;POINT (1 2)",
        "SRID=x;POINT (1 2)",
        "POINT (1 2) x",
        "POINTS (1 2)",
        "PÓINT (1 2)",
        "12 Long Street",
    ] {
        check_texts(&grid("0.01"), &[(text, None)]);
    }
    assert_eq!(masked_texts(&grid("1"), &[None]), [None]);
}

#[test]
fn hash_is_an_hmac_of_domain_kind_and_value() {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(b"lakegate mask v1\0\0\0\0\0\0\0\0\x04cityt");
    mac.update("Bogotá".as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let expected = data_encoding::HEXLOWER.encode(&bytes[..16]);
    check_texts(&hash("city"), &[("Bogotá", Some(&expected))]);

    let masked = masked_texts(&hash(""), &[Some("a"), Some("a"), Some("A"), Some(""), None]);
    assert!(masked[0] == masked[1] && masked[0] != masked[2] && masked[3].is_some() && masked[4].is_none());
    assert_ne!(masked_texts(&hash("x"), &[Some("a")]), masked_texts(&hash(""), &[Some("a")]));

    let integers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(i64::MIN), Some(i64::MAX), None, Some(-1)]));
    let masked = apply(&hash(""), &integers);
    let masked = masked.as_primitive::<Int64Type>();
    assert!(masked.iter().flatten().all(|value| value >= 0) && masked.is_null(3));
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![7, u64::MAX]));
    let unsigned = apply(&hash(""), &unsigned);
    assert_eq!(unsigned.as_primitive::<UInt64Type>().value(0), masked.value(0) as u64);
    assert!(unsigned.as_primitive::<UInt64Type>().values().iter().all(|value| *value <= i64::MAX as u64));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let fault = compile("", &hash(""), small.data_type()).unwrap_err();
    assert_eq!(
        fault,
        "a `hash` mask takes text, integers of 64 bits and UUIDs, not `Int32`; choose another mask, such as `null`"
    );
}

#[test]
fn a_key_is_long_enough_and_never_shown() {
    assert!(MaskKey::new("").is_err() && MaskKey::new(&"x".repeat(31)).is_err());
    assert!(MaskKey::new(&" ".repeat(100)).is_err() && MaskKey::new(&format!("{}\r\n", "x".repeat(31))).is_err());
    let (key, with_newline) = (MaskKey::new(SECRET).unwrap(), MaskKey::new(&format!("{SECRET}\n")).unwrap());
    assert_eq!(key, with_newline);
    assert_eq!(format!("{key:?}"), format!("MaskKey({})", key.id()));
    assert_eq!(key.id().len(), 8);
    let other = MaskKey::new(&format!("{SECRET}!")).unwrap();
    assert!(other != key && other.id() != key.id());
    let mask = compile("", &hash("d"), &DataType::Utf8).unwrap();
    let shown = format!("{mask:?}");
    assert!(!shown.contains(SECRET) && shown.contains(key.id()) && !shown.contains("state"), "{shown}");
    assert!(!MaskKey::new("short").unwrap_err().to_string().contains("short"));

    let rules = [MaskRule { path: &[], spec: &hash("d"), or_null: false }];
    let rotated = Mask::compile(&rules, &DataType::Utf8, Some(&Arc::new(other))).unwrap();
    assert_ne!(mask, rotated);
    assert_eq!(mask, compile("", &hash("d"), &DataType::Utf8).unwrap());
    assert_eq!(Mask::compile(&rules, &DataType::Utf8, None).unwrap_err(), "a `hash` mask needs the key of [masking]");
}

#[test]
fn integers_round_half_away_from_zero_within_their_type() {
    let check = |array: ArrayRef, by: &str, expected: &[&str]| {
        assert_eq!(shown(&apply(&round(by), &array)), expected, "{by}");
    };
    check(
        Arc::new(Int64Array::from(vec![0, 4, 5, 14, 15, -4, -5, -15])),
        "10",
        &["0", "0", "10", "10", "20", "0", "-10", "-20"],
    );
    check(Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])), "10", &["-9223372036854775800", "9223372036854775800"]);
    check(Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])), "1", &[&i64::MIN.to_string(), &i64::MAX.to_string()]);
    check(Arc::new(UInt64Array::from(vec![u64::MAX, 4, 5])), "10", &["18446744073709551610", "0", "10"]);
    check(Arc::new(Int8Array::from(vec![127, -128, 49, 50, -50])), "100", &["100", "-100", "0", "100", "-100"]);
    check(Arc::new(Int8Array::from(vec![127, -128])), "200", &["0", "0"]);
    check(Arc::new(Int8Array::from(vec![127, -128])), "128", &["0", "-128"]);
    check(Arc::new(Int64Array::from(vec![Some(1), None])), "999999999999999999", &["0", "NULL"]);
    let fault = compile("", &round("0.5"), &DataType::Int64).unwrap_err();
    assert_eq!(fault, "its type `Int64` has no multiples of 0.5; choose a larger `step`");
    assert!(
        compile("", &round("1"), &DataType::Utf8).unwrap_err().starts_with("a `round` mask takes numbers, not `Utf8`")
    );
}

#[test]
fn floats_round_to_the_decimal_that_is_meant() {
    let check = |values: Vec<f64>, by: &str, expected: &[Option<f64>]| {
        let array: ArrayRef = Arc::new(Float64Array::from(values));
        let masked = apply(&round(by), &array);
        let bits = |value: Option<f64>| value.map(f64::to_bits);
        let masked = masked.as_primitive::<Float64Type>().iter().map(bits).collect::<Vec<_>>();
        assert_eq!(masked, expected.iter().copied().map(bits).collect::<Vec<_>>(), "{by}");
    };
    check(vec![0.31, 0.25, -0.25, 0.05, 1234.56], "0.1", &[Some(0.3), Some(0.3), Some(-0.3), Some(0.1), Some(1234.6)]);
    check(vec![-0.0, -0.4, 0.4, 0.5, -0.5], "1", &[Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(-1.0)]);
    check(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY], "1", &[None, None, None]);
    check(vec![f64::MAX, f64::MIN, f64::MIN_POSITIVE], "0.001", &[Some(f64::MAX), Some(f64::MIN), Some(0.0)]);
    check(vec![1234.0, 1250.0, -1250.0], "100", &[Some(1200.0), Some(1300.0), Some(-1300.0)]);
    let singles: ArrayRef = Arc::new(Float32Array::from(vec![0.31, f32::MAX, f32::NAN]));
    assert_eq!(shown(&apply(&round("0.1"), &singles)), ["0.3", "3.4028235e38", "NULL"]);
    let halves = cast(&(Arc::new(Float32Array::from(vec![65_504.0, 0.3])) as ArrayRef), &DataType::Float16).unwrap();
    assert_eq!(shown(&apply(&round("33000"), &halves)), ["32992", "0"]);
}

#[test]
fn decimals_round_within_their_precision() {
    let greatest = 10_i128.pow(38) - 1;
    let decimals = |values: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let check = |array: ArrayRef, by: &str, expected: &[&str]| {
        assert_eq!(shown(&apply(&round(by), &array)), expected, "{by} of {}", array.data_type());
    };
    check(decimals(vec![1234, 1250, -1250, 99_999], 5, 2), "1", &["12.00", "13.00", "-13.00", "999.00"]);
    check(decimals(vec![1234, 1237], 5, 2), "0.05", &["12.35", "12.35"]);
    check(
        decimals(vec![greatest, -greatest], 38, 0),
        "10",
        &[&format!("{}0", "9".repeat(37)), &format!("-{}0", "9".repeat(37))],
    );
    check(decimals(vec![greatest], 38, 37), "100", &[&format!("0.{}", "0".repeat(37))]);
    check(decimals(vec![greatest], 38, 38), "999999999999999999", &[&format!("0.{}", "0".repeat(38))]);
    check(decimals(vec![15, 149], 5, -2), "1000", &["2000", "15000"]);
    assert!(compile("", &round("0.001"), &DataType::Decimal128(5, 2)).is_err());
    assert!(compile("", &round("10"), &DataType::Decimal128(5, -2)).is_err());
    let wide = i256::from_string(&"9".repeat(76)).unwrap();
    let wide: ArrayRef = Arc::new(
        Decimal256Array::from(vec![wide, i256::from_i128(-15), i256::MIN]).with_precision_and_scale(76, 0).unwrap(),
    );
    let masked = compile("", &round("10"), wide.data_type()).unwrap().apply(&wide);
    let nines = format!("{}0", "9".repeat(75));
    assert_eq!(shown(&masked), [nines.clone(), "-20".to_owned(), format!("-{nines}")]);
}

#[test]
fn times_are_cut_to_their_beginning_before_1970_too() {
    let check = |array: ArrayRef, to: Granularity, expected: &[&str]| {
        assert_eq!(shown(&apply(&truncate(to), &array)), expected, "{to:?} of {}", array.data_type());
    };
    // 2022-10-28T07:46:39 and one second before 1970.
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(1_666_943_199), Some(-1), None]));
    check(Arc::clone(&seconds), Granularity::Hour, &["2022-10-28T07:00:00", "1969-12-31T23:00:00", "NULL"]);
    check(Arc::clone(&seconds), Granularity::Day, &["2022-10-28T00:00:00", "1969-12-31T00:00:00", "NULL"]);
    check(Arc::clone(&seconds), Granularity::Month, &["2022-10-01T00:00:00", "1969-12-01T00:00:00", "NULL"]);
    check(Arc::clone(&seconds), Granularity::Year, &["2022-01-01T00:00:00", "1969-01-01T00:00:00", "NULL"]);
    let zoned: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_640_998_800_000]).with_timezone("-05:00"));
    check(zoned, Granularity::Year, &["2021-12-31T19:00:00-05:00"]);
    let nanoseconds: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![i64::MIN, i64::MAX]));
    check(Arc::clone(&nanoseconds), Granularity::Hour, &["NULL", "2262-04-11T23:00:00"]);
    check(nanoseconds, Granularity::Month, &["NULL", "2262-04-01T00:00:00"]);
    for to in Granularity::NAMES.map(|(_, to)| to) {
        let edges = vec![i64::MIN, i64::MAX];
        let arrays: [ArrayRef; 3] = [
            Arc::new(TimestampSecondArray::from(edges.clone())),
            Arc::new(TimestampMillisecondArray::from(edges.clone())),
            Arc::new(TimestampMicrosecondArray::from(edges.clone())),
        ];
        for array in arrays {
            let masked = apply(&truncate(to), &array);
            assert!(to < Granularity::Month || masked.null_count() == 2, "{to:?} of {}", array.data_type());
        }
    }
    let days: ArrayRef = Arc::new(Date32Array::from(vec![19_293, -1, i32::MIN, i32::MAX]));
    assert_eq!(&apply(&truncate(Granularity::Hour), &days), &days);
    assert_eq!(&apply(&truncate(Granularity::Day), &days), &days);
    check(Arc::clone(&days), Granularity::Month, &["2022-10-01", "1969-12-01", "NULL", "NULL"]);
    check(days, Granularity::Year, &["2022-01-01", "1969-01-01", "NULL", "NULL"]);
    let dates: ArrayRef = Arc::new(Date64Array::from(vec![1_666_915_200_000, -86_400_000]));
    assert_eq!(&apply(&truncate(Granularity::Hour), &dates), &dates);
    check(dates, Granularity::Month, &["2022-10-01T00:00:00", "1969-12-01T00:00:00"]);
    assert!(compile("", &truncate(Granularity::Day), &DataType::Time64(TimeUnit::Nanosecond)).is_err());
}

#[test]
fn a_dictionary_keeps_no_value_that_is_masked_or_not_used() {
    let values: ArrayRef =
        Arc::new(StringArray::from(vec![Some("CANARY-unused"), Some("CANARY-1"), Some("CANARY-2"), None]));
    let keys = [Some(2), Some(1), None, Some(2), Some(3)].into_iter().collect();
    let array: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).unwrap());
    let masked = apply(&MaskSpec::Redact, &array);
    assert_eq!(shown(&masked), ["[redacted]"; 5]);
    assert_eq!(masked.as_dictionary::<Int32Type>().values().len(), 1);
    let masked = apply(&hash(""), &array);
    assert!(!holds(&masked, b"CANARY") && masked.as_dictionary::<Int32Type>().values().len() == 2);
    assert!(holds(&array, b"CANARY"));
    // Different texts with one masked form share one key.
    let masked = apply(&MaskSpec::Email, &array);
    assert_eq!(masked.as_dictionary::<Int32Type>().values().len(), 1);
    let empty: ArrayRef = Arc::new(DictionaryArray::<Int16Type>::from_iter(std::iter::empty::<Option<&str>>()));
    assert_eq!(apply(&MaskSpec::Redact, &empty).len(), 0);
}

#[test]
fn what_does_not_fit_is_null_for_the_mask_of_a_tag() {
    let rule = |or_null| [MaskRule { path: &[], spec: &MaskSpec::Redact, or_null }];
    assert!(Mask::compile(&rule(false), &DataType::Int64, None).is_err());
    let mask = Mask::compile(&rule(true), &DataType::Int64, None).unwrap();
    assert_eq!(mask, compile("", &MaskSpec::Null, &DataType::Int64).unwrap());
    let both = [
        MaskRule { path: &[], spec: &MaskSpec::Email, or_null: false },
        MaskRule { path: &[], spec: &MaskSpec::Redact, or_null: true },
    ];
    let mask = Mask::compile(&both, &DataType::Utf8, None).unwrap();
    assert_eq!(mask, compile("", &MaskSpec::Redact, &DataType::Utf8).unwrap());
    assert!(Mask::compile(&[], &DataType::Utf8, None).is_err());
    for spec in [MaskSpec::Redact, MaskSpec::Email, hash(""), round("1"), truncate(Granularity::Day), grid("1")] {
        let array: ArrayRef = Arc::new(datafusion::arrow::array::NullArray::new(2));
        assert_eq!(apply(&spec, &array).len(), 2);
    }
}

#[test]
fn the_function_has_the_type_and_metadata_of_its_column() {
    let field = Field::new("email", DataType::Utf8, false).with_metadata([("a".to_owned(), "b".to_owned())].into());
    let schema = DFSchema::try_from(datafusion::arrow::datatypes::Schema::new(vec![field])).unwrap();
    let mask = |spec: &MaskSpec| Arc::new(compile("", spec, &DataType::Utf8).unwrap());
    let masked = expr("person", "email", mask(&hash("d")), col("email"));
    assert_eq!(masked.to_string(), "mask_hash(email)");
    let (_, field) = masked.to_field(&schema).unwrap();
    assert_eq!((field.data_type(), field.is_nullable()), (&DataType::Utf8, false));
    assert_eq!(field.metadata().get("a").map(String::as_str), Some("b"));
    let (_, field) = expr("person", "email", mask(&MaskSpec::Null), col("email")).to_field(&schema).unwrap();
    assert!(field.is_nullable());

    let found = of(&masked).unwrap();
    assert_eq!((found.table(), found.column()), ("person", "email"));
    assert_eq!(found.mask(), &mask(&hash("d")));
    assert!(of(&col("email")).is_none());
    assert!(!format!("{masked:?}").contains(SECRET));
    let hashed = |function: &dyn Fn() -> datafusion::logical_expr::Expr| {
        let mut hasher = DefaultHasher::new();
        function().hash(&mut hasher);
        hasher.finish()
    };
    assert_eq!(masked, expr("person", "email", mask(&hash("d")), col("email")));
    assert_eq!(hashed(&|| masked.clone()), hashed(&|| expr("person", "email", mask(&hash("d")), col("email"))));
    assert_ne!(masked, expr("person", "email", mask(&hash("e")), col("email")));
    assert_ne!(masked, expr("person", "mail", mask(&hash("d")), col("email")));
    assert_ne!(masked, expr("client", "email", mask(&hash("d")), col("email")));
}

#[test]
fn the_function_masks_a_single_value_too() {
    let masked = expr("t", "c", Arc::new(compile("", &MaskSpec::Email, &DataType::Utf8).unwrap()), col("c"));
    let function = of(&masked).unwrap();
    let field = Arc::new(Field::new("c", DataType::Utf8, true));
    let invoke = |value: ColumnarValue| {
        let args = ScalarFunctionArgs {
            args: vec![value],
            arg_fields: vec![Arc::clone(&field)],
            number_rows: 3,
            return_field: Arc::clone(&field),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(args).unwrap()
    };
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let ColumnarValue::Scalar(value) = invoke(ColumnarValue::Scalar(text("a@x.org"))) else { panic!("no value") };
    assert_eq!(value, text("****@x.org"));
    let ColumnarValue::Scalar(value) = invoke(ColumnarValue::Scalar(ScalarValue::Utf8(None))) else {
        panic!("no value")
    };
    assert_eq!(value, ScalarValue::Utf8(None));
    let array: ArrayRef = Arc::new(StringArray::from(vec!["a@x.org"; 3]));
    let ColumnarValue::Array(values) = invoke(ColumnarValue::Array(array)) else { panic!("no values") };
    assert_eq!(shown(&values), ["****@x.org"; 3]);
}
