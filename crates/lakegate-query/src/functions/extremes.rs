//! `min` and `max` of floats that treat NaN as the greatest value, independent of the order of rows. In grouped
//! aggregates, DataFusion compares floats as numbers, so NaN is neither less nor greater than any value.
//!
//! Floats are mapped to integers of the same order; for other types, these functions are DataFusion's.

use std::mem::size_of_val;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

use crate::floats::{canonical, ordered};

/// The functions to register in place of DataFusion's.
pub(crate) fn exact_extremes() -> [AggregateUDF; 2] {
    let of = |engine: AggregateUDF| AggregateUDF::from(Extreme { engine });
    [of(AggregateUDF::from(Min::new())), of(AggregateUDF::from(Max::new()))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    engine: AggregateUDF,
}

impl Extreme {
    /// Builds DataFusion's accumulator over the integers.
    fn of_keys<T>(args: &AccumulatorArgs, make: impl FnOnce(AccumulatorArgs) -> Result<T>) -> Result<T> {
        let key: FieldRef = Arc::new(Field::new("key", DataType::Int64, true));
        let (schema, fields) = (Schema::new(vec![Arc::clone(&key)]), [Arc::clone(&key)]);
        make(AccumulatorArgs {
            return_field: key,
            schema: &schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys,
            is_reversed: args.is_reversed,
            name: args.name,
            is_distinct: args.is_distinct,
            exprs: args.exprs,
            expr_fields: &fields,
        })
    }
}

fn is_of_floats(args: &AccumulatorArgs) -> bool {
    args.return_field.data_type().is_floating()
}

/// Maps floats to integers of the same order.
fn keys(floats: &ArrayRef) -> Result<ArrayRef> {
    let floats = cast(floats, &DataType::Float64)?;
    let key = |float| ordered(canonical(float));
    Ok(Arc::new(floats.as_primitive::<Float64Type>().unary::<_, Int64Type>(key)))
}

/// Maps the integers back to floats.
fn floats(keys: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let float = |key: i64| f64::from_bits((if key < 0 { key ^ i64::MAX } else { key }).cast_unsigned());
    let floats: PrimitiveArray<Float64Type> = keys.as_primitive::<Int64Type>().unary(float);
    Ok(cast(&floats, data_type)?)
}

fn all_keys(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    values.iter().map(keys).collect()
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.engine.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.engine.coerce_types(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !args.return_field.data_type().is_floating() {
            return self.engine.state_fields(args);
        }
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, self.name()), DataType::Int64, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_of_floats(&args) {
            return self.engine.accumulator(args);
        }
        let inner = Self::of_keys(&args, |args| self.engine.accumulator(args))?;
        Ok(Box::new(OfKeys { inner, data_type: args.return_field.data_type().clone() }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_of_floats(&args) {
            return self.engine.create_sliding_accumulator(args);
        }
        let inner = Self::of_keys(&args, |args| self.engine.create_sliding_accumulator(args))?;
        Ok(Box::new(OfKeys { inner, data_type: args.return_field.data_type().clone() }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        is_of_floats(&args) || self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_of_floats(&args) {
            return self.engine.create_groups_accumulator(args);
        }
        let inner = Self::of_keys(&args, |args| self.engine.create_groups_accumulator(args))?;
        Ok(Box::new(GroupsOfKeys { inner, data_type: args.return_field.data_type().clone() }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engine.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engine.documentation()
    }
}

#[derive(Debug)]
struct OfKeys {
    inner: Box<dyn Accumulator>,
    data_type: DataType,
}

impl Accumulator for OfKeys {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&all_keys(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let key = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&floats(&key, &self.data_type)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&all_keys(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The grouped accumulator over the integers.
struct GroupsOfKeys {
    inner: Box<dyn GroupsAccumulator>,
    data_type: DataType,
}

impl GroupsAccumulator for GroupsOfKeys {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(&all_keys(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        floats(&self.inner.evaluate(emit_to)?, &self.data_type)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&all_keys(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
