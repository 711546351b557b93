//! Query engines, which execute governed plans. An engine accepts nothing but a [`GovernedPlan`].

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
use lakegate_core::limits::{EffectiveLimits, Limit, LimitSource, QueueLoad};
use lakegate_core::project::OnMaxRows;

pub use embedded::Embedded;
pub use failure::met_another_file;
pub(crate) use failure::{failure, too_many_bytes};
pub use limited::{Limited, Waiting};
pub use runtime::{Resources, runtime, spills};
pub use statistics::{Meter, QueryStatistics};
pub use stream::BatchStream;

use crate::govern::GovernedPlan;

/// The stack size, in bytes, of threads that plan and run queries. It limits the nesting depth of SQL.
pub const WORKER_STACK_BYTES: usize = 8 << 20;

/// The limits of one query. `None` is no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The time by which the response must be complete; waiting in the queue counts.
    pub deadline: Instant,
    /// The maximum number of rows in the response.
    pub max_rows: Option<u64>,
    /// Whether a response with more rows is refused or truncated.
    pub on_max_rows: OnMaxRows,
    /// The maximum size of the response before compression, in bytes. The encoder enforces it.
    pub max_result_bytes: Option<u64>,
    /// The query's share of the memory, in bytes.
    pub memory_bytes: Option<usize>,
    /// The maximum number of bytes to scan.
    pub max_scan_bytes: Option<u64>,
    /// The maximum number of rows to scan.
    pub max_scan_rows: Option<u64>,
    /// The query's position in the fair queue.
    pub turn: Turn,
}

/// The principal and the endpoint that a query counts for in the fair queue, with their limits.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The principal.
    pub principal: Arc<str>,
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// The maximum number of concurrent queries of the principal.
    pub most_of_principal: usize,
    /// The maximum number of these on this endpoint.
    pub most_of_endpoint: usize,
}

impl Limits {
    /// No limit but a deadline.
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

    /// The limits in force for a call that arrived at `came`.
    pub fn of_call(limits: &EffectiveLimits, came: Instant, principal: &str, endpoint: &str) -> Self {
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
                most_of_principal: count(limits.source_limits(LimitSource::Server).get(Limit::MaxConcurrent)),
                most_of_endpoint: count(limits.value_without_server(Limit::MaxConcurrent)),
            },
        }
    }
}

/// Executes governed plans.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Starts a query. The stream returns its rows; dropping the stream cancels the query.
    ///
    /// # Errors
    /// If the query could not start; the code states the reason.
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error>;

    /// The numbers of running and waiting queries; 0 for an engine that does not count them.
    fn load(&self) -> QueueLoad {
        QueueLoad::default()
    }
}
