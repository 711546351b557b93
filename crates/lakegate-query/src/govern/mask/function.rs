//! Defines the scalar function that masks a column in a plan. No SQL can call it, because it is in no registry.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Mask;

/// The placeholder of a query's salt.
pub(crate) const SALT: &str = "$catalog.salt";

/// The mask of one column. Equal if table, column, mask and key are.
///
/// Everything that the optimiser could infer about values (bounds, orderings, simplification) keeps its default, which
/// infers nothing.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct MaskFunction {
    name: &'static str,
    table: String,
    column: String,
    mask: Arc<Mask>,
    signature: Signature,
}

/// The mask applied to `input`, which is `column` of `table`.
pub(crate) fn expr(table: &str, column: &str, mask: Arc<Mask>, input: Expr) -> Expr {
    let function = MaskFunction {
        name: mask.function_name(),
        table: table.to_owned(),
        column: column.to_owned(),
        signature: Signature::any(if mask.needs_salt() { 2 } else { 1 }, Volatility::Immutable),
        mask,
    };
    let mut args = vec![input];
    if function.mask.needs_salt() {
        let field = Arc::new(Field::new("", DataType::Utf8View, true));
        args.push(Expr::Placeholder(Placeholder::new_with_field(SALT.to_owned(), Some(field))));
    }
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), args))
}

/// The expression's mask function, if it is one.
pub(crate) fn of(expr: &Expr) -> Option<&MaskFunction> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref(),
        _ => None,
    }
}

impl MaskFunction {
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    pub(crate) fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }
}

impl ScalarUDFImpl for MaskFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [input, ..] => Ok(self.mask.data_type(input)),
            _ => internal_err!("a mask takes one column"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [input, ..] = args.arg_fields else { return internal_err!("a mask takes one column") };
        let field = Field::clone(input)
            .with_name(self.name)
            .with_data_type(self.mask.data_type(input.data_type()))
            .with_nullable(input.is_nullable() || self.mask.can_give_null());
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (of, mask) = match args.args.as_slice() {
            [of] => (of, Arc::clone(&self.mask)),
            [of, ColumnarValue::Scalar(ScalarValue::Utf8View(Some(salt)))] => (of, Arc::new(self.mask.salted(salt))),
            // A plan that is checked and never run has no salt, and its mask returns NULL.
            [of, _] => (of, Arc::clone(&self.mask)),
            _ => return internal_err!("a mask takes one column"),
        };
        match of {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(mask.apply(values))),
            ColumnarValue::Scalar(value) => {
                let masked = value
                    .to_array_of_size(1)
                    .and_then(|values| ScalarValue::try_from_array(&mask.apply(&values), 0))
                    // The text of this error could contain the value.
                    .or_else(|_| ScalarValue::try_new_null(args.return_field.data_type()))?;
                Ok(ColumnarValue::Scalar(masked))
            }
        }
    }
}
