//! What a query may compute with: the functions that it may call, and values that are right or refused.
//!
//! DataFusion wraps integers and decimals that overflow, compares whole numbers as floats, and allocates what an argument of a
//! function asks for. Here is one analyzer rule ([`rewrite`]) that puts functions of ours in the place of all of that, so that every
//! path computes alike. Which parts of a plan may fail below a barrier is decided in `govern::total`.

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
