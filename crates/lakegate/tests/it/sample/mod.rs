//! The sample project and its data.

mod lake;
mod policies;
mod roles;
