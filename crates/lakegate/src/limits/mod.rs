//! Per-principal rate limits, counted in this process and reported in response headers.
//!
//! [`lakegate_core::limits::rate`] decides whether one more request fits. The engine enforces the limits of a single
//! query.

mod rates;
mod request;

pub use rates::{Quota, RateKey, Rates};
pub use request::RateLimitState;
