//! Masks numbers: rounds to the nearest multiple of a step, half away from zero, and makes pseudonyms of integers and
//! UUIDs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    i256,
};
use lakegate_core::project::Step;

use super::key::Pseudonyms;
use super::rebuild::primitives;
use crate::uuids;

/// Returns `None` for an array that has neither 64-bit integers nor UUIDs.
pub(super) fn pseudonyms(array: &ArrayRef, hidden: Option<&NullBuffer>, keyed: &Pseudonyms) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Int64 => {
            primitives::<Int64Type>(array, hidden, |value| i64::try_from(keyed.integer(i128::from(value))).ok())
        }
        DataType::UInt64 => primitives::<UInt64Type>(array, hidden, |value| Some(keyed.integer(i128::from(value)))),
        DataType::FixedSizeBinary(uuids::BYTES) => {
            let nulls = NullBuffer::union(array.nulls(), hidden);
            let values = array.as_fixed_size_binary();
            let is_hidden = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            let masked = (0..values.len()).map(|row| (!is_hidden(row)).then(|| keyed.uuid(values.value(row))));
            let masked = FixedSizeBinaryArray::try_from_sparse_iter_with_size(masked, uuids::BYTES).ok()?;
            Some(Arc::new(masked))
        }
        _ => None,
    }
}

/// Whether the type has multiples of the step; `None` for a type that is not numeric.
pub(super) fn takes_step(data_type: &DataType, step: Step) -> Option<bool> {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(true),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(unscaled(step, *scale).is_some()),
        other => other.is_integer().then_some(step.scale() == 0),
    }
}

/// Returns `None` for an array that is not numeric, or whose type has no multiple of the step.
pub(super) fn round(array: &ArrayRef, hidden: Option<&NullBuffer>, step: Step) -> Option<ArrayRef> {
    macro_rules! integers {
        ($type:ty) => {{
            type Native = <$type as ArrowPrimitiveType>::Native;
            let step = if step.scale() == 0 { u128::from(step.digits()) } else { return None };
            let (least, greatest) = (Native::MIN as i128, Native::MAX as i128);
            primitives::<$type>(array, hidden, |value| {
                Native::try_from(nearest(value as i128, step, least, greatest)).ok()
            })
        }};
    }
    macro_rules! decimals {
        ($type:ty, $precision:expr, $scale:expr) => {{
            type Native = <$type as ArrowPrimitiveType>::Native;
            // A step that does not fit into 128 bits exceeds every number of 38 digits.
            let step = unscaled(step, $scale)?.to_i128().map_or(u128::MAX, i128::unsigned_abs);
            let greatest = 10_i128.checked_pow(u32::from($precision))? - 1;
            primitives::<$type>(array, hidden, |value| {
                Native::try_from(nearest(i128::from(value), step, -greatest, greatest)).ok()
            })
        }};
    }
    match array.data_type() {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float16 => primitives::<Float16Type>(array, hidden, |value| {
            nearest_float(value.to_f64(), step, |multiple| {
                let fitting = <Float16Type as ArrowPrimitiveType>::Native::from_f64(multiple);
                fitting.is_finite().then_some(fitting)
            })
        }),
        DataType::Float32 => primitives::<Float32Type>(array, hidden, |value| {
            nearest_float(f64::from(value), step, |multiple| {
                Some(multiple as f32).filter(|multiple| multiple.is_finite())
            })
        }),
        DataType::Float64 => primitives::<Float64Type>(array, hidden, |value| nearest_float(value, step, Some)),
        DataType::Decimal32(precision, scale) => decimals!(Decimal32Type, *precision, *scale),
        DataType::Decimal64(precision, scale) => decimals!(Decimal64Type, *precision, *scale),
        DataType::Decimal128(precision, scale) => decimals!(Decimal128Type, *precision, *scale),
        DataType::Decimal256(precision, scale) => {
            let step = unscaled(step, *scale)?;
            let greatest = i256::from_i128(10).checked_pow(u32::from(*precision))?.checked_sub(i256::ONE)?;
            primitives::<Decimal256Type>(array, hidden, |value| nearest_wide(value, step, greatest))
        }
        _ => None,
    }
}

/// The step as an unscaled decimal of this scale; `None` if the scale has no multiples of it. A step beyond 256 bits
/// becomes the greatest number, which also exceeds every decimal.
fn unscaled(step: Step, scale: i8) -> Option<i256> {
    let digits = i256::from_i128(i128::from(step.digits()));
    let power = |exponent: i32| i256::from_i128(10).checked_pow(exponent.unsigned_abs());
    let shift = i32::from(scale) - i32::from(step.scale());
    if shift >= 0 {
        return Some(power(shift).and_then(|power| digits.checked_mul(power)).unwrap_or(i256::MAX));
    }
    let power = power(shift)?;
    let is_whole = digits.checked_rem(power)? == i256::ZERO;
    if is_whole { digits.checked_div(power) } else { None }
}

/// The multiple of `step` that is nearest to `value`, half away from zero, between `least`, which is at most 0, and
/// `greatest`.
fn nearest(value: i128, step: u128, least: i128, greatest: i128) -> i128 {
    let limit = if value < 0 { least } else { greatest }.unsigned_abs();
    let magnitude = value.unsigned_abs().min(limit);
    let rest = magnitude % step;
    let lower = magnitude - rest;
    let is_up = rest >= step - rest && step <= limit - lower;
    let multiple = if is_up { lower + step } else { lower };
    // The multiple is at most the limit, which is the magnitude of a number of this sign.
    if value < 0 { 0_i128.wrapping_sub_unsigned(multiple) } else { multiple as i128 }
}

/// A 256-bit version of [`nearest`].
fn nearest_wide(value: i256, step: i256, greatest: i256) -> Option<i256> {
    let is_negative = value < i256::ZERO;
    let magnitude = if is_negative { value.checked_neg().unwrap_or(greatest) } else { value }.min(greatest);
    let rest = magnitude.checked_rem(step)?;
    let lower = magnitude.checked_sub(rest)?;
    let is_up = rest >= step.checked_sub(rest)? && step <= greatest.checked_sub(lower)?;
    let multiple = if is_up { lower.checked_add(step)? } else { lower };
    if is_negative { multiple.checked_neg() } else { Some(multiple) }
}

/// The nearest multiple. `fit` returns `None` for a multiple that the type cannot hold. NaN and infinities become NULL.
fn nearest_float<T>(value: f64, step: Step, fit: impl Fn(f64) -> Option<T>) -> Option<T> {
    /// From here on, a step is finer than the distance between neighbouring floats.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !value.is_finite() {
        return None;
    }
    let (digits, unit) = (step.digits() as f64, 10_u64.pow(u32::from(step.scale())) as f64);
    let count = (value / (digits / unit)).round();
    if count.abs() >= EXACT {
        return fit(value);
    }
    // Adding zero turns -0 into 0, because -0 would reveal the sign of the value.
    let multiple = |count: f64| count * digits / unit + 0.0;
    fit(multiple(count)).or_else(|| fit(multiple(count - count.signum())))
}
