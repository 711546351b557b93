//! Engines: what executes a governed plan. An engine takes a [`GovernedPlan`] and nothing else.

mod embedded;
mod failure;
mod limited;
mod statistics;
mod stream;
mod whole;

use std::time::Instant;

use async_trait::async_trait;
use lakegate_core::error::Error;

pub use embedded::{Embedded, runtime};
pub(crate) use failure::failure;
pub use limited::Limited;
pub use statistics::{Meter, QueryStatistics};
pub use stream::BatchStream;

use crate::govern::GovernedPlan;

/// What one query may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the answer must be complete.
    pub deadline: Instant,
    /// The most rows of the answer; more are an error. `None` is no bound.
    pub max_rows: Option<u64>,
}

/// Executes governed plans.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Starts the query; rows come from the stream, and dropping it ends the query.
    ///
    /// # Errors
    /// With the code that says why it could not start.
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error>;
}
