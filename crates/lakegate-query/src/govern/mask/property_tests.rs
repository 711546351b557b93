//! Tests every mask over every array: length, type, independence of rows, and no raw byte left behind.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float64Array, Int64Array, ListArray,
    ListViewArray, StringArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int16Type, TimeUnit};
use lakegate_core::project::{Granularity, MaskSpec};
use proptest::prelude::*;

use super::Mask;
use super::testing::{compile, grid, hash, holds, round, text_types, truncate};

const CANARY: &[u8] = b"CANARY";

fn masks() -> Vec<MaskSpec> {
    let mut masks = vec![
        MaskSpec::Null,
        MaskSpec::Redact,
        MaskSpec::Email,
        MaskSpec::Partial { prefix: 2, suffix: 2 },
        MaskSpec::Partial { prefix: 0, suffix: 1 },
        hash(""),
        hash("domain"),
        grid("0.01"),
        grid("7.5"),
        round("1"),
        round("0.25"),
        round("1000000000000"),
    ];
    masks.extend(Granularity::NAMES.map(|(_, to)| truncate(to)));
    masks
}

fn types() -> Vec<DataType> {
    let item = |data_type: &DataType| Arc::new(Field::new("item", data_type.clone(), true));
    let masked = |data_type: &DataType| {
        let plain = Field::new("plain", DataType::Boolean, false);
        DataType::Struct(Fields::from(vec![Field::new("masked", data_type.clone(), true), plain]))
    };
    let mut types = text_types();
    types.extend([
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 0),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(76, 20),
        DataType::Date32,
        DataType::Date64,
        DataType::Binary,
        DataType::BinaryView,
    ]);
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.push(DataType::Timestamp(unit, None));
        types.push(DataType::Timestamp(unit, Some("America/Bogota".into())));
    }
    let nested = types.iter().step_by(3).flat_map(|each| {
        [
            DataType::List(item(each)),
            DataType::List(item(&masked(each))),
            DataType::ListView(item(each)),
            DataType::FixedSizeList(item(&masked(each)), 2),
            masked(each),
            masked(&DataType::List(item(each))),
        ]
    });
    let nested = nested.collect::<Vec<_>>();
    types.extend(nested);
    types
}

/// One number per row; 0 is NULL.
fn build(data_type: &DataType, rows: &[u64]) -> ArrayRef {
    let nulls = || NullBuffer::from_iter(rows.iter().map(|row| *row != 0));
    let children = |size: usize| {
        let child =
            |row: &u64| (0..size as u64).map(move |at| row.wrapping_mul(31).wrapping_add(at * 7)).collect::<Vec<_>>();
        rows.iter().flat_map(child).collect::<Vec<_>>()
    };
    match data_type {
        DataType::Dictionary(_, values) => {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values((1..=24).map(text)));
            let keys = rows.iter().map(|row| (*row != 0).then_some((*row % 12) as i16)).collect();
            Arc::new(DictionaryArray::<Int16Type>::try_new(keys, cast(&texts, values).unwrap()).unwrap())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView => {
            let texts: ArrayRef =
                Arc::new(rows.iter().map(|row| (*row != 0).then(|| text(*row))).collect::<StringArray>());
            let texts =
                if *data_type == DataType::BinaryView { cast(&texts, &DataType::Utf8View).unwrap() } else { texts };
            cast(&texts, data_type).unwrap()
        }
        DataType::Struct(fields) => {
            let build_field = |field: &FieldRef| {
                let shown = rows.iter().map(|row| row.is_multiple_of(3)).collect::<BooleanArray>();
                if field.name() == "plain" {
                    Arc::new(shown) as ArrayRef
                } else {
                    build(field.data_type(), &children(1))
                }
            };
            Arc::new(StructArray::new(fields.clone(), fields.iter().map(build_field).collect(), Some(nulls())))
        }
        DataType::List(item) => {
            // Rows that are NULL have items, too.
            let items = build(item.data_type(), &children(2));
            let offsets = OffsetBuffer::from_lengths(rows.iter().map(|_| 2));
            Arc::new(ListArray::new(Arc::clone(item), offsets, items, Some(nulls())))
        }
        DataType::ListView(item) => {
            let items = build(item.data_type(), &children(2));
            let starts = (0..rows.len() as i32).rev().map(|row| row * 2).collect::<ScalarBuffer<i32>>();
            let sizes = rows.iter().map(|row| (*row % 3) as i32).collect::<ScalarBuffer<i32>>();
            Arc::new(ListViewArray::new(Arc::clone(item), starts, sizes, items, Some(nulls())))
        }
        DataType::FixedSizeList(item, size) => {
            let items = build(item.data_type(), &children(*size as usize));
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, items, Some(nulls())))
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let edges = [0.0, -0.0, 0.5, -2.5, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e15];
            let number = |row: u64| edges.get(row as usize % 16).copied().unwrap_or(row as f64 / 7.0 - 1e5);
            let values = rows.iter().map(|row| (*row != 0).then(|| number(*row))).collect::<Float64Array>();
            cast(&(Arc::new(values) as ArrayRef), data_type).unwrap()
        }
        DataType::Null => datafusion::arrow::array::new_null_array(data_type, rows.len()),
        DataType::Boolean => {
            Arc::new(rows.iter().map(|row| (*row != 0).then_some(row.is_multiple_of(2))).collect::<BooleanArray>())
        }
        _ => {
            let edges = [0, 1, -1, 127, -128, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX];
            let canary = i64::from_le_bytes(*b"CANARY\x01\x00");
            let number =
                |row: u64| edges.get(row as usize % 16).copied().unwrap_or(canary.wrapping_add((row as i64) << 48));
            let values = rows.iter().map(|row| (*row != 0).then(|| number(*row))).collect::<Int64Array>();
            let values: ArrayRef = Arc::new(values);
            match data_type {
                // Keep the numbers unchanged, although a cast from a number would multiply in some types.
                DataType::Timestamp(..) | DataType::Date64 => cast(&values, data_type).unwrap(),
                DataType::Date32 => cast(&cast(&values, &DataType::Int32).unwrap(), data_type).unwrap(),
                _ => cast(&values, data_type).unwrap(),
            }
        }
    }
}

