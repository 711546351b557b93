//! How many requests who makes: counted by principal, in this process, and told in the headers of answers.
//!
//! Whether one more fits is decided by [`lakegate_core::limits::rate`]; what bounds a single query is the engine's business.

mod rates;
mod standing;

pub use rates::{Counted, Quota, Rates};
pub use standing::{Standing, are_counted};
