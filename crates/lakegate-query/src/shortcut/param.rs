//! Parameters in a physical plan that is built before their values are known.
//!
//! A parameter is a function that always fails, so a plan with an unbound parameter returns no row.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err, internal_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::{InListExpr, Literal, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::govern::one_of;

/// A parameter.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    /// The index of its value.
    slot: usize,
    data_type: DataType,
    signature: Signature,
}

/// An expression that stands for the value with index `slot`.
pub(super) fn place(slot: usize, data_type: DataType) -> Expr {
    // Volatile, so that the optimiser does not evaluate it or treat it as a constant.
    let place = Place { slot, data_type, signature: Signature::exact(Vec::new(), Volatility::Volatile) };
    ScalarUDF::new_from_impl(place).call(Vec::new())
}

impl ScalarUDFImpl for Place {
    fn name(&self) -> &str {
        "value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("a value was not put in its place")
    }
}

/// Turns a call of `one_of` with a bound list into a lookup in a hash set.
fn set_of(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>().filter(|call| one_of::is_one_of(call.fun()));
    let Some([value, list]) = call.map(ScalarFunctionExpr::args) else { return Ok(Transformed::no(expr)) };
    let Some(list) = list.downcast_ref::<Literal>() else { return Ok(Transformed::no(expr)) };
    let items = one_of::items(list.value())?;
    let set = InListExpr::try_new_from_array(Arc::clone(value), items, false, schema)?;
    Ok(Transformed::yes(Arc::new(set)))
}

/// The index of the value that an expression stands for; `None` if it is not a parameter.
pub(super) fn slot_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    function.fun().inner().downcast_ref::<Place>().map(|place| place.slot)
}

/// Whether an expression contains parameters.
pub(super) fn has_places(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut found = false;
    let walked = expr.apply(|inner| {
        found |= slot_of(inner).is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || walked.is_err()
}

/// Binds the parameters of an expression over `schema`. A list becomes a hash set, built once for each request.
///
/// # Errors
/// If a value is missing.
pub(super) fn filled(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    values: &[ScalarValue],
) -> Result<Arc<dyn PhysicalExpr>> {
    let filled = Arc::clone(expr).transform_up(|inner| match slot_of(&inner) {
        None => set_of(inner, schema),
        Some(slot) => {
            let value = values.get(slot).ok_or_else(|| internal_datafusion_err!("there is no value {slot}"))?;
            Ok(Transformed::yes(lit(value.clone())))
        }
    })?;
    debug_assert!(!has_places(&filled.data));
    Ok(filled.data)
}
