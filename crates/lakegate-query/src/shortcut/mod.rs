//! Prepared plans: a governed plan is planned once, over resident tables and indexes. A request only binds its values.
//!
//! A prepared plan is built from a plan that is governed, optimised and verified, and returns the same rows. A query
//! that does not fit runs that plan instead: for example `LIMIT` of an expression, subqueries that stay in expressions,
//! and tables that are not resident.

mod access;
mod convert;
mod cut;
mod day;
mod distinct;
mod filter;
#[cfg(test)]
mod frequent_tests;
mod gather;
mod implied;
mod lookup;
mod node;
mod param;
mod passing;
mod scan;
mod template;
#[cfg(test)]
mod tests;
mod verify;
mod wide;

pub(crate) use cut::is_unfilled;
pub(crate) use template::{Shortcut, Slots};
pub use verify::refused_prepared_plans;
