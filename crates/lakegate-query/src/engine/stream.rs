//! The stream of rows of a running query. Dropping it cancels the query and frees its resources.
//!
//! The query runs in its own task, a batch or two ahead of the reader. So its time limit holds and its caller gets a
//! response even while it computes. A cancelled query ends when it next yields, and occupies its place until then.
//! After its last batch, the place is free, however slowly the reader is.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use lakegate_core::error::Error;
use lakegate_core::project::OnMaxRows;
use tokio::sync::mpsc;

use super::Limits;
use super::failure::{failure, panicked, timed_out, too_many_rows};
use super::pool::Stop;
use super::statistics::{Measured, Meter};
use super::threads;

/// Record batches, until the end, the first error or the deadline.
pub struct BatchStream {
    source: Source,
    schema: SchemaRef,
    limits: Limits,
    /// The number of rows so far.
    rows: u64,
    /// The time it took to plan the query.
    planned: Duration,
    /// Declared after `source`, so that it is dropped later and reports its statistics after the query has ended.
    measured: Measured,
    /// Batches that were read to find out whether there are too many rows.
    ahead: VecDeque<RecordBatch>,
    is_truncated: bool,
    /// Memory for these batches, and for the part of the response that is held in memory.
    memory: Option<(MemoryReservation, MemoryReservation)>,
    /// Set when no more rows are needed.
    stop: Stop,
    is_light: bool,
}

/// Cancels a query on drop.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Values that must live for as long as the query runs.
type Held = Vec<Box<dyn Any + Send>>;

enum Source {
    /// Not started, because nothing was read yet.
    Waiting(SendableRecordBatchStream, Held),
    /// The last message is `None`; if the channel closes without it, the task did not finish. The held values include
    /// the task, so dropping them cancels it.
    Running(mpsc::Receiver<Option<Result<RecordBatch, DataFusionError>>>, Held),
    Ended,
}

impl BatchStream {
    pub(crate) fn new(batches: SendableRecordBatchStream, schema: SchemaRef, limits: Limits) -> Self {
        let source = Source::Waiting(batches, Vec::new());
        let (planned, measured) = (Duration::ZERO, Measured::default());
        let (ahead, is_truncated, memory, stop) = (VecDeque::new(), false, None, Stop::default());
        let is_light = false;
        Self { source, schema, limits, rows: 0, planned, measured, ahead, is_truncated, memory, stop, is_light }
    }

    /// Whether the query yields every few milliseconds, so that it may run on the threads that serve connections.
    pub(super) fn light(self, is_light: bool) -> Self {
        Self { is_light, ..self }
    }

    /// Sets the signal that cancels the query when its rows are no longer needed.
    pub(super) fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    pub(super) fn measured(mut self, measured: Measured) -> Self {
        self.measured = measured;
        self
    }

    pub(super) fn planned_in(mut self, planned: Duration) -> Self {
        self.planned = planned;
        self
    }

    /// The time it took to plan the query.
    pub fn planned(&self) -> Duration {
        self.planned
    }

    /// Reports the progress of the query to a meter from now on.
    #[must_use]
    pub fn metered(mut self, meter: Arc<dyn Meter>) -> Self {
        self.measured.set_meter(meter);
        self
    }

    /// Sets the memory reservation for the part of the response that is held in memory.
    pub(crate) fn with_memory(self, memory: MemoryReservation) -> Self {
        Self { memory: Some((memory.new_empty(), memory)), ..self }
    }

    /// Keeps a value until the query has ended.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send) -> Self {
        if let Source::Waiting(_, all) | Source::Running(_, all) = &mut self.source {
            all.push(Box::new(held));
        }
        self
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The time by which the response must be complete.
    pub fn deadline(&self) -> Instant {
        self.limits.deadline
    }

    /// The maximum number of rows in the response.
    pub fn max_rows(&self) -> Option<u64> {
        self.limits.max_rows
    }

    /// The maximum size of the response before compression, in bytes.
    pub fn max_result_bytes(&self) -> Option<u64> {
        self.limits.max_result_bytes
    }

