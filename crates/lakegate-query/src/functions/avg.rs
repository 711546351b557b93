//! `avg` that is exact for durations. For numbers it is DataFusion's, which adds wider decimals or floats.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, UInt64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::sliding::{Sliding, Wanted};
use super::sum::{WIDE, whole_value, wholes};

/// The function to register in place of DataFusion's.
pub(crate) fn exact_avg() -> AggregateUDF {
    AggregateUDF::from(ExactAvg { engine: Avg::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactAvg {
    engine: Avg,
}

fn is_duration(args: &AccumulatorArgs) -> bool {
    matches!(args.return_field.data_type(), DataType::Duration(_))
}

impl AggregateUDFImpl for ExactAvg {
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
        if !matches!(args.return_field.data_type(), DataType::Duration(_)) || args.is_distinct {
            return self.engine.state_fields(args);
        }
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "count"), DataType::UInt64, true)),
            Arc::new(Field::new(format_state_name(args.name, "sum"), WIDE, true)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_duration(&args) && !args.is_distinct {
            true => Ok(Box::new(MeanDuration { sum: 0, count: 0, output: args.return_field.data_type().clone() })),
            false => self.engine.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_duration(&args) && !args.is_distinct {
            true => self.accumulator(args),
            false if !args.is_distinct && *args.expr_fields[0].data_type() == DataType::Float64 => {
                Ok(Box::new(Sliding::new(Wanted::Mean)))
            }
            false => self.engine.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_duration(&args) && self.engine.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.engine.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engine.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.engine.order_sensitivity()
    }
}

#[derive(Debug)]
struct MeanDuration {
    sum: i128,
    count: u64,
    output: DataType,
}

impl Accumulator for MeanDuration {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for whole in wholes(&values[0])?.flatten() {
            (self.sum, self.count) = (self.sum + whole, self.count + 1);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // A mean lies between its numbers, so it fits their type.
        let mean = (self.count > 0).then(|| self.sum / i128::from(self.count));
        whole_value(mean, &self.output, &super::fault::out_of_range(None))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::UInt64(Some(self.count)), ScalarValue::Decimal128(Some(self.sum), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.count += states[0].as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        self.sum += states[1].as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for whole in wholes(&values[0])?.flatten() {
            (self.sum, self.count) = (self.sum - whole, self.count - 1);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}
