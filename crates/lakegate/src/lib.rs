//! Who asks: the access store, the HTTP server and the command line around the engine.

pub mod cli;
pub mod clock;
pub mod store;

pub mod sample;
