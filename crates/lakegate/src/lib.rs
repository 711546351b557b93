//! The server around the query engine: access store, HTTP server, audit log and command line.

pub mod admin;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod context;
mod error_chain;
pub mod explain;
pub mod http;
pub mod identity;
pub mod impersonation;
pub mod limits;
pub mod mask_key;
pub mod memo;
pub mod observe;
pub mod page;
pub mod pipeline;
pub mod policy_test;
pub mod process;
pub mod project;
pub mod reload;
pub mod request_id;
pub mod response_cache;
pub mod signer;
pub mod status;
pub mod store;
mod token;

pub mod sample;
