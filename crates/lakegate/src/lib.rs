//! The server around the query engine: access store, HTTP server, audit log and command line.

pub mod app;
pub mod context;
pub mod http;
pub mod pipeline;
pub mod request_id;

pub mod identity;
pub mod limits;
pub mod memo;
pub mod page;
pub mod response_cache;
pub mod signer;
mod token;

pub mod mask_key;
pub mod project;
pub mod reload;

pub mod admin;
pub mod store;

pub mod audit;
pub mod observe;
pub mod status;

pub mod explain;
pub mod impersonation;
pub mod policy_test;

pub mod cli;
pub mod sample;

pub mod clock;
mod error_chain;
pub mod file_limit;
