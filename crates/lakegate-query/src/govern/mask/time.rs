//! Masks of times.
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
use lakegate_core::project::Granularity;
pub(super) fn truncate(_array: &ArrayRef, _hidden: Option<&NullBuffer>, _to: Granularity) -> Option<ArrayRef> { None }
