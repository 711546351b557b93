//! Chooses the rows per batch of a table's scan: fewer when rows are long, so that a batch is bounded in bytes as well.
//!
//! The engine counts only rows. With cells of 300 KB, such as HTML pages or images, its 8,192 rows are more than 2 GB.

use datafusion::common::Statistics;

/// Rows per batch for rows of normal length.
const ROWS: usize = 8_192;
/// Bytes per batch, computed from the mean row length.
const BYTES: usize = 16 << 20;

/// The rows per batch for these columns, or all when `None`. Returns `None` for the engine's default.
pub(super) fn rows_of_batch(statistics: &Statistics, columns: Option<&[usize]>) -> Option<usize> {
    let rows = *statistics.num_rows.get_value()?;
    let of_columns = || {
        let all = statistics.column_statistics.iter().enumerate();
        let read = all.filter(|(at, _)| columns.is_none_or(|columns| columns.contains(at)));
        read.filter_map(|(_, column)| column.byte_size.get_value())
            .fold(0_usize, |sum, bytes| sum.saturating_add(*bytes))
    };
    // For text files, only the total size is known.
    let bytes = statistics.total_byte_size.get_value().copied().unwrap_or(0).max(of_columns());
    let width = bytes / rows.max(1);
    (width > BYTES / ROWS).then(|| (BYTES / width).max(1))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::stats::Precision;

    use super::*;

    #[test]
    fn a_batch_of_long_rows_has_few_of_them() {
        let schema =
            Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("page", DataType::Utf8, true)]);
        let mut statistics = Statistics::new_unknown(&schema);
        assert_eq!(rows_of_batch(&statistics, None), None);
        statistics.num_rows = Precision::Inexact(1_000);
        statistics.column_statistics[0].byte_size = Precision::Inexact(8_000);
        statistics.column_statistics[1].byte_size = Precision::Inexact(300_000_000);
        assert_eq!(rows_of_batch(&statistics, None), Some(55));
        assert_eq!(rows_of_batch(&statistics, Some(&[0])), None);
        statistics.column_statistics[1].byte_size = Precision::Absent;
        statistics.total_byte_size = Precision::Inexact(usize::MAX);
        assert_eq!(rows_of_batch(&statistics, None), Some(1));
    }
}
