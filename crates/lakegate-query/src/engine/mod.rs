//! Engines: what executes a governed plan. An engine takes a [`GovernedPlan`] and nothing else.

mod embedded;
mod expand;
mod failure;
mod lenient;
mod limited;
#[cfg(test)]
mod limits_tests;
mod narrow;
pub(crate) mod pause;
mod pool;
mod runtime;
mod scan;
mod spill;
mod statistics;
mod stop;
mod stream;
mod threads;
mod whole;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use lakegate_core::error::Error;
use lakegate_core::limits::{InForce, Limit, Load, Origin};
use lakegate_core::project::OnMaxRows;

pub use embedded::Embedded;
pub use failure::met_another_file;
pub(crate) use failure::{failure, too_many_bytes};
pub use limited::{Limited, Waiting};
pub use runtime::{Resources, runtime, spills};
pub use statistics::{Meter, QueryStatistics};
pub use stream::BatchStream;

use crate::govern::GovernedPlan;

/// The stack, in bytes, of the threads that plan and run queries. How deep SQL may nest goes by it.
pub const WORKER_STACK_BYTES: usize = 8 << 20;

/// What one query may take. `None` is no bound.
#[derive(Clone, Debug)]
pub struct Limits {
    /// When the answer must be complete; the time in which it waits counts.
    pub deadline: Instant,
    /// The most rows of the answer.
    pub max_rows: Option<u64>,
    /// What happens to an answer with more.
    pub on_max_rows: OnMaxRows,
    /// The most bytes of the answer, as it is before compression. Who encodes it keeps to it.
    pub max_result_bytes: Option<u64>,
    /// Its share of the memory.
    pub memory_bytes: Option<usize>,
    /// The most bytes to be read.
    pub max_scan_bytes: Option<u64>,
    /// The most rows to be read.
    pub max_scan_rows: Option<u64>,
    /// Whose turn it takes.
    pub turn: Turn,
}

/// Whose turn a query takes when more want to run than may.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The principal.
    pub principal: Arc<str>,
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// How many queries of the principal may run at once.
    pub most_of_principal: usize,
    /// How many of them may be of this endpoint.
    pub most_of_endpoint: usize,
}

impl Limits {
    /// A time limit alone.
    pub fn until(deadline: Instant) -> Self {
        let nobody: Arc<str> = Arc::from("");
        Self {
            deadline,
            max_rows: None,
            on_max_rows: OnMaxRows::Refuse,
            max_result_bytes: None,
            memory_bytes: None,
            max_scan_bytes: None,
            max_scan_rows: None,
            turn: Turn {
                principal: Arc::clone(&nobody),
                endpoint: nobody,
                most_of_principal: usize::MAX,
                most_of_endpoint: usize::MAX,
            },
        }
    }

    /// What is in force for a call that came in at a moment.
    pub fn of_call(limits: &InForce, came: Instant, principal: &str, endpoint: &str) -> Self {
        let count = |bound: Option<u64>| bound.map_or(usize::MAX, |bound| usize::try_from(bound).unwrap_or(usize::MAX));
        let timeout =
            std::time::Duration::from_secs(limits.value(Limit::TimeoutSeconds).unwrap_or(u64::from(u32::MAX)));
        Self {
            deadline: came + timeout,
            max_rows: limits.value(Limit::MaxRows),
            on_max_rows: limits.on_max_rows(),
            max_result_bytes: limits.bytes(Limit::MaxResultMb),
            memory_bytes: limits.bytes(Limit::MemoryMb).map(|bytes| count(Some(bytes))),
            max_scan_bytes: limits.bytes(Limit::MaxScanMb),
            max_scan_rows: limits.value(Limit::MaxScanRows),
            turn: Turn {
                principal: principal.into(),
                endpoint: endpoint.into(),
                most_of_principal: count(limits.of(Origin::Server).get(Limit::MaxConcurrent)),
                most_of_endpoint: count(limits.of_endpoint(Limit::MaxConcurrent)),
            },
        }
    }
}

/// Executes governed plans.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Starts the query; rows come from the stream, and dropping it ends the query.
    ///
    /// # Errors
    /// With the code that says why it could not start.
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error>;

    /// How many queries run and wait; nothing for an engine that does not count them.
    fn load(&self) -> Load {
        Load::default()
    }
}
