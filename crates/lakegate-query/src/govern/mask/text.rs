//! Masks of text, in every array that text can be in.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
use lakegate_core::project::Step;

use super::key::Pseudonyms;

/// A mask of text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TextMask {
    Redact,
    Partial { prefix: u8, suffix: u8 },
    Email,
    Hash(Pseudonyms),
    Grid(Step),
}

impl TextMask {
    /// `None` for an array that is not of text, or when the masked text does not fit into one array.
    pub(super) fn apply(&self, _array: &ArrayRef, _hidden: Option<&NullBuffer>) -> Option<ArrayRef> {
        None
    }
}
