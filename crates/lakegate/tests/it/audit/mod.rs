//! The audit log: its records, its files, and `audit = "strict"`.

mod files;
pub(crate) mod records;
mod server;
mod strict;
