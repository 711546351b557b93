//! `sum` that is exact or fails: adds integers in 128 bits, decimals in twice their width, floats as DataFusion does.
//!
//! The return types are those of DataFusion's `sum`. Only a final sum that does not fit is a fault, not an intermediate
//! one, so the order of rows does not matter.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Field, FieldRef, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use datafusion::physical_expr::expressions::Column;

use super::checked::holds_precision;
use super::fault::{ValueFault, out_of_range};
use super::sliding::{Sliding, Wanted};

/// Decimals of up to this many digits are added in 128 bits, because no table has enough rows to overflow them.
const MOST_DIGITS: u8 = 28;

/// The function to register in place of DataFusion's.
pub(crate) fn exact_sum() -> AggregateUDF {
    AggregateUDF::from(ExactSum { engine: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    engine: Sum,
}

/// How values of a type are added.
enum Way {
    /// As 128-bit integers.
    Whole,
    /// By DataFusion, as this decimal type, which may be wider.
    Decimal(DataType),
    /// By DataFusion.
    Engine,
}

impl Way {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => Self::Whole,
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                Self::Decimal(DataType::Decimal128(MOST_DIGITS, *scale))
            }
            DataType::Decimal128(precision, scale) if *precision > MOST_DIGITS => {
                Self::Decimal(DataType::Decimal256(66, *scale))
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Decimal(data_type.clone()),
            _ => Self::Engine,
        }
    }
}

/// The fault of a sum; names the column if the argument is one.
fn fault(args: &AccumulatorArgs) -> ValueFault {
    let column = args.exprs.first().and_then(|expr| expr.downcast_ref::<Column>());
    // The optimiser generates such names.
    out_of_range(column.map(Column::name).filter(|name| !name.starts_with("__") && !name.starts_with("alias")))
}

impl ExactSum {
    /// The arguments for DataFusion's `sum` over a wider type.
    fn widened<'a>(args: &AccumulatorArgs<'a>, sum: &DataType) -> AccumulatorArgs<'a> {
        let return_field = Arc::new(Field::new(args.return_field.name(), sum.clone(), true));
        AccumulatorArgs {
            return_field,
            schema: args.schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys,
            is_reversed: args.is_reversed,
            name: args.name,
            is_distinct: args.is_distinct,
            exprs: args.exprs,
            expr_fields: args.expr_fields,
        }
    }

    /// DataFusion's accumulator over the wider type, with the result cast back.
    fn decimals(
        &self,
        args: &AccumulatorArgs,
        wide: DataType,
        make: impl FnOnce(&Sum, AccumulatorArgs) -> Result<Box<dyn Accumulator>>,
    ) -> Result<Box<dyn Accumulator>> {
        let sum = self.engine.return_type(std::slice::from_ref(&wide))?;
        let inner = make(&self.engine, Self::widened(args, &sum))?;
        Ok(Box::new(Widened { inner, wide, output: args.return_field.data_type().clone(), fault: fault(args) }))
    }
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if let [DataType::Interval(_)] = arg_types {
            return plan_err!("intervals are not added up; add up a number of days or seconds");
        }
        self.engine.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let of_input = args.input_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let state = match Way::of(&of_input) {
            Way::Engine => return self.engine.state_fields(args),
            Way::Whole if args.is_distinct => of_input,
            Way::Whole => WIDE,
            Way::Decimal(wide) => self.engine.return_type(&[wide])?,
        };
        Ok(vec![Arc::new(match args.is_distinct {
            true => {
                Field::new_list(format_state_name(args.name, "sum distinct"), Field::new_list_field(state, true), false)
            }
            false => Field::new(format_state_name(args.name, "sum"), state, true),
        })])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Way::of(args.expr_fields[0].data_type()) {
            Way::Engine => self.engine.accumulator(args),
            Way::Decimal(wide) => self.decimals(&args, wide, |engine, args| engine.accumulator(args)),
            Way::Whole if args.is_distinct => Ok(Box::new(DistinctWhole::new(&args))),
            Way::Whole => Ok(Box::new(WholeSum::new(&args))),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Way::of(args.expr_fields[0].data_type()) {
            Way::Engine if !args.is_distinct && *args.expr_fields[0].data_type() == DataType::Float64 => {
                Ok(Box::new(Sliding::new(Wanted::Sum)))
            }
            Way::Engine => self.engine.create_sliding_accumulator(args),
            Way::Decimal(wide) => self.decimals(&args, wide, |engine, args| engine.create_sliding_accumulator(args)),
            Way::Whole if args.is_distinct => Ok(Box::new(DistinctWhole::new(&args))),
            Way::Whole => Ok(Box::new(WholeSum::new(&args))),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let of_input = args.expr_fields[0].data_type();
        match Way::of(of_input) {
            Way::Engine => self.engine.create_groups_accumulator(args),
            Way::Decimal(wide) => {
                let sum = self.engine.return_type(std::slice::from_ref(&wide))?;
                let inner = self.engine.create_groups_accumulator(Self::widened(&args, &sum))?;
                let output = args.return_field.data_type().clone();
                Ok(Box::new(WidenedGroups { inner, wide, output, fault: fault(&args) }))
            }
            Way::Whole => Ok(match of_input {
                DataType::UInt64 => Box::new(WholeGroups::<UInt64Type>::new(fault(&args))),
                DataType::Duration(TimeUnit::Second) => Box::new(WholeGroups::<DurationSecondType>::new(fault(&args))),
                DataType::Duration(TimeUnit::Millisecond) => {
                    Box::new(WholeGroups::<DurationMillisecondType>::new(fault(&args)))
                }
                DataType::Duration(TimeUnit::Microsecond) => {
                    Box::new(WholeGroups::<DurationMicrosecondType>::new(fault(&args)))
                }
                DataType::Duration(TimeUnit::Nanosecond) => {
                    Box::new(WholeGroups::<DurationNanosecondType>::new(fault(&args)))
                }
                _ => Box::new(WholeGroups::<Int64Type>::new(fault(&args))),
            }),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        self.engine.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engine.set_monotonicity(data_type)
    }
}

/// The state of a sum of integers. It uses all 128 bits of the decimal.
pub(super) const WIDE: DataType = DataType::Decimal128(38, 0);

/// Casts a sum to a narrower type; returns the fault if it does not fit.
fn narrowed(sum: &ArrayRef, output: &DataType, fault: &ValueFault) -> Result<ArrayRef> {
    let narrowed = match (sum.data_type(), output) {
        (DataType::Decimal256(..), DataType::Decimal128(..))
        | (DataType::Decimal128(..), DataType::Decimal32(..) | DataType::Decimal64(..)) => {
            cast_strictly(sum, output).map_err(|_| fault.clone())?
        }
        _ => Arc::clone(sum),
    };
    match holds_precision(&ColumnarValue::Array(Arc::clone(&narrowed)), output)? {
        true => with_type(narrowed, output),
        false => Err(fault.clone().into()),
    }
}

fn cast_strictly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = datafusion::arrow::compute::CastOptions { safe: false, ..Default::default() };
    Ok(datafusion::arrow::compute::cast_with_options(array, to, &options)?)
}

