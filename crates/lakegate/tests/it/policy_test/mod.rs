//! `lakegate test`.

mod expectations;
mod faults;
mod matrix;
