//! Masks of numbers.
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use lakegate_core::project::Step;
use super::key::Pseudonyms;
pub(super) fn pseudonyms(_array: &ArrayRef, _hidden: Option<&NullBuffer>, _p: &Pseudonyms) -> Option<ArrayRef> { None }
pub(super) fn round(_array: &ArrayRef, _hidden: Option<&NullBuffer>, _step: Step) -> Option<ArrayRef> { None }
pub(super) fn takes_step(_data_type: &DataType, _step: Step) -> Option<bool> { Some(true) }
