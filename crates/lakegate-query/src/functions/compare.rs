//! Exact comparison of 64-bit integers with floats.
//!
//! DataFusion casts the integer to a float first, which makes neighbours equal from 2^53 on. A comparison with a
//! literal becomes one between integers, which can prune files; any other becomes a function.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Compare {
    op: Operator,
    name: String,
    signature: Signature,
}

/// `whole op number`, compared exactly; `whole` has an integer type and `number` a float type.
pub(super) fn exact_comparison(whole: Expr, of_whole: &DataType, op: Operator, number: Expr) -> Expr {
    if let Some(number) = literal(&number)
        && let Some(expr) = with_literal(&whole, of_whole, op, number)
    {
        return expr;
    }
    let signature = Signature::any(2, Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(Compare { op, name: op.to_string(), signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![whole, number]))
}

/// Whether a function is such a comparison.
pub(crate) fn is_exact_comparison(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Compare>().is_some()
}

/// The value of a literal or of a cast literal.
pub(super) fn literal(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(ScalarValue::Float64(number), _) => *number,
        Expr::Literal(ScalarValue::Float32(number), _) => number.map(f64::from),
        Expr::Cast(Cast { expr, field }) if field.data_type().is_floating() => {
            // Floats represent integers up to 2^53 exactly.
            let whole = match expr.as_ref() {
                Expr::Literal(whole, _) if whole.data_type().is_integer() => whole.cast_to(&DataType::Float64).ok(),
                _ => None,
            };
            match whole {
                Some(ScalarValue::Float64(number)) => number.filter(|number| number.abs() <= 9_007_199_254_740_992.0),
                _ => literal(expr),
            }
        }
        _ => None,
    }
}

/// Converts a float without a fraction to a literal of an integer type; `None` if the type cannot hold it.
pub(super) fn whole_literal(number: f64, of: &DataType) -> Option<ScalarValue> {
    // Each float below 2^127 without a fraction fits `i128`.
    if number.fract() != 0.0 || number.abs() >= 1e38 {
        return None;
    }
    let whole = number as i128;
    match of {
        DataType::Int8 => i8::try_from(whole).ok().map(|it| ScalarValue::Int8(Some(it))),
        DataType::Int16 => i16::try_from(whole).ok().map(|it| ScalarValue::Int16(Some(it))),
        DataType::Int32 => i32::try_from(whole).ok().map(|it| ScalarValue::Int32(Some(it))),
        DataType::Int64 => i64::try_from(whole).ok().map(|it| ScalarValue::Int64(Some(it))),
        DataType::UInt8 => u8::try_from(whole).ok().map(|it| ScalarValue::UInt8(Some(it))),
        DataType::UInt16 => u16::try_from(whole).ok().map(|it| ScalarValue::UInt16(Some(it))),
        DataType::UInt32 => u32::try_from(whole).ok().map(|it| ScalarValue::UInt32(Some(it))),
        DataType::UInt64 => u64::try_from(whole).ok().map(|it| ScalarValue::UInt64(Some(it))),
        _ => None,
    }
}

fn with_literal(whole: &Expr, of: &DataType, op: Operator, number: f64) -> Option<Expr> {
    // True or false for each value, and NULL for NULL.
    let always = |truth: bool| {
        let whole = whole.clone();
        if truth {
            whole.is_not_null().or(lit(ScalarValue::Boolean(None)))
        } else {
            whole.is_null().and(lit(ScalarValue::Boolean(None)))
        }
    };
    if number.is_nan() {
        return None;
    }
    if let Some(literal) = whole_literal(number, of) {
        return Some(datafusion::logical_expr::binary_expr(whole.clone(), op, lit(literal)));
    }
    // No integer of the type equals the number, so compare with the next lower integer, if the type holds it.
    let below = whole_literal(number.floor(), of);
    match op {
        Operator::Eq => Some(always(false)),
        Operator::NotEq => Some(always(true)),
        Operator::Lt | Operator::LtEq => Some(match below {
            Some(below) => whole.clone().lt_eq(lit(below)),
            None => always(number > 0.0),
        }),
        Operator::Gt | Operator::GtEq => Some(match below {
            Some(below) => whole.clone().gt(lit(below)),
            None => always(number < 0.0),
        }),
        _ => None,
    }
}

impl ScalarUDFImpl for Compare {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [whole, number] = arrays.as_slice() else { return internal_err!("a comparison has two sides") };
        Ok(ColumnarValue::Array(self.compare(whole, number)?))
    }
}

impl Compare {
    fn compare(&self, whole: &ArrayRef, number: &ArrayRef) -> Result<ArrayRef> {
        let whole = cast(whole, &DataType::Decimal128(20, 0))?;
        let number = cast(number, &DataType::Float64)?;
        let (whole, number) = (whole.as_primitive::<Decimal128Type>(), number.as_primitive::<Float64Type>());
        let truth = |order: Ordering| match self.op {
            Operator::Eq | Operator::IsNotDistinctFrom => order == Ordering::Equal,
            Operator::NotEq | Operator::IsDistinctFrom => order != Ordering::Equal,
            Operator::Lt => order == Ordering::Less,
            Operator::LtEq => order != Ordering::Greater,
            Operator::Gt => order == Ordering::Greater,
            _ => order != Ordering::Less,
        };
        let rows = whole.iter().zip(number);
        let compared = rows.map(|(whole, number)| match (whole, number) {
            (Some(whole), Some(number)) => Some(truth(order(whole, number))),
            (None, None) if self.op == Operator::IsNotDistinctFrom => Some(true),
            (None, None) if self.op == Operator::IsDistinctFrom => Some(false),
            _ if self.op == Operator::IsNotDistinctFrom => Some(false),
            _ if self.op == Operator::IsDistinctFrom => Some(true),
            _ => None,
        });
        Ok(Arc::new(compared.collect::<BooleanArray>()))
    }
}

/// Compares an integer with a float. NaN is greater than all numbers, as in DataFusion.
fn order(whole: i128, number: f64) -> Ordering {
    if number.is_nan() || number >= 1e38 {
        return Ordering::Less;
    }
    if number <= -1e38 {
        return Ordering::Greater;
    }
    let floor = number.floor();
    match whole.cmp(&(floor as i128)) {
        Ordering::Equal if number > floor => Ordering::Less,
        order => order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_beside_floats_where_they_belong() {
        let big = (1_i128 << 53) + 1;
        for (whole, number, wanted) in [
            (big, 9_007_199_254_740_992.0, Ordering::Greater),
            (big - 1, 9_007_199_254_740_992.0, Ordering::Equal),
            (2, 2.5, Ordering::Less),
            (3, 2.5, Ordering::Greater),
            (-3, -2.5, Ordering::Less),
            (-2, -2.5, Ordering::Greater),
            (i128::from(u64::MAX), 18_446_744_073_709_551_616.0, Ordering::Less),
            (0, -0.0, Ordering::Equal),
            (0, f64::NAN, Ordering::Less),
            (0, f64::NEG_INFINITY, Ordering::Greater),
        ] {
            assert_eq!(order(whole, number), wanted, "{whole} {number}");
        }
    }
}
