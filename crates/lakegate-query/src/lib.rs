//! Query execution for lakegate: tables of the lake, plans, governance of plans, engines and encoders.
//!
//! Only this crate uses DataFusion and Arrow. The crate `lakegate` handles callers and protocols.

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
