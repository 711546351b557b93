//! An engine that runs so many queries at once, lets so many wait, and refuses the rest.

use std::sync::Arc;

use async_trait::async_trait;
use lakegate_core::error::{Code, Error};
use tokio::sync::Semaphore;

use super::failure::timed_out;
use super::{BatchStream, Engine, Limits};
use crate::govern::GovernedPlan;

/// Wraps an engine with a bound on queries.
#[derive(Debug)]
pub struct Limited<E> {
    engine: E,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl<E> Limited<E> {
    /// How many may wait for each one that may run.
    const WAITING_FOR_EACH: usize = 16;

    /// At most `queries` at once.
    pub fn new(engine: E, queries: usize) -> Self {
        let waiting = Arc::new(Semaphore::new(queries * Self::WAITING_FOR_EACH));
        Self { engine, running: Arc::new(Semaphore::new(queries)), waiting }
    }
}

#[async_trait]
impl<E: Engine> Engine for Limited<E> {
    async fn run(&self, plan: GovernedPlan, limits: Limits) -> Result<BatchStream, Error> {
        let overloaded =
            || Error::new(Code::EngineOverloaded, "too many queries run and wait").hint("try again in a moment");
        let running = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(running) => running,
            Err(_) => {
                let _place = self.waiting.try_acquire().map_err(|_| overloaded())?;
                let acquired =
                    tokio::time::timeout_at(limits.deadline.into(), Arc::clone(&self.running).acquire_owned());
                // The semaphore is never closed.
                acquired.await.map_err(|_| timed_out())?.map_err(|_| overloaded())?
            }
        };
        Ok(self.engine.run(plan, limits).await?.holding(running))
    }
}
