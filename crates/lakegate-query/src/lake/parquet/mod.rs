//! Reads Parquet files that others wrote without believing what they say of themselves: sizes and counts are bounded before
//! the parquet crate allocates by them.
//!
//! Decoding is the parquet crate's business. Its panics are caught in `contained`. What statistics may be used for is not
//! decided here.

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
