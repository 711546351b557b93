//! Computed floats: converts them to canonical form ([`crate::floats`]), and makes casts fail on overflow.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, nullif};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::fault::out_of_range;
use crate::floats::{canonical_array, canonical_scalar, has_floats, has_part};

/// The operation on a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Convert to canonical form.
    Form,
    /// Cast to a float type. A value that is too large is a fault or, in `TRY_CAST`, NULL.
    Cast { to: DataType, tries: bool },
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfFloats {
    step: Step,
    signature: Signature,
}

fn call(step: Step, value: Expr) -> Expr {
    let function = OfFloats { step, signature: Signature::any(1, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), vec![value]))
}

fn step(function: &ScalarUDF) -> Option<&Step> {
    function.inner().downcast_ref::<OfFloats>().map(|of| &of.step)
}

/// Converts a computed float to canonical form.
pub(super) fn in_one_form(value: Expr) -> Expr {
    call(Step::Form, value)
}

/// Removes a conversion to canonical form, because the value goes into another computation.
pub(super) fn as_computed(value: Expr) -> Expr {
    match value {
        Expr::ScalarFunction(mut call) if is_one_form(&call.func) && call.args.len() == 1 => call.args.remove(0),
        other => other,
    }
}

/// Whether a function only converts floats to canonical form.
pub(crate) fn is_one_form(function: &ScalarUDF) -> bool {
    step(function) == Some(&Step::Form)
}

/// The target type of a cast that may fail; `None` for other functions and for `TRY_CAST`.
pub(crate) fn failing_cast(function: &ScalarUDF) -> Option<&DataType> {
    match step(function)? {
        Step::Cast { to, tries: false } => Some(to),
        _ => None,
    }
}

/// A cast to floats that does not overflow to infinity; `None` if DataFusion's cast is right.
pub(super) fn exact_cast(value: &Expr, of: &DataType, to: &DataType, tries: bool) -> Option<Expr> {
    let is_narrower = *of == DataType::Float64 || matches!(of, DataType::Decimal256(..));
    let is_wanted = match to {
        DataType::Float64 => of.is_string(),
        DataType::Float32 => of.is_string() || is_narrower,
        to => to.is_nested() && has_floats(to) && has_part(of, &DataType::is_string),
    };
    is_wanted.then(|| call(Step::Cast { to: to.clone(), tries }, value.clone()))
}

impl ScalarUDFImpl for OfFloats {
    fn name(&self) -> &str {
        match self.step {
            Step::Form => "float",
            Step::Cast { tries: false, .. } => "cast",
            Step::Cast { tries: true, .. } => "try_cast",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (&self.step, types) {
            (Step::Cast { to, .. }, _) => Ok(to.clone()),
            (Step::Form, [of]) => Ok(of.clone()),
            _ => internal_err!("a float is made of one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(self.of(values)?)),
            [ColumnarValue::Scalar(value)] if self.step == Step::Form => {
                Ok(ColumnarValue::Scalar(canonical_scalar(value.clone())?))
            }
            [ColumnarValue::Scalar(value)] => {
                let value = self.of(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            _ => internal_err!("a float is made of one value"),
        }
    }
}

impl OfFloats {
    fn of(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let Step::Cast { to, tries } = &self.step else { return canonical_array(values) };
        let options = CastOptions { safe: *tries, ..CastOptions::default() };
        let made = cast_with_options(values, to, &options)?;
        let made = match does_not_fit(values, &made)? {
            Some(gone) if *tries => nullif(&made, &gone)?,
            Some(_) => return Err(out_of_range(None).into()),
            None => made,
        };
        canonical_array(&made)
    }
}

/// The mask of finite values that became infinite; `None` if there are none.
fn does_not_fit(values: &ArrayRef, made: &ArrayRef) -> Result<Option<BooleanArray>> {
    if !made.data_type().is_floating() {
        return Ok(None);
    }
    let made = cast(made, &DataType::Float64)?;
    let made = made.as_primitive::<Float64Type>();
    if !made.values().iter().any(|number| number.is_infinite()) {
        return Ok(None);
    }
    let texts = if values.data_type().is_string() { Some(cast(values, &DataType::Utf8)?) } else { None };
    let numbers = match values.data_type() {
        kind if kind.is_floating() => Some(cast(values, &DataType::Float64)?),
        _ => None,
    };
    let is_infinite = |row: usize| match (&texts, &numbers) {
        // Matches `inf`, `+Infinity` and so on.
        (Some(texts), _) => texts.as_string::<i32>().value(row).bytes().any(|byte| byte.eq_ignore_ascii_case(&b'f')),
        (None, Some(numbers)) => numbers.as_primitive::<Float64Type>().value(row).is_infinite(),
        (None, None) => false,
    };
    let gone = (0..made.len()).map(|row| made.is_valid(row) && made.value(row).is_infinite() && !is_infinite(row));
    let gone = BooleanArray::from(gone.collect::<Vec<_>>());
    Ok((gone.true_count() > 0).then_some(gone))
}
