//! Canonical form of floats: `-0.0` becomes `0.0`, and every NaN gets the same bits.
//!
//! SQL has one zero and one NaN, but DataFusion groups, joins, sorts and looks values up by their bits, also inside
//! lists and structs. So floats are converted at their origin: in file scans, parameters and computations.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, LargeListArray, ListArray, MapArray, StructArray,
};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// Converts a float to canonical form.
pub(crate) fn canonical(number: f64) -> f64 {
    // -0.0 + 0.0 is 0.0.
    if number.is_nan() { f64::NAN } else { number + 0.0 }
}

/// Maps a float to an integer of the same order. Floats with a sign bit come first.
pub(crate) fn ordered(number: f64) -> i64 {
    let bits = number.to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// Whether a type is or contains a float type.
pub(crate) fn has_floats(data_type: &DataType) -> bool {
    has_part(data_type, &DataType::is_floating)
}

/// Whether `is_such` is true of a type or of a type inside it.
pub(crate) fn has_part(data_type: &DataType, is_such: &dyn Fn(&DataType) -> bool) -> bool {
    match data_type {
        kind if is_such(kind) => true,
        DataType::Dictionary(_, values) => has_part(values, is_such),
        DataType::Struct(fields) => fields.iter().any(|field| has_part(field.data_type(), is_such)),
        DataType::List(part)
        | DataType::LargeList(part)
        | DataType::FixedSizeList(part, _)
        | DataType::Map(part, _) => has_part(part.data_type(), is_such),
        _ => false,
    }
}

/// Converts all floats of an array to canonical form, at every depth. Returns the same array if nothing changes.
///
/// # Errors
/// If an array does not match its type.
pub(crate) fn canonical_array(array: &ArrayRef) -> Result<ArrayRef> {
    if !has_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::Float64 => {
            let of = array.as_primitive::<Float64Type>();
            if of.values().iter().all(|number| number.to_bits() == canonical(*number).to_bits()) {
                return Ok(Arc::clone(array));
            }
            Arc::new(of.unary::<_, Float64Type>(canonical))
        }
        DataType::Float32 => {
            let one_form = |number: f32| if number.is_nan() { f32::NAN } else { number + 0.0 };
            let of = array.as_primitive::<Float32Type>();
            if of.values().iter().all(|number| number.to_bits() == one_form(*number).to_bits()) {
                return Ok(Arc::clone(array));
            }
            Arc::new(of.unary::<_, Float32Type>(one_form))
        }
        DataType::Float16 => {
            let of = array.as_primitive::<Float16Type>();
            Arc::new(of.unary::<_, Float16Type>(|number| match number.to_bits() & 0x7fff {
                0 => Half::from_bits(0),
                0x7c01.. => Half::from_bits(0x7e00),
                _ => number,
            }))
        }
        DataType::Dictionary(..) => {
            let of = array.as_any_dictionary();
            of.with_values(canonical_array(of.values())?)
        }
        DataType::Struct(fields) => {
            let of = array.as_struct();
            let parts = of.columns().iter().map(canonical_array).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), parts, of.nulls().cloned(), of.len())?)
        }
        DataType::List(item) => {
            let of = array.as_list::<i32>();
            let values = canonical_array(of.values())?;
            Arc::new(ListArray::try_new(Arc::clone(item), of.offsets().clone(), values, of.nulls().cloned())?)
        }
        DataType::LargeList(item) => {
            let of = array.as_list::<i64>();
            let values = canonical_array(of.values())?;
            Arc::new(LargeListArray::try_new(Arc::clone(item), of.offsets().clone(), values, of.nulls().cloned())?)
        }
        DataType::FixedSizeList(item, size) => {
            let of = array.as_fixed_size_list();
            let values = canonical_array(of.values())?;
            Arc::new(FixedSizeListArray::try_new(Arc::clone(item), *size, values, of.nulls().cloned())?)
        }
        DataType::Map(entries, is_sorted) => {
            let of = array.as_map();
            let parts = of.entries().columns().iter().map(canonical_array).collect::<Result<Vec<_>>>()?;
            let pairs = StructArray::try_new(of.entries().fields().clone(), parts, of.entries().nulls().cloned())?;
            let (offsets, nulls) = (of.offsets().clone(), of.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *is_sorted)?)
        }
        _ => Arc::clone(array),
    })
}

/// Converts all floats of a value to canonical form.
///
/// # Errors
/// If the value does not match its type.
pub(crate) fn canonical_scalar(value: ScalarValue) -> Result<ScalarValue> {
    match value {
        ScalarValue::Float64(Some(number)) => Ok(ScalarValue::Float64(Some(canonical(number)))),
        value if value.is_null() || !has_floats(&value.data_type()) => Ok(value),
        value => ScalarValue::try_from_array(&canonical_array(&value.to_array()?)?, 0),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float32Array, Float64Array, Int64Array};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn odd() -> Float64Array {
        let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
        vec![Some(-0.0), Some(0.0), None, Some(f64::NAN), Some(-f64::NAN), Some(other_nan), Some(-1.5)].into()
    }

    fn bits(array: &ArrayRef) -> Vec<Option<u64>> {
        array.as_primitive::<Float64Type>().iter().map(|number| number.map(f64::to_bits)).collect()
    }

    #[test]
    fn each_zero_and_each_nan_is_one_at_every_depth() {
        let nan = Some(f64::NAN.to_bits());
        let wanted = vec![Some(0), Some(0), None, nan, nan, nan, Some((-1.5_f64).to_bits())];
        let flat: ArrayRef = Arc::new(odd());
        assert_eq!(bits(&canonical_array(&flat).unwrap()), wanted);
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        let list: ArrayRef =
            Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 5]), Arc::clone(&flat), None));
        let fields = vec![Field::new("l", list.data_type().clone(), true), Field::new("n", DataType::Int64, true)];
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let nested: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![list, numbers], None));
        let came = canonical_array(&nested).unwrap();
        assert_eq!(came.data_type(), nested.data_type());
        assert_eq!(bits(came.as_struct().column(0).as_list::<i32>().values()), wanted);
        let short: ArrayRef = Arc::new(Float32Array::from(vec![-0.0, -f32::NAN, 1.0]));
        let short = canonical_array(&short).unwrap();
        let short = short.as_primitive::<Float32Type>().values().iter().map(|number| number.to_bits());
        assert_eq!(short.collect::<Vec<_>>(), [0, f32::NAN.to_bits(), 1_f32.to_bits()]);
    }

    #[test]
    fn what_is_in_its_form_is_not_copied() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0, f64::NAN]));
        assert!(Arc::ptr_eq(&numbers, &canonical_array(&numbers).unwrap()));
    }
}
