//! Wraps a DataFusion function: failures become value faults, panics are caught, and result sizes are bounded.
//!
//! Only the call is different. The name, the types and the optimiser's hints are those of the function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use super::allowed::cannot_fail;
use super::checked::{holds_precision, operator_of};
use super::fault::{ValueFault, fault_of, number_fault, out_of_range};
use super::growth::Growth;
use crate::floats::{canonical_array, canonical_scalar};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Guarded {
    function: Arc<ScalarUDF>,
    growth: Option<Growth>,
}

/// Wraps the function of a call, unless it cannot fail or is wrapped already.
pub(super) fn guarded(call: ScalarFunction) -> Transformed<ScalarFunction> {
    let ScalarFunction { func, args } = call;
    // Lakegate's own functions have names that are not in the list, so `cannot_fail` exempts them.
    if cannot_fail(func.name()) || func.inner().downcast_ref::<Guarded>().is_some() {
        return Transformed::no(ScalarFunction { func, args });
    }
    let growth = Growth::of(func.name());
    let func = Arc::new(ScalarUDF::new_from_impl(Guarded { function: func, growth }));
    Transformed::yes(ScalarFunction { func, args })
}

/// Whether results of a function can be large.
pub(crate) fn grows(function: &ScalarUDF) -> bool {
    let growth = function.inner().downcast_ref::<Guarded>().map(|guarded| guarded.growth);
    growth.flatten().is_some() || operator_of(function) == Some(Operator::StringConcat)
}

impl Guarded {
    fn inner(&self) -> &Arc<dyn ScalarUDFImpl> {
        self.function.inner()
    }

    fn call(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.function.name();
        let (of_type, rows) = (args.return_field.data_type().clone(), args.number_rows);
        match catch_unwind(AssertUnwindSafe(|| self.inner().invoke_with_args(args))) {
            Ok(Ok(value)) => match holds_precision(&value, &value.data_type())? && are_times(&value) {
                true => in_one_form(as_said(value, &of_type, rows)?),
                false => Err(out_of_range(None).into()),
            },
            Ok(Err(error)) => Err(match error.find_root() {
                DataFusionError::ResourcesExhausted(_) => error,
                _ if fault_of(&error).is_some() => error,
                _ if number_fault(&error) => out_of_range(None).into(),
                _ => ValueFault::Failed { function: name.to_owned(), reason: error.strip_backtrace() }.into(),
            }),
            Err(_) => Err(ValueFault::Failed { function: name.to_owned(), reason: "it panicked".to_owned() }.into()),
        }
    }
}

/// Converts a value to the declared return type, because some functions return other field names or drop the time zone.
///
/// # Errors
/// If there are not as many values as rows. Some functions return fewer if their arguments are NULL in every row.
fn as_said(value: ColumnarValue, of_type: &DataType, rows: usize) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => {
            let array = if array.data_type() == of_type { array } else { cast(&array, of_type)? };
            if array.len() != rows {
                return exec_err!("a function gave {} values for {rows} rows", array.len());
            }
            ColumnarValue::Array(array)
        }
        ColumnarValue::Scalar(value) if value.data_type() != *of_type => ColumnarValue::Scalar(value.cast_to(of_type)?),
        scalar => scalar,
    })
}

/// Converts all floats of a value to canonical form.
fn in_one_form(value: ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(canonical_array(&array)?),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(canonical_scalar(value)?),
    })
}

/// Whether all timestamps have years that can be formatted; true for other types. DataFusion returns the last
/// nanosecond for a time that is too large.
fn are_times(value: &ColumnarValue) -> bool {
    const MOST_SECONDS: i64 = 8_210_000_000_000;
    let DataType::Timestamp(unit, _) = value.data_type() else { return true };
    let most = match unit {
        TimeUnit::Second => MOST_SECONDS,
        TimeUnit::Millisecond => MOST_SECONDS * 1_000,
        TimeUnit::Microsecond => MOST_SECONDS * 1_000_000,
        TimeUnit::Nanosecond => i64::MAX - 1,
    };
    let Ok(values) = value.to_array(1).and_then(|array| Ok(cast(&array, &DataType::Int64)?)) else { return true };
    values.as_primitive::<Int64Type>().iter().flatten().all(|time| (-most..=most).contains(&time))
}

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(arg_types)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let function = Arc::new(self.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(Self { function, growth: self.growth }))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.growth {
            Some(growth) => growth.run(self.function.name(), args, &|args| self.call(args)),
            None => self.call(args),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if self.growth.is_some() {
            return Ok(ExprSimplifyResult::Original(args));
        }
        Ok(match self.inner().simplify(args, info)? {
            ExprSimplifyResult::Original(args) => ExprSimplifyResult::Original(args),
            ExprSimplifyResult::Simplified(expr) => {
                let guarded = expr.transform_up(|inner| match inner {
                    Expr::ScalarFunction(call) => Ok(guarded(call).update_data(Expr::ScalarFunction)),
                    other => Ok(Transformed::no(other)),
                })?;
                ExprSimplifyResult::Simplified(guarded.data)
            }
        })
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.inner().preimage(args, literal, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner().short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner().conditional_arguments(args)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner().evaluate_bounds(input)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> Result<Option<Vec<Interval>>> {
        self.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner().coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}
