//! Writes decimals of up to 38 digits as JSON numbers, unrounded. Equals arrow's output, without a temporary string.

use std::io::Write;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type};
use datafusion::arrow::json::Encoder;

/// The values of a decimal array.
pub(super) struct Decimals<'a> {
    values: Values<'a>,
    /// Maximum number of digits; further digits are cut off.
    precision: usize,
    /// Number of digits after the point.
    scale: usize,
    digits: Vec<u8>,
}

enum Values<'a> {
    Short(&'a [i32]),
    Middle(&'a [i64]),
    Long(&'a [i128]),
}

impl<'a> Decimals<'a> {
    /// `None` for other types, for 256-bit decimals, and for a negative scale.
    pub(super) fn of(array: &'a dyn Array) -> Option<Self> {
        let (values, precision, scale) = match array.data_type() {
            DataType::Decimal32(precision, scale) => {
                (Values::Short(array.as_primitive_opt::<Decimal32Type>()?.values()), *precision, *scale)
            }
            DataType::Decimal64(precision, scale) => {
                (Values::Middle(array.as_primitive_opt::<Decimal64Type>()?.values()), *precision, *scale)
            }
            DataType::Decimal128(precision, scale) => {
                (Values::Long(array.as_primitive_opt::<Decimal128Type>()?.values()), *precision, *scale)
            }
            _ => return None,
        };
        let scale = usize::try_from(scale).ok()?;
        Some(Self { values, precision: precision.into(), scale, digits: Vec::new() })
    }
}

impl Encoder for Decimals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = match self.values {
            Values::Short(values) => values[row].into(),
            Values::Middle(values) => values[row].into(),
            Values::Long(values) => values[row],
        };
        self.digits.clear();
        // 64-bit numbers are much faster to format. Writing to a `Vec` cannot fail.
        let _ = match u64::try_from(value.unsigned_abs()) {
            Ok(short) => write!(self.digits, "{short}"),
            Err(_) => write!(self.digits, "{}", value.unsigned_abs()),
        };
        let digits = &self.digits[..self.digits.len().min(self.precision)];
        if value < 0 {
            out.push(b'-');
        }
        match digits.len().checked_sub(self.scale) {
            _ if self.scale == 0 => out.extend_from_slice(digits),
            Some(whole) if whole > 0 => {
                out.extend_from_slice(&digits[..whole]);
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + self.scale - digits.len(), b'0');
                out.extend_from_slice(digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Decimal32Array, Decimal64Array, Decimal128Array};
    use datafusion::arrow::datatypes::DecimalType;
    use proptest::prelude::*;

    use super::*;

    fn written(array: &dyn Array) -> String {
        let mut out = Vec::new();
        Decimals::of(array).unwrap().encode(0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_point_is_where_the_scale_says() {
        let of = |value: i128, scale: i8| {
            written(&Decimal128Array::from(vec![value]).with_precision_and_scale(20, scale).unwrap())
        };
        assert_eq!(of(12_345, 2), "123.45");
        assert_eq!(of(-5, 2), "-0.05");
        assert_eq!(of(123, 3), "0.123");
        assert_eq!(of(0, 4), "0.0000");
        assert_eq!(of(-7, 0), "-7");
        let left = Decimal128Array::from(vec![7]).with_precision_and_scale(20, -2).unwrap();
        assert!(Decimals::of(&left).is_none());
    }

    proptest! {
        #[test]
        fn decimals_are_what_arrow_writes(value: i128, shift in 0_u32..127, precision in 1_u8..=38, scale in 0_i8..=38) {
            let value = value >> shift;
            prop_assume!(u8::try_from(scale).unwrap() <= precision);
            // Nothing prevents a value with more digits than its type. Arrow may then write an invalid number.
            prop_assume!(value.unsigned_abs().to_string().len() <= usize::from(precision));
            let long = Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale).unwrap();
            prop_assert_eq!(written(&long), Decimal128Type::format_decimal(value, precision, scale));
            if let (Ok(value), true) = (i64::try_from(value), precision <= 18) {
                let middle = Decimal64Array::from(vec![value]).with_precision_and_scale(precision, scale).unwrap();
                prop_assert_eq!(written(&middle), Decimal64Type::format_decimal(value, precision, scale));
            }
            if let (Ok(value), true) = (i32::try_from(value), precision <= 9) {
                let short = Decimal32Array::from(vec![value]).with_precision_and_scale(precision, scale).unwrap();
                prop_assert_eq!(written(&short), Decimal32Type::format_decimal(value, precision, scale));
            }
        }
    }
}
