//! Policy tests of a project: impersonated calls with expectations, and the access matrix.
//!
//! `lakegate_core::project` defines the file format, and `cli::test` prints the results. Tests start no server and
//! create no tokens.

mod files;
mod judge;
pub mod matrix;
mod run;
mod world;

pub use files::{FOLDER, read};
pub use judge::Failure;
pub use run::{Outcome, run};
pub use world::{Test, World, faults, tests};
