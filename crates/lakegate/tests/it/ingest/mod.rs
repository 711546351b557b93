//! `lakegate ingest`: recipes, faults, and lakes in an object store.

mod command;
mod faults;
mod store;
