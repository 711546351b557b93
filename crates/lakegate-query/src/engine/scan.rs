//! Estimates what a query would scan: the rows and bytes that remain after pruning, in the columns it needs.
//!
//! The estimate comes from the physical plan, decoded columns and cached footers; it opens no file. For a governed
//! table, it includes rows that the caller cannot see, because the engine would read them. So a refusal reports no
//! number if a governed table is involved, and the documentation states what the limit itself reveals.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccessPlanFilter};
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetFileMetrics};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use lakegate_core::error::{Code, Error};

use super::Limits;
use super::failure::failure;
use crate::govern::is_barrier;
use crate::lake::file_view;

/// The rows and bytes that a query would scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Refuses a query that would scan more than its limits.
///
/// # Errors
/// [`Code::ScanTooLarge`], with the estimate if the caller may see all rows in it.
pub(crate) fn check(plan: &Arc<dyn ExecutionPlan>, runtime: &RuntimeEnv, limits: &Limits) -> Result<(), Error> {
    if limits.max_scan_bytes.is_none() && limits.max_scan_rows.is_none() {
        return Ok(());
    }
    let (size, is_governed) = estimate(plan, runtime).map_err(failure)?;
    let over = [
        ("rows", size.rows, limits.max_scan_rows, 1),
        ("MB", size.bytes.div_ceil(1 << 20), limits.max_scan_bytes, 1 << 20),
    ];
    let over = over.into_iter().find_map(|(unit, estimate, budget, of_unit)| {
        let budget = budget? / of_unit;
        (estimate > budget).then_some((unit, estimate, budget))
    });
    let Some((unit, estimate, budget)) = over else { return Ok(()) };
    let told = match is_governed {
        true => format!("the query would read more than {budget} {unit}, which is the most that is allowed"),
        false => {
            format!("the query would read about {estimate} {unit}, and {budget} {unit} are the most that is allowed")
        }
    };
    Err(Error::new(Code::ScanTooLarge, told)
        .hint("ask for less, for example for a shorter range")
        .source(format!("an estimate of {} rows and {} bytes", size.rows, size.bytes)))
}

/// Estimates what a plan would scan. Also returns whether it reads a governed table.
pub(crate) fn estimate(
    plan: &Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> datafusion::common::Result<(Size, bool)> {
    let (mut size, mut is_governed) = (Size::default(), false);
    plan.apply(|node| {
        is_governed |= is_barrier(node.as_ref());
        let scan = node.downcast_ref::<DataSourceExec>();
        if let Some(files) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>()) {
            size.add(of_files(files, runtime));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((size, is_governed))
}

fn of_files(scan: &FileScanConfig, runtime: &RuntimeEnv) -> Size {
    let source = scan.file_source();
    let columns = source.projection().map(|projection| projection.column_indices());
    let filter = source.filter();
    let mut size = Size::default();
    for file in scan.file_groups.iter().flat_map(|group| group.iter()) {
        size.add(of_file(scan, file, columns.as_deref(), filter.as_ref(), runtime));
    }
    size
}

/// The row groups that remain after pruning if the footer is cached, else the whole file.
fn of_file(
    scan: &FileScanConfig,
    file: &PartitionedFile,
    columns: Option<&[usize]>,
    filter: Option<&Arc<dyn PhysicalExpr>>,
    runtime: &RuntimeEnv,
) -> Size {
    let whole = || {
        let statistics = file.statistics.as_ref().map(|statistics| statistics.num_rows);
        let rows = match statistics {
            Some(Precision::Exact(rows) | Precision::Inexact(rows)) => rows as u64,
            _ => 0,
        };
        Size { rows, bytes: file.object_meta.size }
    };
    let cached = runtime.cache_manager.get_file_metadata_cache().get(&file.object_meta.location);
    let cached = cached.filter(|cached| {
        cached.meta.size == file.object_meta.size && cached.meta.last_modified == file.object_meta.last_modified
    });
    let Some(cached) = cached else { return whole() };
    let Some(footer) = cached.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>() else { return whole() };
    let footer = footer.parquet_metadata();
    let schema = scan.file_source().table_schema().file_schema();
    let Ok(view) = file_view(scan, file) else { return whole() };
    let kept = filter.and_then(|filter| {
        let filter = view.rewrite(filter).ok()?;
        let pruning =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&view.schema)).try_build(filter).ok()?;
        Some(kept_row_groups(&pruning, &view.schema, footer))
    });
    let kept = kept.unwrap_or_else(|| (0..footer.num_row_groups()).collect());
    let Ok(names) = columns.map(|columns| view.names(schema, columns)).transpose() else { return whole() };
    let is_read = |name: &String| names.as_ref().is_none_or(|names| names.contains(name));
    let mut size = Size::default();
    for group in kept.into_iter().map(|at| footer.row_group(at)) {
        let read = group.columns().iter().filter(|column| {
            let parts = column.column_descr().path().parts();
            parts.first().is_some_and(&is_read)
        });
        size.add(Size {
            rows: u64::try_from(group.num_rows()).unwrap_or_default(),
            bytes: read.map(|column| u64::try_from(column.compressed_size()).unwrap_or_default()).sum(),
        });
    }
    size
}

fn kept_row_groups(
    pruning: &PruningPredicate,
    schema: &datafusion::arrow::datatypes::SchemaRef,
    footer: &ParquetMetaData,
) -> Vec<usize> {
    let mut kept = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(footer.num_row_groups()));
    // The function requires metrics, but nothing reads these.
    let metrics = ParquetFileMetrics::new(0, "", &ExecutionPlanMetricsSet::new());
    let parquet_schema = footer.file_metadata().schema_descr();
    kept.prune_by_statistics(schema, parquet_schema, footer.row_groups(), pruning, &metrics);
    kept.row_group_indexes().collect()
}
