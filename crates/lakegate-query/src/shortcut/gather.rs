//! Reads columns of a resident table at given row numbers.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array};
use datafusion::arrow::compute::{concat, interleave, take};
use datafusion::common::Result;

use crate::hot::{HotTable, KeyIndex};

/// Consecutive rows are copied as slices if the mean run has at least this many rows.
const WORTH_COPYING: usize = 16;

/// Consecutive rows of a block.
struct Run {
    /// The index of the block in the table.
    block: usize,
    /// The offset of the first row in the block.
    first: u32,
    count: u32,
}

/// Returns these columns at these rows of the table, in the order of `rows`.
pub(super) async fn gather(
    table: &HotTable,
    index: &KeyIndex,
    rows: &[u32],
    columns: &[usize],
) -> Result<Vec<ArrayRef>> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let runs = runs(index, rows);
    let mut blocks = runs.iter().map(|run| run.block).collect::<Vec<_>>();
    blocks.sort_unstable();
    blocks.dedup();
    let places = blocks.iter().map(|block| index.block(*block)).collect::<Vec<_>>();
    let fetched = table.fetch(&places, columns).await?;
    let place = |run: &Run| blocks.partition_point(|block| *block < run.block);
    if runs.len() * WORTH_COPYING <= rows.len() || runs.len() == 1 {
        let slice =
            |run: &Run, column: usize| fetched[place(run)][column].slice(run.first as usize, run.count as usize);
        let column = |column: usize| match runs.as_slice() {
            [run] => Ok(slice(run, column)),
            runs => {
                let slices = runs.iter().map(|run| slice(run, column)).collect::<Vec<_>>();
                Ok(concat(&slices.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
            }
        };
        return (0..columns.len()).map(column).collect();
    }
    if let [arrays] = fetched.as_slice() {
        let places = runs.iter().flat_map(|run| run.first..run.first + run.count);
        let places = UInt32Array::from_iter_values(places);
        return arrays.iter().map(|array| Ok(take(array, &places, None)?)).collect();
    }
    let mut places = Vec::with_capacity(rows.len());
    for run in &runs {
        let block = place(run);
        places.extend((run.first..run.first + run.count).map(|row| (block, row as usize)));
    }
    let columns = (0..columns.len()).map(|column| {
        let parts = fetched.iter().map(|arrays| arrays[column].as_ref()).collect::<Vec<_>>();
        Ok(interleave(&parts, &places)?)
    });
    columns.collect()
}

/// Splits the rows into runs within blocks, in their order.
fn runs(index: &KeyIndex, rows: &[u32]) -> Vec<Run> {
    let mut runs = Vec::<Run>::new();
    // The row range of the previous row's block, and the row after the previous one.
    let (mut within, mut next) = (Range::default(), 0);
    for row in rows.iter().copied() {
        match runs.last_mut() {
            Some(run) if row == next && row < within.end => run.count += 1,
            Some(Run { block, .. }) if within.contains(&row) => {
                let block = *block;
                runs.push(Run { block, first: row - within.start, count: 1 });
            }
            _ => {
                let block = index.block_of(row);
                within = index.rows_in(block);
                runs.push(Run { block, first: row - within.start, count: 1 });
            }
        }
        next = row + 1;
    }
    runs
}
