//! The rules of lakegate: projects, endpoints, parameters, principals, tokens, grants, policies and error codes.
//!
//! No DataFusion, no HTTP, no I/O and no clock: files come in as text, and time as an argument.

pub mod access;
pub mod catalog;
pub mod column_name;
pub mod discover;
pub mod error;
pub mod format;
pub mod limits;
pub mod project;
pub mod trace;
pub mod value;
