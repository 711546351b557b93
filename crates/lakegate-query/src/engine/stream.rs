//! The rows of a running query. Dropping the stream ends the query and frees what it holds.
//!
//! The query runs in a task of its own, a batch or two ahead of who reads. So its time limit holds and its caller is
//! answered even while it computes; it ends at the next moment at which it yields, and keeps its place until then. When it
//! has no more rows its place is free, however slowly they are read.

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
    /// How many came so far.
    rows: u64,
    /// How long its plan took to make.
    planned: Duration,
    /// After the source, so that the query has ended when its numbers are told.
    measured: Measured,
    /// Batches that came before it was known whether there are too many rows.
    ahead: VecDeque<RecordBatch>,
    is_truncated: bool,
    /// Memory for these batches, and for what is held of the answer.
    memory: Option<(MemoryReservation, MemoryReservation)>,
    /// Set when no more rows are wanted.
    stop: Stop,
    is_light: bool,
}

/// Stops a query when it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What must live as long as the query runs.
type Held = Vec<Box<dyn Any + Send>>;

enum Source {
    /// Nobody has read yet.
    Waiting(SendableRecordBatchStream, Held),
    /// The last that comes is `None`: a channel that ends without it is one whose task did not come to its end.
    /// The task is among what is held: it ends when it is dropped.
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

    /// Whether the query gives its turn away every few milliseconds, so that it may run where connections are served.
    pub(super) fn light(self, is_light: bool) -> Self {
        Self { is_light, ..self }
    }

    /// What ends the query when nobody wants its rows any more.
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

    /// What is held of the answer takes its memory from here.
    pub(crate) fn with_memory(self, memory: MemoryReservation) -> Self {
        Self { memory: Some((memory.new_empty(), memory)), ..self }
    }

    /// Keeps something until the query has ended.
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

    /// When the answer must be complete.
    pub fn deadline(&self) -> Instant {
        self.limits.deadline
    }

    /// The most rows of the answer.
    pub fn max_rows(&self) -> Option<u64> {
        self.limits.max_rows
    }

    /// The most bytes of the answer, as it is before compression.
    pub fn max_result_bytes(&self) -> Option<u64> {
        self.limits.max_result_bytes
    }

    /// Whether rows were left out because there are more than may be. Known of a stream that is [settled](Self::settled).
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// The same stream, where it is to end after so many rows: read until it is known whether there are more, so that the
    /// head of the answer can say it. The rows are held in the query's share of memory. Other streams stay as they are;
    /// one that was to be settled and is not, fails on the first row too many.
    ///
    /// # Errors
    /// When the query fails, its time is over, or its share is too small for the rows.
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

    /// Ends the query: no more rows are wanted, and what it holds is free. Rows that are kept stay.
    pub(super) fn end(&mut self) {
        self.source = Source::Ended;
    }

    /// Takes memory of the query's share for so many bytes that are held of the answer, or says that there is none.
    #[must_use]
    pub fn holds(&self, bytes: usize) -> bool {
        self.memory.as_ref().is_none_or(|(_, memory)| memory.try_resize(bytes).is_ok())
    }

    /// The next batch with rows; `None` at the end. Who gives up waiting for it can ask again and loses no row.
    ///
    /// # Errors
    /// When the query fails, its time is over, or there are more rows than may be.
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

    /// The next batch with rows that the query makes.
    pub(super) async fn pull(&mut self) -> Result<Option<RecordBatch>, Error> {
        let pulled = self.pull_from_source().await;
        if !matches!(pulled, Ok(Some(_))) {
            // What it holds is free now, and not when somebody drops the stream.
            self.source = Source::Ended;
        }
        pulled
    }

    async fn pull_from_source(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.begin();
        loop {
            let Source::Running(batches, ..) = &mut self.source else { return Ok(None) };
            // A query that always has a batch ready would never let a timer have its say.
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
                // Given back after the query, whichever way it ends.
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
                // Nobody has to wait for who reads slowly.
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
