//! Statistics of each query for operators of the server: what it scanned, and how long its rows took. They count the
//! rows of all callers, so callers must not see them.
//!
//! The numbers are DataFusion's operator metrics, summed over the scans when the query ends, so each is counted once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use datafusion::execution::TaskContext;

/// The statistics of one query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStatistics {
    /// Rows that scans returned, before any row filter. Rows that were skipped by statistics do not count.
    pub scanned_rows: u64,
    /// Bytes that scans read: for Parquet files the size in the file, for decoded columns the size in memory.
    pub scanned_bytes: u64,
    /// Bytes that were spilled to disk.
    pub spilled_bytes: u64,
    /// The time spent waiting for rows after the first batch.
    pub streamed: Duration,
}

impl QueryStatistics {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            scanned_rows: self.scanned_rows + other.scanned_rows,
            scanned_bytes: self.scanned_bytes + other.scanned_bytes,
            spilled_bytes: self.spilled_bytes + other.spilled_bytes,
            streamed: self.streamed + other.streamed,
        }
    }
}

/// Receives the progress of a query.
pub trait Meter: Send + Sync {
    /// The first batch has arrived after `waited`, or the query has ended or failed without one.
    fn first_rows(&self, waited: Duration);
    /// The query has ended: after its last row, with an error, or because its stream was dropped.
    fn ended(&self, statistics: QueryStatistics);
}

/// The plan and the meter of a running query. Reports the statistics on drop.
#[derive(Default)]
pub(super) struct Measured {
    plan: Option<Arc<dyn ExecutionPlan>>,
    meter: Option<Arc<dyn Meter>>,
    has_begun: bool,
    streamed: Duration,
}

impl Measured {
    /// Starts a plan and keeps it for its metrics.
    pub(super) fn start(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<(SendableRecordBatchStream, Self)> {
        let rows = execute_stream(Arc::clone(&plan), context)?;
        Ok((rows, Self { plan: Some(plan), meter: None, has_begun: false, streamed: Duration::ZERO }))
    }

    pub(super) fn set_meter(&mut self, meter: Arc<dyn Meter>) {
        self.meter = Some(meter);
    }

    /// Records the time spent waiting for a batch.
    pub(super) fn waited(&mut self, since: Instant) {
        let waited = since.elapsed();
        if self.has_begun {
            self.streamed += waited;
            return;
        }
        self.has_begun = true;
        if let Some(meter) = &self.meter {
            meter.first_rows(waited);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let Some(meter) = self.meter.take() else { return };
        let mut statistics = QueryStatistics { streamed: self.streamed, ..QueryStatistics::default() };
        if let Some(plan) = &self.plan {
            add(plan.as_ref(), &mut statistics);
        }
        meter.ended(statistics);
    }
}

/// Adds the current metrics of all operators of a plan.
fn add(plan: &dyn ExecutionPlan, statistics: &mut QueryStatistics) {
    let children = plan.children();
    if let Some(metrics) = plan.metrics() {
        statistics.spilled_bytes += metrics.spilled_bytes().unwrap_or(0) as u64;
        if children.is_empty() {
            let named = |name: &str| metrics.sum_by_name(name).map_or(0, |sum| sum.as_usize() as u64);
            statistics.scanned_rows += output_rows(&metrics) + named("pushdown_rows_pruned");
            statistics.scanned_bytes += named("bytes_scanned");
        }
    }
    for child in children {
        add(child.as_ref(), statistics);
    }
}

fn output_rows(metrics: &MetricsSet) -> u64 {
    metrics.output_rows().unwrap_or(0) as u64
}