fn text(row: u64) -> String {
    match row % 9 {
        0 => format!("CANARY{row}@example.org"),
        1 => format!("POINT (-7{}.{row} 4.{row})", row % 10),
        2 => "CANARY".repeat(row as usize % 5 + 1),
        3 => String::new(),
        4 => "é".repeat(row as usize % 12),
        5 => format!("\0CANARY\0{row}"),
        6 => format!("a@b@CANARY{row}.org"),
        _ => format!("a long text with CANARY in the middle, number {row}"),
    }
}

/// The mask of the field `masked`, or of the value if there is none.
fn mask_of(spec: &MaskSpec, data_type: &DataType) -> Option<Mask> {
    let path = if format!("{data_type:?}").contains("masked") { "masked" } else { "" };
    compile(path, spec, data_type).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_mask_keeps_length_and_type_and_rows_apart_and_leaves_no_byte(
        rows in prop::collection::vec(prop_oneof![1 => Just(0_u64), 4 => 0..500_u64, 1 => any::<u64>()], 0..12),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        for data_type in types() {
            let array = build(&data_type, &rows);
            for spec in masks() {
                let Some(mask) = mask_of(&spec, &data_type) else { continue };
                let masked = mask.apply(&array);
                prop_assert_eq!(masked.data_type(), &data_type);
                prop_assert_eq!(masked.len(), array.len());
                masked.to_data().validate_full().unwrap();
                let is_text_or_gone = !matches!(spec, MaskSpec::Round { .. } | MaskSpec::Truncate { .. });
                prop_assert!(!is_text_or_gone || !holds(&masked, CANARY), "{:?} of {}", spec, data_type);

                let (one, other) = (cut.0.index(rows.len() + 1), cut.1.index(rows.len() + 1));
                let (start, end) = (one.min(other), one.max(other));
                let part = mask.apply(&array.slice(start, end - start));
                prop_assert_eq!(&part, &masked.slice(start, end - start), "{:?} of {}", spec, data_type);
                prop_assert!(!is_text_or_gone || !holds(&part, CANARY), "{:?} of a part of {}", spec, data_type);
                for row in 0..rows.len() {
                    prop_assert_eq!(&mask.apply(&array.slice(row, 1)), &masked.slice(row, 1), "{:?} of {}", spec, data_type);
                }
            }
        }
    }
}

#[test]
fn every_mask_is_tried_on_some_type_and_every_type_takes_null() {
    for spec in masks() {
        let takers = types().iter().filter(|data_type| mask_of(&spec, data_type).is_some()).count();
        assert!(takers > 3, "{spec:?}");
    }
    assert!(types().iter().all(|data_type| mask_of(&MaskSpec::Null, data_type).is_some()));
}
