//! Stages of a request to an endpoint: reading the body, negotiation, conditional requests, and the memo.

mod bodies;
mod formats;
mod memo;
mod repeated;
mod validators;