    /// Whether rows were cut off because there are too many. Valid after [`settled`](Self::settled).
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// If the stream is to be truncated at a number of rows, reads ahead until it is known whether there are more, so
    /// that the response headers can report it. The rows are held in the query's share of memory. Other streams are
    /// returned unchanged. A stream to be truncated that was not settled fails at the first excess row.
    ///
    /// # Errors
    /// If the query fails, its time is over, or its share is too small for the rows.
    pub async fn settled(mut self) -> Result<Self, Error> {
        let (Some(most), OnMaxRows::Truncate) = (self.limits.max_rows, self.limits.on_max_rows) else {
            return Ok(self);
        };
        while let Some(batch) = self.pull().await? {
            let left = usize::try_from(most - self.rows).unwrap_or(usize::MAX);
            if batch.num_rows() > left {
                self.is_truncated = true;
                self.source = Source::Ended;
                if left > 0 {
                    self.keep(batch.slice(0, left))?;
                }
                break;
            }
            self.keep(batch)?;
        }
        Ok(self)
    }

    pub(super) fn keep(&mut self, batch: RecordBatch) -> Result<(), Error> {
        if let Some((memory, _)) = &self.memory {
            memory.try_grow(batch.get_array_memory_size()).map_err(failure)?;
        }
        self.rows += batch.num_rows() as u64;
        self.ahead.push_back(batch);
        Ok(())
    }

    /// Ends the query and frees its resources, because no more rows are needed. Batches read ahead stay.
    pub(super) fn end(&mut self) {
        self.source = Source::Ended;
    }

    /// Reserves `bytes` of the query's share for the part of the response that is held. Returns false on failure.
    #[must_use]
    pub fn holds(&self, bytes: usize) -> bool {
        self.memory.as_ref().is_none_or(|(_, memory)| memory.try_resize(bytes).is_ok())
    }

    /// The next batch with rows; `None` at the end. Cancel safe: a caller that stops waiting loses no row.
    ///
    /// # Errors
    /// If the query fails, its time is over, or there are too many rows.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        if let Some(batch) = self.ahead.pop_front() {
            if Instant::now() >= self.limits.deadline {
                return Err(timed_out());
            }
            if let Some((memory, _)) = &self.memory {
                memory.shrink(batch.get_array_memory_size().min(memory.size()));
            }
            return Ok(Some(batch));
        }
        let Some(batch) = self.pull().await? else { return Ok(None) };
        self.rows += batch.num_rows() as u64;
        match self.limits.max_rows.filter(|most| self.rows > *most) {
            Some(most) => {
                self.source = Source::Ended;
                Err(too_many_rows(most))
            }
            None => Ok(Some(batch)),
        }
    }

    /// The next batch with rows from the query itself.
    pub(super) async fn pull(&mut self) -> Result<Option<RecordBatch>, Error> {
        let pulled = self.pull_from_source().await;
        if !matches!(pulled, Ok(Some(_))) {
            // Frees the query's resources now, not when the stream is dropped.
            self.source = Source::Ended;
        }
        pulled
    }

    async fn pull_from_source(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.begin();
        loop {
            let Source::Running(batches, ..) = &mut self.source else { return Ok(None) };
            // If a batch is always ready, the timer below never fires.
            if Instant::now() >= self.limits.deadline {
                return Err(timed_out());
            }
            let since = Instant::now();
            let next = tokio::time::timeout_at(self.limits.deadline.into(), batches.recv()).await;
            self.measured.waited(since);
            match next.map_err(|_| timed_out())? {
                Some(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Some(Some(Ok(batch))) => return Ok(Some(batch)),
                Some(Some(Err(error))) => return Err(failure(error)),
                Some(None) => return Ok(None),
                None => return Err(panicked()),
            }
        }
    }

    fn begin(&mut self) {
        if !matches!(self.source, Source::Waiting(..)) {
            return;
        }
        if let Source::Waiting(batches, held) = std::mem::replace(&mut self.source, Source::Ended) {
            let (sender, receiver) = mpsc::channel(1);
            let task = threads::spawn(self.is_light, async move {
                // Dropped after the query, however the query ends.
                let held = held;
                let mut batches = batches;
                while let Some(batch) = batches.next().await {
                    let is_last = batch.is_err();
                    if sender.send(Some(batch)).await.is_err() || is_last {
                        return;
                    }
                }
                drop(batches);
                drop(held);
                // The place is free, even if the reader is slow to take the end.
                let _ = sender.send(None).await;
            });
            self.source = Source::Running(receiver, vec![Box::new(StopOnDrop(self.stop.clone())), Box::new(task)]);
        }
    }
}

impl std::fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}
