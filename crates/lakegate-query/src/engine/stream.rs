//! The rows of a running query. Dropping the stream ends the query and frees what it holds.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use lakegate_core::error::Error;

use super::Limits;
use super::failure::{failure, timed_out, too_many_rows};
use super::statistics::{Measured, Meter};

/// Record batches, until the end, the first error or the deadline.
pub struct BatchStream {
    batches: SendableRecordBatchStream,
    schema: SchemaRef,
    limits: Limits,
    /// How many were given so far.
    rows: u64,
    /// How long its plan took to make.
    planned: Duration,
    /// After the batches, so that the query has ended when its numbers are told.
    measured: Measured,
    /// What must live as long as the query runs.
    held: Vec<Box<dyn Any + Send>>,
}

impl BatchStream {
    pub(crate) fn new(batches: SendableRecordBatchStream, schema: SchemaRef, limits: Limits) -> Self {
        let (planned, measured) = (Duration::ZERO, Measured::default());
        Self { batches, schema, limits, rows: 0, planned, measured, held: Vec::new() }
    }

    pub(super) fn measured(mut self, measured: Measured) -> Self {
        self.measured = measured;
        self
    }

    pub(super) fn planned_in(mut self, planned: Duration) -> Self {
        self.planned = planned;
        self
    }

    /// How long its plan took to make.
    pub fn planned(&self) -> Duration {
        self.planned
    }

    /// Tells a meter how the query goes from now on.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn Meter>) -> Self {
        self.measured.set_meter(meter);
        self
    }

    /// Keeps something until the query has ended.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send) -> Self {
        self.held.push(Box::new(held));
        self
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// When the answer must be complete.
    pub fn deadline(&self) -> Instant {
        self.limits.deadline
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The most rows of the answer.
    pub fn max_rows(&self) -> Option<u64> {
        self.limits.max_rows
    }

    /// The next batch with rows; `None` at the end. Who gives up waiting for it can ask again and loses no row.
    ///
    /// # Errors
    /// When the query fails, its time is over, or there are more rows than may be.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            let since = Instant::now();
            let next = tokio::time::timeout_at(self.limits.deadline.into(), self.batches.next()).await;
            self.measured.waited(since);
            match next.map_err(|_| timed_out())? {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    self.rows += batch.num_rows() as u64;
                    return match self.limits.max_rows.filter(|most| self.rows > *most) {
                        Some(most) => Err(too_many_rows(most)),
                        None => Ok(Some(batch)),
                    };
                }
                Some(Err(error)) => return Err(failure(error)),
                None => return Ok(None),
            }
        }
    }
}

impl std::fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}
