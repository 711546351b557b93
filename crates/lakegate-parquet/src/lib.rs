//! Validates footers, page indexes and page headers of Parquet files, before the parquet crate allocates by them.
//!
//! The parquet crate does the decoding, and callers must handle its panics. This crate knows nothing about tables, the
//! location of files, or the use of statistics.

mod counts;
mod delta;
mod footer;
mod index;
mod pages;
mod plausible;
mod thrift;
mod varint;

pub use footer::Footer;
pub use index::{attached, span, without};
pub use pages::{Places, check_pages};
