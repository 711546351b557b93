//! Nested arrays, built anew.
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
pub(super) fn items(_array: &ArrayRef, _hidden: Option<&NullBuffer>, _mask: impl Fn(&ArrayRef, Option<&NullBuffer>) -> ArrayRef) -> Option<ArrayRef> { None }
pub(super) fn fields(_array: &ArrayRef, _hidden: Option<&NullBuffer>, _mask: impl Fn(&str, &ArrayRef, Option<&NullBuffer>) -> Option<ArrayRef>) -> Option<ArrayRef> { None }
