//! Sums and means of floats over a moving window frame. DataFusion subtracts the rows that leave a frame; this loses
//! digits that a large number has absorbed, and a NaN never goes away. Here each frame is summed from its own rows, at
//! the cost of a few additions for each row.

use std::mem::size_of;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::Accumulator;

use crate::floats::canonical;

/// The function to compute.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Sum,
    Mean,
}

/// A queue of numbers with a running sum, made of two stacks.
#[derive(Debug)]
pub(super) struct Sliding {
    wanted: Wanted,
    /// Suffix sums of the older numbers: the last element is the sum of all of them, and the element before is that sum
    /// without the number that leaves next.
    leaving: Vec<f64>,
    /// The newer numbers, in their order.
    come: Vec<f64>,
    /// The sum of the newer numbers.
    sum: f64,
}

impl Sliding {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, leaving: Vec::new(), come: Vec::new(), sum: 0.0 }
    }

    fn add(&mut self, number: f64) {
        self.come.push(number);
        self.sum += number;
    }

    fn take(&mut self) {
        if self.leaving.is_empty() {
            let mut sum = 0.0;
            self.leaving.extend(self.come.drain(..).rev().map(|number| {
                sum += number;
                sum
            }));
            self.sum = 0.0;
        }
        self.leaving.pop();
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|number| self.add(number));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|_| self.take());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let count = self.leaving.len() + self.come.len();
        let sum = self.leaving.last().copied().unwrap_or(0.0) + self.sum;
        Ok(ScalarValue::Float64((count > 0).then_some(match self.wanted {
            Wanted::Sum => canonical(sum),
            Wanted::Mean => canonical(sum / count as f64),
        })))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + (self.leaving.capacity() + self.come.capacity()) * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        not_impl_err!("a frame is not put together of parts")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        not_impl_err!("a frame is not put together of parts")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Float64Array;

    use super::*;

    #[test]
    fn each_frame_has_the_sum_of_its_own_numbers() {
        let numbers = [1e20, 1.0, 1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, -4.0, 5.0, 0.5];
        let of = |number: f64| vec![Arc::new(Float64Array::from(vec![Some(number), None])) as ArrayRef];
        for width in 1..=numbers.len() {
            let (mut sum, mut mean) = (Sliding::new(Wanted::Sum), Sliding::new(Wanted::Mean));
            for (at, number) in numbers.iter().enumerate() {
                for of_frame in [&mut sum, &mut mean] {
                    of_frame.update_batch(&of(*number)).unwrap();
                    if at >= width {
                        of_frame.retract_batch(&of(numbers[at - width])).unwrap();
                    }
                }
                let frame = &numbers[(at + 1).saturating_sub(width)..=at];
                let wanted = frame.iter().sum::<f64>();
                let near = |came: ScalarValue, wanted: f64| match came {
                    ScalarValue::Float64(Some(came)) => {
                        came == wanted
                            || came.is_nan() && wanted.is_nan()
                            || (came - wanted).abs() < 1e-9 * wanted.abs()
                    }
                    _ => false,
                };
                assert!(near(sum.evaluate().unwrap(), wanted), "{frame:?}");
                assert!(near(mean.evaluate().unwrap(), wanted / frame.len() as f64), "{frame:?}");
            }
        }
    }
}
