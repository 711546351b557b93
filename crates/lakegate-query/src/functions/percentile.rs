//! `percentile_cont` with the precision of a float. DataFusion's truncates the fraction to six digits.
//!
//! DataFusion's function collects the numbers of a group; this one computes the percentile from them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::functions_aggregate::percentile_cont::PercentileCont;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};
use datafusion::physical_expr::expressions::Literal;

use crate::floats::canonical;

/// The function to register in place of DataFusion's.
pub(crate) fn exact_percentile() -> AggregateUDF {
    AggregateUDF::from(ExactPercentile { engine: PercentileCont::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactPercentile {
    engine: PercentileCont,
}

/// The requested fraction in ascending order, from 0 to 1.
fn share(args: &AccumulatorArgs) -> Result<f64> {
    let written = args.exprs[1].downcast_ref::<Literal>().map(Literal::value);
    let share = match written {
        Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(share) => *share,
        _ => {
            return plan_err!(
                "`percentile_cont` takes a number from 0 to 1 that is written in the query, such as `0.95`"
            );
        }
    };
    let is_descending = args.order_bys.first().is_some_and(|by| by.options.descending);
    Ok(if is_descending { 1.0 - share } else { share })
}

impl AggregateUDFImpl for ExactPercentile {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn aliases(&self) -> &[String] {
        self.engine.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.engine.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.engine.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let (share, is_distinct) = (share(&args)?, args.is_distinct);
        let is_null = args.expr_fields[0].data_type().is_null();
        let gathered = self.engine.accumulator(args)?;
        if is_null {
            return Ok(gathered);
        }
        Ok(Box::new(Percentile { gathered, share, is_distinct }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let share = share(&args)?;
        Ok(Box::new(Percentiles { gathered: self.engine.create_groups_accumulator(args)?, share }))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.engine.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engine.documentation()
    }
}

/// The percentile at this fraction, interpolated; `None` without numbers. NaN is the greatest number.
fn percentile(mut numbers: Vec<f64>, share: f64) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let last = numbers.len().checked_sub(1)?;
    let place = share * last as f64;
    let (lower, upper) = (*numbers.get(place.floor() as usize)?, *numbers.get(place.ceil() as usize)?);
    let part = place.fract();
    let between = match upper - lower {
        _ if part == 0.0 || lower == upper => lower,
        // The distance of the two numbers overflows a float.
        distance if distance.is_infinite() && lower.is_finite() && upper.is_finite() => {
            lower * (1.0 - part) + upper * part
        }
        distance => lower + distance * part,
    };
    Some(canonical(between))
}

/// The numbers in an accumulator's state.
fn numbers(state: &ArrayRef) -> Result<Vec<f64>> {
    Ok(cast(state, &DataType::Float64)?.as_primitive::<Float64Type>().iter().flatten().map(canonical).collect())
}

#[derive(Debug)]
struct Percentile {
    gathered: Box<dyn Accumulator>,
    share: f64,
    is_distinct: bool,
}

impl Accumulator for Percentile {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gathered.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.gathered.state()?;
        let [ScalarValue::List(lists)] = state.as_slice() else {
            return internal_err!("the numbers of a percentile are a list");
        };
        // Reading the state removes numbers that are not distinct; a moving frame needs them again, so put them back.
        if !self.is_distinct {
            self.gathered.merge_batch(&[Arc::clone(lists) as ArrayRef])?;
        }
        let of_type = lists.value_type();
        let value = ScalarValue::Float64(percentile(numbers(&lists.value(0))?, self.share));
        value.cast_to(&of_type)
    }

    fn size(&self) -> usize {
        self.gathered.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.gathered.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.gathered.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gathered.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.gathered.supports_retract_batch()
    }
}

/// The grouped accumulator.
struct Percentiles {
    gathered: Box<dyn GroupsAccumulator>,
    share: f64,
}

impl GroupsAccumulator for Percentiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.gathered.update_batch(values, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let state = self.gathered.state(emit_to)?;
        let [lists] = state.as_slice() else { return internal_err!("the numbers of percentiles are lists") };
        let lists = lists.as_list::<i32>();
        let values = lists.iter().map(|group| match group {
            Some(group) => Ok(percentile(numbers(&group)?, self.share)),
            None => Ok(None),
        });
        let values: ArrayRef = Arc::new(values.collect::<Result<Float64Array>>()?);
        Ok(cast(&values, &lists.value_type())?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.gathered.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.gathered.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.gathered.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.gathered.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_has_all_digits_of_its_fraction() {
        let of = |numbers: &[f64], share| percentile(numbers.to_vec(), share);
        assert_eq!(of(&[], 0.5), None);
        assert_eq!(of(&[7.0], 0.3), Some(7.0));
        assert_eq!(of(&[3e9, 0.0], 1.0 / 3.0), Some(1e9));
        assert_eq!(of(&[0.0, 1e12], 0.123_456_789_012), Some(123_456_789_012.0));
        assert_eq!(of(&[-1.7e308, 1.7e308], 0.5), Some(0.0));
        assert_eq!(of(&[1.0, f64::INFINITY], 0.0), Some(1.0));
        assert!(of(&[f64::NAN, 1.0], 1.0).is_some_and(f64::is_nan));
    }
}
