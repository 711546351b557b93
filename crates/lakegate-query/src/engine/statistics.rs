//! What a query has read and how long its rows took, for those who operate the server. Counts over rows of all callers, so
//! nothing of it is for a caller.
//!
//! The numbers are the operators' own, summed over the scans when the query has ended; nothing is counted twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use datafusion::execution::TaskContext;

/// What one query came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStatistics {
    /// Rows that scans gave, before any row filter. What was skipped by statistics is not among them.
    pub scanned_rows: u64,
    /// Bytes that scans read: of Parquet files as they are stored, of decoded copies as they are in memory.
    pub scanned_bytes: u64,
    /// Bytes that did not fit into memory and went to disk.
    pub spilled_bytes: u64,
    /// How long rows were waited for after the first.
    pub streamed: Duration,
}

impl QueryStatistics {
    /// Both together.
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

/// Who wants to know how a query goes.
pub trait Meter: Send + Sync {
    /// The first rows are there, or it is known that there are none or that it fails, after so long.
    fn first_rows(&self, waited: Duration);
    /// The query has ended: with its last row, with an error, or because nobody wants its rows any more.
    fn ended(&self, statistics: QueryStatistics);
}

/// What goes with a running query: its plan, and who wants to know. Tells them when it is dropped.
#[derive(Default)]
pub(super) struct Measured {
    plan: Option<Arc<dyn ExecutionPlan>>,
    meter: Option<Arc<dyn Meter>>,
    has_begun: bool,
    streamed: Duration,
}

impl Measured {
    /// Starts a plan and keeps it for its numbers.
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

    /// Rows were waited for since then.
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

/// Adds what the nodes of a plan have counted so far.
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
