//! Shortcuts: a governed plan made once, down to its operators, over hot tables and their indexes. A request only puts its
//! values in.
//!
//! A shortcut is made of a plan that is governed, optimised and verified. It gives the same rows as that plan, which remains
//! what runs where a query does not fit: `LIMIT` of a value, subqueries that stay in expressions, tables that are not hot.

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
