//! Plans whose batches have few rows, because rows of a table are long or values of the query are large: all operators make
//! such batches.
//!
//! Filters, joins, sorts and exchanges put rows together until there are as many as the session says; of long rows those would
//! be gigabytes that no pool knows of.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

/// How many rows a batch of a scan has; `None` where it is the usual number, and for other operators.
pub(super) fn rows_of_scan(node: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let source = node.downcast_ref::<DataSourceExec>()?;
    source.data_source().downcast_ref::<FileScanConfig>()?.batch_size
}

/// The plan with filters that make batches of no more rows than that; `None` leaves it as it is.
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

    /// A filter puts pieces together again: a megabyte in each of 8192 rows would be eight gigabytes.
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
