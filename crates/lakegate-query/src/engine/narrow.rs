//! Limits the batch size of a whole plan if the rows of a table, or values in the query, are large.
//!
//! Filters, joins, sorts and exchanges combine rows up to the session's batch size. With large rows, such a batch would
//! take gigabytes that no memory pool accounts for.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

/// The batch size of a file scan; `None` if it is the default, and for other operators.
pub(super) fn rows_of_scan(node: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let source = node.downcast_ref::<DataSourceExec>()?;
    source.data_source().downcast_ref::<FileScanConfig>()?.batch_size
}

/// Limits the batch size of the filters in a plan to `rows`; `None` leaves the plan unchanged.
pub(super) fn narrowed(plan: Arc<dyn ExecutionPlan>, rows: Option<usize>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(rows) = rows else { return Ok(plan) };
    let plan = plan.transform_up(|node| match node.downcast_ref::<FilterExec>() {
        Some(filter) if filter.batch_size() > rows => {
            Ok(Transformed::yes(Arc::new(filter.with_batch_size(rows)?) as Arc<dyn ExecutionPlan>))
        }
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(plan.data)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_expr::expressions::{IsNotNullExpr, col, lit};
    use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
    use futures::StreamExt;

    use super::super::pause::pausing;
    use super::super::pool::Stop;
    use super::*;

    /// A filter combines pieces of batches: 8192 rows of a megabyte each would be eight gigabytes.
    #[tokio::test]
    async fn a_filter_over_large_values_makes_batches_of_few_rows() {
        let rows = RecordBatch::try_from_iter([("i", Arc::new(Int64Array::from_iter_values(0..100)) as _)]).unwrap();
        let input = MemorySourceConfig::try_new_exec(&[vec![rows.clone()]], rows.schema(), None).unwrap();
        let value = ProjectionExpr { expr: lit("x".repeat(1 << 20)), alias: "v".to_owned() };
        let number = ProjectionExpr { expr: col("i", &rows.schema()).unwrap(), alias: "i".to_owned() };
        let projection = Arc::new(ProjectionExec::try_new([value, number], input).unwrap());
        let is_there = Arc::new(IsNotNullExpr::new(col("i", &projection.schema()).unwrap()));
        let plan = Arc::new(FilterExec::try_new(is_there, projection).unwrap());
        let (plan, rows) = pausing(plan, false, &Stop::default()).unwrap();
        assert_eq!(rows, Some(7));
        let plan = narrowed(plan, rows).unwrap();
        let mut batches = plan.execute(0, Arc::default()).unwrap();
        let mut all = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch.unwrap();
            assert!(batch.num_rows() <= 7, "{}", batch.num_rows());
            all += batch.num_rows();
        }
        assert_eq!(all, 100);
    }
}
