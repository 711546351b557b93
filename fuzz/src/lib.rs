//! What must hold for any input, one function a fuzz target; each panics when it does not.
//!
//! Knows nothing of the fuzzer, so that an input can be looked at in a debugger or a test.

mod access;
mod admitted;
mod arguments;
mod files;
mod parquet;

pub use access::{access_import, attribute, token};
pub use arguments::arguments;
pub use files::{config, endpoint_file};
pub use parquet::parquet;
