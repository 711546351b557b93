//! The real binary as a server: sockets, TLS, streaming and shutdown.

mod connections;
pub(crate) mod demo;
mod drain;
pub(crate) mod process;
mod streaming;
mod tls;
