//! Bounds what Parquet files say of themselves, before the parquet crate allocates by it: footers, indexes of pages, and pages.
//!
//! Decoding is the parquet crate's business, and so are its panics the caller's. Knows nothing of tables, of where files are, and
//! of what statistics may be used for.

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
