//! Formats error chains for logs and operators.

use std::error::Error;
use std::iter::successors;

/// An error and its causes, outermost first.
pub(crate) fn sources<'a>(first: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(first, |error| (*error).source())
}

/// The texts of an error and its causes, joined with `: `.
pub(crate) fn display_chain(first: Option<&(dyn Error + 'static)>) -> String {
    sources(first).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
