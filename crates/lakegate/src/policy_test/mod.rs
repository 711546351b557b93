//! Policy tests of a project: impersonated calls with expectations, and the access matrix.
//!
//! `lakegate_core::project` defines the file format, and `cli::test` prints the results. Tests start no server and
//! create no tokens.

mod expectations;
mod files;
pub mod matrix;
mod run;
mod test_access;

pub use expectations::FailedExpectation;
pub use files::{TESTS_FOLDER, read};
pub use run::{TestOutcome, run};
pub use test_access::{Test, TestAccess, faults, tests};
