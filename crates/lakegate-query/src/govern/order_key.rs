//! Makes sort keys for types that DataFusion compares in more than one way.
//!
//! Its sort orders floats by their bits (-0.0 before 0.0), but the filter by which its top-k drops rows compares them
//! as numbers. Lists, structs and maps have one order in its sort, another in the row format, and a third for NULLs
//! nested in them. So rows get lost when a result is cut. Here such a value becomes an integer or bytes, which all of
//! DataFusion orders alike. A NULL nested in a value is the greatest, as in PostgreSQL.
//!
//! No SQL can call the function, because it is in no registry.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::floats::{canonical, ordered};

/// The key that a type needs to have only one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// None: it has the same order everywhere.
    Plain,
    /// An integer.
    Float,
    /// The bytes of the row format.
    Bytes,
}

/// The plan with such keys in every sort. Equal values have equal keys, so later sort keys decide between them.
pub(crate) fn sorts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Sort(mut sort) = node else { return Ok(Transformed::no(node)) };
        let mut has_changed = false;
        for key in &mut sort.expr {
            let by = number(key.expr.clone(), sort.input.schema())?;
            has_changed |= by != key.expr;
            key.expr = by;
        }
        let node = LogicalPlan::Sort(sort);
        Ok(if has_changed { Transformed::yes(node) } else { Transformed::no(node) })
    })?;
    Ok(plan.data)
}

/// The key of an expression's order in SQL: both zeros are equal, and NaN is the greatest.
pub(crate) fn number(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    key(expr, schema, false)
}

/// The key that gives a different position to all distinguishable values, such as the two zeros.
pub(crate) fn exact(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    key(expr, schema, true)
}

fn key(expr: Expr, schema: &DFSchema, is_exact: bool) -> Result<Expr> {
    let data_type = expr.get_type(schema)?;
    let form = form(&data_type);
    if form == Form::Plain || matches!(&expr, Expr::ScalarFunction(call) if call.func.inner().is::<OrderKey>()) {
        return Ok(expr);
    }
    if form == Form::Bytes && !RowConverter::supports_fields(&[SortField::new(unpacked(&data_type).clone())]) {
        return plan_err!("values of type {data_type} have no order");
    }
    // There is only one kind of bytes, so that the same key is not computed twice.
    let is_exact = is_exact || form == Form::Bytes;
    let function = OrderKey { is_exact, signature: Signature::any(1, Volatility::Immutable) };
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![expr])))
}

fn form(data_type: &DataType) -> Form {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Form::Float,
        DataType::Dictionary(_, values) => form(values),
        DataType::RunEndEncoded(..) => Form::Bytes,
        nested if nested.is_nested() => Form::Bytes,
        _ => Form::Plain,
    }
}

/// The type of a dictionary's values; any other type unchanged.
fn unpacked(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => unpacked(values),
        other => other,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderKey {
    is_exact: bool,
    signature: Signature,
}

impl ScalarUDFImpl for OrderKey {
    fn name(&self) -> &str {
        if self.is_exact { "exact_order_key" } else { "order_key" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [of] => Ok(match (form(of), unpacked(of)) {
                (Form::Float, DataType::Float16) => DataType::Int16,
                (Form::Float, DataType::Float32) => DataType::Int32,
                (Form::Float, _) => DataType::Int64,
                _ => DataType::Binary,
            }),
            _ => internal_err!("an order key is that of one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(keys(values, self.is_exact)?)),
            [ColumnarValue::Scalar(value)] => {
                let keys = keys(&value.to_array_of_size(1)?, self.is_exact)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&keys, 0)?))
            }
            _ => internal_err!("an order key is that of one value"),
        }
    }
}

fn keys(values: &ArrayRef, is_exact: bool) -> Result<ArrayRef> {
    let to = unpacked(values.data_type());
    let values = if to == values.data_type() { Arc::clone(values) } else { cast(values, to)? };
    Ok(match values.data_type() {
        DataType::Float16 => {
            let key = |value: <Float16Type as datafusion::arrow::array::ArrowPrimitiveType>::Native| {
                let bits = i16::from_ne_bytes(value.to_ne_bytes());
                let bits = match bits & i16::MAX {
                    0 if !is_exact => 0,
                    nan if nan > 0x7c00 && !is_exact => 0x7e00,
                    _ => bits,
                };
                if bits < 0 { bits ^ i16::MAX } else { bits }
            };
            Arc::new(values.as_primitive::<Float16Type>().unary::<_, Int16Type>(key))
        }
        DataType::Float32 => {
            let key = |value: f32| {
                let value = match value {
                    value if is_exact => value,
                    nan if nan.is_nan() => f32::NAN.abs(),
                    // -0.0 + 0.0 is 0.0.
                    value => value + 0.0,
                };
                let bits = i32::from_ne_bytes(value.to_ne_bytes());
                if bits < 0 { bits ^ i32::MAX } else { bits }
            };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Int32Type>(key))
        }
        DataType::Float64 => {
            let key = |value: f64| ordered(if is_exact { value } else { canonical(value) });
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Int64Type>(key))
        }
        other => {
            let options = SortOptions { descending: false, nulls_first: false };
            let rows = RowConverter::new(vec![SortField::new_with_options(other.clone(), options)])?;
            let bytes = rows.convert_columns(&[Arc::clone(&values)])?.try_into_binary()?;
            let (offsets, bytes, _) = bytes.into_parts();
            Arc::new(BinaryArray::try_new(offsets, bytes, values.logical_nulls())?)
        }
    })
}
