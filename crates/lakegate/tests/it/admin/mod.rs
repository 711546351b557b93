//! The admin API, and the record of each change.

mod api;
mod changes;
mod export;
mod process;
mod refusals;
