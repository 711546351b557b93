//! The embedded engine: runs plans with DataFusion in this process.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use lakegate_core::error::Error;

use super::failure::failure;
use super::narrow::narrowed;
use super::pause::pausing;
use super::pool::{HELD_ANSWER, Share, Stop};
use super::statistics::Measured;
use super::stop::{compares_pairs, stopping};
use super::{BatchStream, Engine, Limits, scan};
use crate::govern::GovernedPlan;

/// The memory, in bytes, that suffices for a spilling sort to merge its runs.
const LEAST_FOR_MERGING: usize = 512 * 1024;

/// Runs plans in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

#[async_trait]
impl Engine for Embedded {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        let begun = Instant::now();
        let session = plan.session();
        // The size of a scan is estimated from the ordinary plan.
        let is_judged = limits.max_scan_bytes.is_some() || limits.max_scan_rows.is_some();
        let shortcut = if is_judged { None } else { plan.shortcut_plan().await.map_err(failure)? };
        let is_prepared = shortcut.is_some();
        let physical = match shortcut {
            Some(physical) => physical,
            None => {
                // The logical plan is already optimised, so each request creates only the physical plan.
                let plan = plan.plan().map_err(failure)?;
                session.query_planner().create_physical_plan(&plan, session.as_ref()).await.map_err(failure)?
            }
        };
        scan::check(&physical, session.runtime_env(), &limits)?;
        let stop = Stop::at(limits.deadline);
        let is_light = is_prepared && !plan.has_large_values() && !compares_pairs(&physical);
        let (physical, batch_rows) = pausing(physical, plan.has_large_values(), &stop).map_err(failure)?;
        let physical = narrowed(physical, batch_rows).map_err(failure)?;
        let physical = stopping(physical, &stop).map_err(failure)?;
        let context = within(bare_context(session, batch_rows), limits.memory_bytes, &stop);
        let memory = MemoryConsumer::new(HELD_ANSWER).register(context.memory_pool());
        let (batches, measured) = Measured::start(physical, Arc::new(context)).map_err(failure)?;
        let stream = BatchStream::new(batches, Arc::clone(plan.schema()), limits).with_memory(memory).stopped_by(stop);
        let stream = stream.light(is_light);
        Ok(stream.measured(measured).planned_in(begun.elapsed()))
    }
}

/// The task context of a query. It lists no functions, because only deserialising a plan needs the list.
fn bare_context(session: &SessionState, batch_rows: Option<usize>) -> TaskContext {
    let (id, mut config, runtime) = (String::new(), session.config().clone(), Arc::clone(session.runtime_env()));
    if let Some(rows) = batch_rows {
        config = config.with_batch_size(rows);
    }
    let (scalar, higher, aggregates, windows) = Default::default();
    TaskContext::new(None, id, config, scalar, higher, aggregates, windows, runtime)
}

/// Limits a task context to `bytes` of the shared memory, and stops its query when nobody waits for it.
fn within(context: TaskContext, bytes: Option<usize>, stop: &Stop) -> TaskContext {
    let all = context.runtime_env();
    let most = bytes.unwrap_or(usize::MAX);
    let share: Arc<dyn MemoryPool> = Arc::new(Share::new(most, Arc::clone(&all.memory_pool), stop.clone()));
    let runtime = RuntimeEnv { memory_pool: share, ..all.as_ref().clone() };
    let context = context.with_runtime(Arc::new(runtime));
    let Some(bytes) = bytes else { return context };
    // A sort reserves memory for merging even while it does not need it. This counts towards the query's share and the
    // memory of all queries, so keep it small.
    let least = (bytes / 8).min(LEAST_FOR_MERGING);
    let for_merging = (bytes / 32).max(least);
    let config = context.session_config();
    if config.options().execution.sort_spill_reservation_bytes <= for_merging {
        return context;
    }
    let config = config.clone().with_sort_spill_reservation_bytes(for_merging);
    context.with_session_config(config)
}
