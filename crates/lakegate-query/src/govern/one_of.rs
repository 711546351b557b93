//! Represents `x IN ($list)` for a list that comes with the request as one function call over one placeholder, whatever
//! the length of the list.
//!
//! Nothing here compares values. Before a plan runs, the call becomes an `IN` over literals, which DataFusion evaluates
//! with a hash set: in [`super::bind`] for plans of a single request, in `shortcut::param` for prepared plans. A call
//! that is left in a plan fails.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::expr::{InList, Placeholder, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function's name.
pub(crate) const NAME: &str = "one_of";

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneOf(Signature);

static ONE_OF: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(OneOf(Signature::any(2, Volatility::Immutable)))));

/// Whether `expr` is in the list that the placeholder `id` stands for. `item` is the type of the list's items.
pub(crate) fn one_of(expr: Expr, id: String, item: &DataType) -> Expr {
    let list = Placeholder::new_with_field(id, Some(Arc::new(Field::new("", list_type(item), true))));
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&ONE_OF), vec![expr, Expr::Placeholder(list)]))
}

/// The type of the list's placeholder.
pub(crate) fn list_type(item: &DataType) -> DataType {
    DataType::List(item_field(item))
}

/// The type of the list's items; `None` for other types.
pub(crate) fn item_type(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) => Some(item.data_type()),
        _ => None,
    }
}

fn item_field(item: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(item.clone(), true))
}

/// The value of the list's placeholder. DataFusion's hash set distinguishes `0.0` and `-0.0`, which are equal in SQL,
/// so a list with one of them gets both.
pub(crate) fn list_value(mut items: Vec<ScalarValue>, item: &DataType) -> ScalarValue {
    let is_zero = |value: &ScalarValue| match value {
        ScalarValue::Float64(Some(number)) => *number == 0.0,
        ScalarValue::Float32(Some(number)) => *number == 0.0,
        _ => false,
    };
    if items.iter().any(is_zero) {
        match item {
            DataType::Float64 => items.extend([0.0, -0.0].map(|zero| ScalarValue::Float64(Some(zero)))),
            DataType::Float32 => items.extend([0.0, -0.0].map(|zero| ScalarValue::Float32(Some(zero)))),
            _ => {}
        }
    }
    ScalarValue::List(ScalarValue::new_list_nullable(&items, item))
}

/// The items of a list's value.
///
/// # Errors
/// The value is not a list.
pub(crate) fn items(list: &ScalarValue) -> Result<ArrayRef> {
    match list {
        ScalarValue::List(list) if list.len() == 1 && !list.is_null(0) => Ok(list.value(0)),
        ScalarValue::List(list) => Ok(list.values().slice(0, 0)),
        other => internal_err!("{other} is not a list of values"),
    }
}

/// The value and the list of a call; `None` for any other expression.
pub(crate) fn parts(expr: &Expr) -> Option<(&Expr, &Expr)> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if is_one_of(func) => match args.as_slice() {
            [value, list] => Some((value, list)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a function is this one.
pub(crate) fn is_one_of(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<OneOf>().is_some()
}

/// A call with a bound list as `x IN (…)`; any other expression unchanged.
pub(crate) fn as_in_list(expr: Expr) -> Result<Expr> {
    let Some((value, Expr::Literal(list, _))) = parts(&expr) else { return Ok(expr) };
    let items = items(list)?;
    let literals = (0..items.len()).map(|at| Ok(Expr::Literal(ScalarValue::try_from_array(&items, at)?, None)));
    let list = literals.collect::<Result<Vec<_>>>()?;
    Ok(Expr::InList(InList { expr: Box::new(value.clone()), list, negated: false }))
}

impl ScalarUDFImpl for OneOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("a list was not put in its place")
    }
}
