//! The access store, and what grants allow.

mod grant_columns;
mod grant_rules;
mod import;
mod store;
