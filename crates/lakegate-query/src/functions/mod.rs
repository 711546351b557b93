//! The functions and arithmetic of queries: which functions are allowed, and values that are exact or refused.
//!
//! DataFusion wraps integers and decimals on overflow, compares integers as floats, and allocates whatever size a
//! function's argument asks for. One analyzer rule ([`rewrite`]) replaces all of this with our own functions, so every
//! path computes alike. `govern::total` decides which expressions are leakproof and may stand below a barrier.

mod allowed;
mod avg;
mod checked;
mod compare;
mod date_steps;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod extreme_calls;
#[cfg(test)]
mod extreme_tests;
mod extremes;
mod fault;
#[cfg(test)]
mod float_tests;
mod floats;
mod growth;
mod guarded;
mod intervals;
mod literals;
pub(crate) mod memory;
mod moments;
#[cfg(test)]
mod number_tests;
mod percentile;
mod rewrite;
mod sliding;
mod sum;
mod time_casts;
mod windows;

pub(crate) use allowed::{is_allowed, never_fails, suggestion};
pub(crate) use avg::exact_avg;
pub(crate) use checked::operator_of;
pub(crate) use compare::is_exact_comparison;
pub(crate) use extremes::exact_extremes;
pub(crate) use fault::{ValueFault, fault_of, number_fault};
pub(crate) use floats::{failing_cast, is_one_form};
pub(crate) use guarded::grows;
pub(crate) use literals::check_numbers;
pub(crate) use percentile::exact_percentile;
pub(crate) use rewrite::{ExactRule, exact};
pub(crate) use sum::exact_sum;
