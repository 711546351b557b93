//! Bounds the memory of `UNNEST`, which repeats a whole row for each item of its lists.
//!
//! Splits a batch into pieces whose output stays within a limit. Refuses a single row that exceeds it.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::physical_plan::unnest::ListUnnest;

use crate::functions::ValueFault;

/// The maximum size of the output of one piece, in bytes.
const MOST: usize = 64 << 20;

/// Splits a batch into pieces.
///
/// # Errors
/// If the output of a single row is too large.
pub(super) fn pieces(batch: &RecordBatch, lists: &[ListUnnest]) -> Result<Vec<RecordBatch>> {
    let depths =
        |column: usize| lists.iter().filter(|list| list.index_in_input_schema == column).map(|list| list.depth).max();
    let mut pieces = Vec::new();
    let (mut from, mut bytes) = (0, 0_usize);
    for row in 0..batch.num_rows() {
        let (mut items, mut width) = (1_usize, 0_usize);
        for (at, array) in batch.columns().iter().enumerate() {
            match depths(at) {
                Some(depth) => {
                    items = items.max(leaves(array, row, depth));
                    width = width.saturating_add(16);
                }
                None => width = width.saturating_add(bytes_of(array, row)),
            }
        }
        let of_row = items.saturating_mul(width);
        if of_row > MOST {
            return Err(ValueFault::TooLarge { function: "unnest".to_owned(), bytes: of_row, most: MOST }.into());
        }
        if bytes.saturating_add(of_row) > MOST {
            pieces.push(batch.slice(from, row - from));
            (from, bytes) = (row, 0);
        }
        bytes += of_row;
    }
    pieces.push(batch.slice(from, batch.num_rows() - from));
    Ok(pieces)
}

/// The number of rows that the list in a row becomes.
fn leaves(array: &ArrayRef, row: usize, depth: usize) -> usize {
    if array.is_null(row) {
        return 1;
    }
    let items = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => return 1,
    };
    match depth {
        0 | 1 => items.len(),
        _ => (0..items.len()).map(|item| leaves(&items, item, depth - 1)).fold(0, usize::saturating_add),
    }
}

/// The size in bytes of a copy of a value.
fn bytes_of(array: &ArrayRef, row: usize) -> usize {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as usize,
        DataType::LargeUtf8 => array.as_string::<i64>().value_length(row) as usize,
        DataType::Binary => array.as_binary::<i32>().value_length(row) as usize,
        DataType::LargeBinary => array.as_binary::<i64>().value_length(row) as usize,
        // A copy of a view does not copy the text it refers to.
        DataType::Utf8View | DataType::BinaryView => 16,
        data_type => match data_type.primitive_width() {
            Some(width) => width,
            None => array.get_array_memory_size() / array.len().max(1),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ListArray, StringArray};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    fn batch(lists: Vec<usize>, texts: Vec<usize>) -> RecordBatch {
        let lists = lists.into_iter().map(|items| Some(vec![Some(1); items]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let texts = texts.into_iter().map(|bytes| Some("x".repeat(bytes))).collect::<StringArray>();
        RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef), ("s", Arc::new(texts) as ArrayRef)]).unwrap()
    }

    #[test]
    fn rows_are_counted_as_often_as_they_come() {
        let list = [ListUnnest { index_in_input_schema: 0, depth: 1 }];
        let of = |batch: &RecordBatch| {
            pieces(batch, &list).map(|pieces| pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>())
        };
        assert_eq!(of(&batch(vec![10; 4], vec![10; 4])).unwrap(), [4]);
        assert_eq!(of(&batch(vec![100; 4], vec![400_000; 4])).unwrap(), [1, 1, 1, 1]);
        assert_eq!(of(&batch(vec![100; 4], vec![300_000; 4])).unwrap(), [2, 2]);
        assert_eq!(of(&batch(vec![0, 1_000], vec![1_000_000, 10])).unwrap(), [2]);
        assert!(of(&batch(vec![1_000], vec![1_000_000])).is_err());
    }
}
