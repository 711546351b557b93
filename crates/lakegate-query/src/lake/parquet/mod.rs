//! Reads Parquet files of other writers without trusting them: checks the sizes and counts that a file declares before
//! the parquet crate allocates memory for them.
//!
//! The parquet crate decodes, and `contained` catches its panics. `believed` decides which statistics may be used.

#[cfg(test)]
mod corrupt_tests;
mod footer;
mod reader;
#[cfg(test)]
mod text_tests;
pub(super) mod texts;

pub(crate) use footer::cached;
pub(super) use footer::{FooterError, load};
pub(super) use reader::{CheckedReaders, Verified};
