//! How it runs: tables of the lake, plans, governance in the plan, the engine and the encoders.
//!
//! The only crate that names DataFusion and Arrow. Who calls and over what protocol is `lakegate`'s business.

pub mod answer;
mod arrays;
pub mod discover;
pub mod encode;
pub mod engine;
mod floats;
mod functions;
pub mod govern;
mod hot;
pub mod ingest;
pub mod lake;
pub mod layout;
pub mod plan;
pub mod publish;
mod shortcut;
mod uuids;
