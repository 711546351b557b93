//! Wraps the engine's file scans so that a fault stays with one file: a panic of a reader on a broken file becomes an
//! error, and read errors name the file.
//!
//! The wrapper changes neither which files the engine reads nor how.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};

use super::unread::FileOf;

/// A file source with its faults contained.
pub(super) struct Contained {
    source: Arc<dyn FileSource>,
    table: Arc<str>,
}

impl Contained {
    #[expect(clippy::new_ret_no_self, reason = "the engine takes sources behind their trait alone")]
    pub(super) fn new(source: Arc<dyn FileSource>, table: Arc<str>) -> Arc<dyn FileSource> {
        Arc::new(Self { source, table })
    }

    /// The wrapped source, or the source itself when it is not wrapped.
    pub(super) fn within(source: &Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        source.downcast_ref::<Self>().map_or_else(|| Arc::clone(source), |contained| Arc::clone(&contained.source))
    }

    fn again(&self, source: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Self::new(source, Arc::clone(&self.table))
    }
}

impl FileSource for Contained {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.source.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let files = self.source.create_morselizer(store, config, partition)?;
        Ok(Box::new(Files(files, Arc::clone(&self.table))))
    }

    fn table_schema(&self) -> &TableSchema {
        self.source.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.again(self.source.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.source.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.source.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.source.metrics()
    }

    fn file_type(&self) -> &str {
        self.source.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt_extra(format, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.source.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        least_size: usize,
        ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        self.source.repartitioned(target_partitions, least_size, ordering, config)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut pushed = self.source.try_pushdown_filters(filters, config)?;
        pushed.updated_node = pushed.updated_node.map(|source| self.again(source));
        Ok(pushed)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.source.try_pushdown_sort(order, properties)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact { inner: self.again(inner) },
            SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact { inner: self.again(inner) },
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.source.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.source.try_pushdown_projection(projection)?.map(|source| self.again(source)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.source.apply_expressions(f)
    }
}

/// Runs one step of a reader. Errors and panics become errors that name the file.
fn contained<T>(file: &FileOf, step: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(done) => done.map_err(|error| file.error(error)),
        Err(_) => Err(file.panicked()),
    }
}

/// Plans the files of a scan, one at a time.
#[derive(Debug)]
struct Files(Box<dyn Morselizer>, Arc<str>);

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let of = FileOf { table: Arc::clone(&self.1), object: Arc::new(file.object_meta.clone()) };
        let planner = contained(&of, || self.0.plan_file(file))?;
        Ok(Box::new(FilePlanner { planner, file: of }))
    }
}

/// Plans one file.
#[derive(Debug)]
struct FilePlanner {
    planner: Box<dyn MorselPlanner>,
    file: FileOf,
}

impl MorselPlanner for FilePlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { planner, file } = *self;
        let Some(mut plan) = contained(&file, || planner.plan())? else { return Ok(None) };
        let of_file = |planner| Box::new(FilePlanner { planner, file: file.clone() }) as Box<dyn MorselPlanner>;
        let of_part = |morsel| Box::new(FileMorsel { morsel, file: file.clone() }) as Box<dyn Morsel>;
        let morsels = plan.take_morsels().into_iter().map(of_part);
        let planners = plan.take_ready_planners().into_iter().map(of_file);
        let mut of_plan = MorselPlan::new().with_morsels(morsels.collect()).with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            let file = file.clone();
            of_plan.set_pending_planner(async move {
                match AssertUnwindSafe(pending).catch_unwind().await {
                    Ok(Ok(planner)) => Ok(Box::new(FilePlanner { planner, file }) as Box<dyn MorselPlanner>),
                    Ok(Err(error)) => Err(file.error(error)),
                    Err(_) => Err(file.panicked()),
                }
            });
        }
        Ok(Some(of_plan))
    }
}

/// A morsel (part) of one file.
#[derive(Debug)]
struct FileMorsel {
    morsel: Box<dyn Morsel>,
    file: FileOf,
}

impl Morsel for FileMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { morsel, file } = *self;
        match catch_unwind(AssertUnwindSafe(|| morsel.into_stream())) {
            Ok(batches) => Batches { batches: Some(batches), file }.boxed(),
            Err(_) => futures::stream::once(async move { Err(file.panicked()) }).boxed(),
        }
    }
}

/// The record batches of one morsel.
struct Batches {
    /// `None` after a panic: a stream that panicked is not polled again.
    batches: Option<BoxStream<'static, Result<RecordBatch>>>,
    file: FileOf,
}

impl Stream for Batches {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { batches, file } = &mut *self;
        let Some(reading) = batches else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| reading.poll_next_unpin(context))) {
            Ok(polled) => polled.map(|batch| batch.map(|batch| batch.map_err(|error| file.error(error)))),
            Err(_) => {
                *batches = None;
                Poll::Ready(Some(Err(file.panicked())))
            }
        }
    }
}
