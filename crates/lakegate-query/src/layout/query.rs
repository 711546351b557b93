//! Runs internal queries over tables without governance and returns only numbers. Requests never use this; it serves
//! operators, who already have access to the files of the lake.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::physical_plan::collect;

/// The integers in the one row of a query's result; NULL becomes 0.
pub(super) async fn numbers(session: &SessionState, sql: &str) -> Result<Vec<i64>> {
    let plan = session.create_logical_plan(sql).await?;
    let plan = session.create_physical_plan(&plan).await?;
    let batches = collect(plan, session.task_ctx()).await?;
    let row = batches.iter().find(|batch| batch.num_rows() > 0);
    let row = row.ok_or_else(|| exec_datafusion_err!("a count has no row"))?;
    let number = |column: &ArrayRef| {
        let column = cast(column, &DataType::Int64)?;
        Ok(column.as_primitive::<Int64Type>().iter().next().flatten().unwrap_or(0))
    };
    row.columns().iter().map(number).collect()
}

/// Quotes an identifier for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
