//! Checked arithmetic: `+`, `-`, `*`, `/`, `%` and `||` as functions of the same types that fail instead of wrapping.
//!
//! Each function evaluates DataFusion's own operator with `fail_on_overflow`. Afterwards it checks the precision of
//! decimals, because no kernel does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::date_steps;
use super::fault::out_of_range;
use super::growth::Growth;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    name: String,
    /// A column that the result depends on, for error messages.
    column: Option<String>,
    signature: Signature,
}

/// `left op right`, which fails if the result is out of range.
pub(super) fn checked(left: Expr, op: Operator, right: Expr) -> Expr {
    let column = [&left, &right].into_iter().find_map(|side| {
        let columns = side.column_refs();
        columns.into_iter().map(|column| column.name.clone()).filter(|name| !name.starts_with("__")).min()
    });
    let signature = Signature::any(2, Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(Checked { op, name: op.to_string(), column, signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![left, right]))
}

/// The operator of a checked function; `None` for any other function.
pub(crate) fn operator_of(function: &ScalarUDF) -> Option<Operator> {
    function.inner().downcast_ref::<Checked>().map(|checked| checked.op)
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [left, right] = types else { return internal_err!("an operator has two sides") };
        BinaryTypeCoercer::new(left, &self.op, right).get_result_type()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types = args.arg_fields.iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.op == Operator::StringConcat {
            return Growth::Concat.run("||", args, &|args| self.compute(args));
        }
        self.compute(args)
    }
}

impl Checked {
    fn compute(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        let mut operand = |value: ColumnarValue| -> Arc<dyn PhysicalExpr> {
            match value {
                ColumnarValue::Scalar(scalar) => Arc::new(Literal::new(scalar)),
                ColumnarValue::Array(array) => {
                    let at = arrays.len();
                    fields.push(Field::new(at.to_string(), array.data_type().clone(), true));
                    arrays.push(array);
                    Arc::new(Column::new(&at.to_string(), at))
                }
            }
        };
        let mut values = args.args.into_iter();
        let (Some(left), Some(right)) = (values.next(), values.next()) else {
            return internal_err!("an operator has two sides");
        };
        date_steps::check(&left, &right)?;
        date_steps::check(&right, &left)?;
        let (left, right) = (operand(left), operand(right));
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        let operation = BinaryExpr::new(left, self.op, right).with_fail_on_overflow(true);
        // Kernels for dates panic at the limits of the calendar.
        let computed = catch_unwind(AssertUnwindSafe(|| operation.evaluate(&batch)));
        let value = match computed {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Err(self.fault(error)),
            Err(_) => return Err(out_of_range(self.column.as_deref()).into()),
        };
        if holds_precision(&value, args.return_field.data_type())? {
            Ok(value)
        } else {
            Err(out_of_range(self.column.as_deref()).into())
        }
    }

    fn fault(&self, error: DataFusionError) -> DataFusionError {
        let is_of_zero = matches!(error.find_root(), DataFusionError::ArrowError(error, _) if matches!(error.as_ref(), ArrowError::DivideByZero));
        let is_of_numbers =
            matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::Execution(_));
        if is_of_zero || !is_of_numbers || self.op == Operator::StringConcat {
            return error;
        }
        out_of_range(self.column.as_deref()).into()
    }
}

/// Whether decimals have at most the digits that their type allows.
pub(super) fn holds_precision(value: &ColumnarValue, data_type: &DataType) -> Result<bool> {
    let (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) = data_type else {
        return Ok(true);
    };
    // The validating kernel does not accept decimals with a negative scale.
    if *scale < 0 {
        return Ok(true);
    }
    let array: ArrayRef = match value {
        ColumnarValue::Array(array) => Arc::clone(array),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    Ok(match array.data_type() {
        DataType::Decimal128(..) => {
            array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision).is_ok()
        }
        DataType::Decimal256(..) => {
            array.as_primitive::<Decimal256Type>().validate_decimal_precision(*precision).is_ok()
        }
        _ => true,
    })
}
