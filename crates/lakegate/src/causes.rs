//! What is behind an error, for logs and for those who operate a server: the errors that caused it.

use std::error::Error;
use std::iter::successors;

/// An error and its causes, outermost first.
pub(crate) fn causes<'a>(first: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(first, |error| (*error).source())
}

/// Their texts, one after the other.
pub(crate) fn chain(first: Option<&(dyn Error + 'static)>) -> String {
    causes(first).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
