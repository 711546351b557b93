//! Tests of a project's policies: calls as somebody with an expectation, and the matrix of who may what.
//!
//! The format of the files is `lakegate_core::project`'s business, printing is `cli::test`'s. Nothing is served and no token
//! is made.

mod files;
mod judge;
pub mod matrix;
mod run;
mod world;

pub use files::{FOLDER, read};
pub use judge::Failure;
pub use run::{Outcome, run};
pub use world::{Test, World, faults, tests};
