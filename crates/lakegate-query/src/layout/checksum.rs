//! Checksum of a set of rows, independent of their order: it changes if a row is lost, duplicated or changed.

use std::hash::{DefaultHasher, Hasher};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, SortField};

/// The number of rows, and sums of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) rows: u64,
    sums: [u64; 2],
}

impl Checksum {
    /// Adds the rows of a batch. Every value of every column counts, including NULL, NaN and the sign of zero.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows() as u64;
        if batch.num_columns() == 0 {
            return Ok(());
        }
        let fields = batch.columns().iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let rows = converter.convert_columns(batch.columns())?;
        for row in rows.iter() {
            for (seed, sum) in self.sums.iter_mut().enumerate() {
                let mut hasher = DefaultHasher::new();
                hasher.write_u8(seed as u8);
                hasher.write(row.as_ref());
                *sum = sum.wrapping_add(hasher.finish());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray};
    use datafusion::arrow::compute::take;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    fn rows() -> RecordBatch {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("b", Arc::new(Float64Array::from(vec![f64::NAN, 0.0, -0.0]))),
            ("c", Arc::new(StringArray::from(vec![None, Some(""), Some("x")]))),
            ("d", Arc::new(list)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn sum(batch: &RecordBatch) -> Checksum {
        let mut sum = Checksum::default();
        sum.add(batch).unwrap();
        sum
    }

    #[test]
    fn the_order_of_rows_does_not_count_and_everything_else_does() {
        let batch = rows();
        let shuffled =
            batch.columns().iter().map(|column| take(column, &Int64Array::from(vec![2, 0, 1]), None).unwrap());
        let shuffled = RecordBatch::try_new(batch.schema(), shuffled.collect()).unwrap();
        assert_eq!(sum(&batch), sum(&shuffled));
        let mut parts = sum(&batch.slice(0, 1));
        parts.add(&batch.slice(1, 2)).unwrap();
        assert_eq!(sum(&batch), parts);
        // A row twice in place of another, and a value swapped with that of another row.
        let doubled =
            batch.columns().iter().map(|column| take(column, &Int64Array::from(vec![0, 0, 1]), None).unwrap());
        assert_ne!(sum(&batch), sum(&RecordBatch::try_new(batch.schema(), doubled.collect()).unwrap()));
        let mut swapped = batch.columns().to_vec();
        swapped[1] = Arc::new(Float64Array::from(vec![f64::NAN, -0.0, 0.0]));
        assert_ne!(sum(&batch), sum(&RecordBatch::try_new(batch.schema(), swapped).unwrap()));
    }
}
