//! The embedded engine: DataFusion in this process.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use lakegate_core::error::Error;

use super::failure::failure;
use super::statistics::Measured;
use super::{BatchStream, Engine, Limits};
use crate::govern::GovernedPlan;

/// Runs plans in this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

/// What all queries of a process share: memory (in bytes), spill files, footers of the lake's files.
///
/// # Errors
/// When there is no place for spill files.
pub fn runtime(memory_limit_bytes: usize) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let pool = Arc::new(FairSpillPool::new(memory_limit_bytes));
    Ok(Arc::new(RuntimeEnvBuilder::new().with_memory_pool(pool).build()?))
}

#[async_trait]
impl Engine for Embedded {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        let begun = Instant::now();
        let session = plan.session();
        // The plan is optimised already; only the physical one is made for each request.
        let physical =
            session.query_planner().create_physical_plan(plan.plan(), session.as_ref()).await.map_err(failure)?;
        let context = Arc::new(TaskContext::from(session.as_ref()));
        let (batches, measured) = Measured::start(physical, context).map_err(failure)?;
        let stream = BatchStream::new(batches, Arc::clone(plan.schema()), limits);
        Ok(stream.measured(measured).planned_in(begun.elapsed()))
    }
}
