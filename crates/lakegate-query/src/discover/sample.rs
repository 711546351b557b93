//! Samples rows of a table to estimate the number of distinct values per column, which tells keys from foreign keys.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::object_store::ObjectMeta;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use futures::{FutureExt, TryStreamExt};
use lakegate_core::discover::{ColumnClass, ColumnSample, FoundTable};

use super::grouping::Candidate;
use crate::lake::Lake;
use crate::lake::object_reader::ObjectReader;

/// Rows that are sampled from each file.
const ROWS: usize = 4_096;
/// Columns that are sampled from each table.
const MOST_COLUMNS: usize = 64;

/// Records what a row sample shows about the columns that could be keys. Columns that cannot be read stay unknown.
pub(super) async fn look(lake: &Lake, candidate: &mut Candidate) {
    let table = &mut candidate.table;
    let could_be_key = |kind| matches!(kind, ColumnClass::Integer | ColumnClass::Text);
    let names = table.columns.iter().filter(|column| could_be_key(column.kind)).take(MOST_COLUMNS);
    let names = names.map(|column| column.name.clone()).collect::<Vec<_>>();
    let mut batches = candidate.rows.take().into_iter().collect::<Vec<_>>();
    for file in &candidate.files {
        let reading = rows(ObjectReader::new(lake.store(), file), &names);
        match AssertUnwindSafe(reading).catch_unwind().await {
            Ok(Ok(read)) => batches.extend(read),
            Ok(Err(error)) => note(table, file, &error.to_string()),
            Err(_) => note(table, file, "it is broken"),
        }
    }
    for column in table.columns.iter_mut().filter(|column| names.contains(&column.name)) {
        let arrays = batches.iter().filter_map(|batch| batch.column_by_name(&column.name)).collect::<Vec<_>>();
        column.sample = counted(&arrays);
    }
}

/// Adds a note that a file is broken behind its footer.
fn note(table: &mut FoundTable, file: &ObjectMeta, why: &str) {
    let line = why.lines().next().unwrap_or_default().trim_start_matches("Parquet error: ").trim_start_matches("EOF: ");
    table.notes.push(format!("`{}` cannot be read: {}", file.location, line.trim_end_matches('.')));
}

async fn rows(reader: ObjectReader, names: &[String]) -> datafusion::parquet::errors::Result<Vec<RecordBatch>> {
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let descriptor = builder.parquet_schema();
    let top = |leaf: &usize| descriptor.column(*leaf).path().parts().first().is_some_and(|name| names.contains(name));
    let leaves = (0..descriptor.num_columns()).filter(top).collect::<Vec<_>>();
    let mask = ProjectionMask::leaves(descriptor, leaves);
    let groups = if builder.metadata().num_row_groups() == 0 { Vec::new() } else { vec![0] };
    let stream =
        builder.with_projection(mask).with_row_groups(groups).with_limit(ROWS).with_batch_size(ROWS).build()?;
    stream.try_collect().await
}

fn counted(arrays: &[&ArrayRef]) -> Option<ColumnSample> {
    let mut values = HashSet::new();
    let mut sample = ColumnSample { rows: 0, nulls: 0, distinct: 0 };
    for array in arrays {
        let format = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::new()).ok()?;
        sample.rows += array.len();
        sample.nulls += array.null_count();
        values.extend((0..array.len()).filter(|at| array.is_valid(*at)).map(|at| format.value(at).to_string()));
    }
    sample.distinct = values.len();
    (sample.rows > 0).then_some(sample)
}
