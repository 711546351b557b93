//! The log, metrics, traces and `Server-Timing`.

mod answered;
mod log;
mod metrics;
mod timing;
mod traces;