/// Relabels decimals with a type of the same width.
fn with_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    let data = array.to_data().into_builder().data_type(data_type.clone()).build()?;
    Ok(datafusion::arrow::array::make_array(data))
}

/// DataFusion's sum over a wider type.
#[derive(Debug)]
struct Widened {
    inner: Box<dyn Accumulator>,
    wide: DataType,
    output: DataType,
    fault: ValueFault,
}

impl Accumulator for Widened {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widened(values, &self.wide)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&narrowed(&sum, &self.output, &self.fault)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widened(values, &self.wide)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

fn widened(values: &[ArrayRef], wide: &DataType) -> Result<Vec<ArrayRef>> {
    values
        .iter()
        .map(|array| if array.data_type() == wide { Ok(Arc::clone(array)) } else { Ok(cast(array, wide)?) })
        .collect()
}

/// DataFusion's grouped sum over a wider type.
struct WidenedGroups {
    inner: Box<dyn GroupsAccumulator>,
    wide: DataType,
    output: DataType,
    fault: ValueFault,
}

impl GroupsAccumulator for WidenedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(&widened(values, &self.wide)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        narrowed(&self.inner.evaluate(emit_to)?, &self.output, &self.fault)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widened(values, &self.wide)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

/// The integers of an array; NULLs stay `None`.
pub(super) fn wholes(array: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<i128>> + '_>> {
    match array.data_type() {
        DataType::Int64 => Ok(Box::new(array.as_primitive::<Int64Type>().iter().map(|it| it.map(i128::from)))),
        DataType::UInt64 => Ok(Box::new(array.as_primitive::<UInt64Type>().iter().map(|it| it.map(i128::from)))),
        DataType::Decimal128(..) => Ok(Box::new(array.as_primitive::<Decimal128Type>().iter())),
        DataType::Duration(_) => {
            let numbers = cast(array, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter().map(|it| it.map(i128::from));
            Ok(Box::new(numbers.collect::<Vec<_>>().into_iter()))
        }
        other => internal_err!("{other} is not a type of whole numbers"),
    }
}

/// Converts a sum to its return type; returns the fault if it does not fit.
pub(super) fn whole_value(sum: Option<i128>, output: &DataType, fault: &ValueFault) -> Result<ScalarValue> {
    let out = || fault.clone();
    Ok(match output {
        DataType::UInt64 => ScalarValue::UInt64(sum.map(u64::try_from).transpose().map_err(|_| out())?),
        output => ScalarValue::Int64(sum.map(i64::try_from).transpose().map_err(|_| out())?).cast_to(output)?,
    })
}

/// The sum of all rows, or of those in a window frame.
#[derive(Debug)]
struct WholeSum {
    sum: i128,
    count: u64,
    output: DataType,
    fault: ValueFault,
}

impl WholeSum {
    fn new(args: &AccumulatorArgs) -> Self {
        Self { sum: 0, count: 0, output: args.return_field.data_type().clone(), fault: fault(args) }
    }
}

impl Accumulator for WholeSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for whole in wholes(&values[0])?.flatten() {
            (self.sum, self.count) = (self.sum + whole, self.count + 1);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        whole_value((self.count > 0).then_some(self.sum), &self.output, &self.fault)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128((self.count > 0).then_some(self.sum), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
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

/// The sum of distinct numbers, with the number of occurrences of each.
#[derive(Debug)]
struct DistinctWhole {
    counts: std::collections::HashMap<i128, u64>,
    output: DataType,
    fault: ValueFault,
}

impl DistinctWhole {
    fn new(args: &AccumulatorArgs) -> Self {
        Self { counts: Default::default(), output: args.return_field.data_type().clone(), fault: fault(args) }
    }
}

impl Accumulator for DistinctWhole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for whole in wholes(&values[0])?.flatten() {
            *self.counts.entry(whole).or_default() += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (!self.counts.is_empty()).then(|| self.counts.keys().sum());
        whole_value(sum, &self.output, &self.fault)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * (size_of::<(i128, u64)>() + 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.counts.keys().map(|whole| whole_value(Some(*whole), &self.output, &self.fault));
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.output))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for at in 0..lists.len() {
            self.update_batch(&[lists.value(at)])?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for whole in wholes(&values[0])?.flatten() {
            if let Some(count) = self.counts.get_mut(&whole) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&whole);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The sums of groups.
struct WholeGroups<T> {
    sums: Vec<i128>,
    /// Whether each group has a value that is not NULL.
    has: Vec<bool>,
    fault: ValueFault,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> WholeGroups<T>
where
    i128: From<T::Native>,
    T::Native: TryFrom<i128>,
{
    fn new(fault: ValueFault) -> Self {
        Self { sums: Vec::new(), has: Vec::new(), fault, of: std::marker::PhantomData }
    }

    fn add(
        &mut self,
        rows: impl Iterator<Item = Option<i128>>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) {
        self.sums.resize(total, 0);
        self.has.resize(total, false);
        for (at, (row, group)) in rows.zip(groups).enumerate() {
            let Some(row) = row.filter(|_| filter.is_none_or(|filter| filter.is_valid(at) && filter.value(at))) else {
                continue;
            };
            self.sums[*group] += row;
            self.has[*group] = true;
        }
    }

    fn take(&mut self, emit_to: EmitTo) -> impl Iterator<Item = Option<i128>> + use<T> {
        let (sums, has) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.has));
        sums.into_iter().zip(has).map(|(sum, has)| has.then_some(sum))
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for WholeGroups<T>
where
    i128: From<T::Native>,
    T::Native: TryFrom<i128>,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let rows = values[0].as_primitive::<T>();
        if rows.null_count() == 0 && filter.is_none() {
            self.sums.resize(total, 0);
            self.has.resize(total, false);
            for (row, group) in rows.values().iter().zip(groups) {
                self.sums[*group] += i128::from(*row);
                self.has[*group] = true;
            }
            return Ok(());
        }
        self.add(rows.iter().map(|row| row.map(i128::from)), groups, filter, total);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let fault = self.fault.clone();
        let narrow = |sum: i128| T::Native::try_from(sum).map_err(|_| fault.clone());
        let sums = self.take(emit_to).map(|sum| sum.map(narrow).transpose());
        let sums = sums.collect::<Result<Vec<_>, ValueFault>>()?;
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(sums)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = self.take(emit_to).collect::<Decimal128Array>();
        Ok(vec![Arc::new(sums.with_data_type(WIDE))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(values[0].as_primitive::<Decimal128Type>().iter(), groups, None, total);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].as_primitive::<T>().iter().enumerate().map(|(at, row)| {
            row.filter(|_| filter.is_none_or(|filter| filter.is_valid(at) && filter.value(at))).map(i128::from)
        });
        Ok(vec![Arc::new(rows.collect::<Decimal128Array>().with_data_type(WIDE))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.has.capacity()
    }
}
