//! The properties of any input, one function for each fuzz target. A function panics when its property does not hold.
//!
//! Nothing here depends on the fuzzer, so a debugger or a test can run an input.

mod access;
mod admitted;
mod arguments;
mod files;
mod parquet;

pub use access::{access_import, attribute, token};
pub use arguments::arguments;
pub use files::{config, endpoint_file};
pub use parquet::parquet;
