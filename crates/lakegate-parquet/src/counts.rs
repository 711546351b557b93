//! Checks that the numbers of a Parquet footer agree. In a broken or forged file they do not, and a reader that trusts
//! them would count rows that do not exist.

use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

/// The maximum ratio of a column chunk's uncompressed to its compressed size, once it is large.
const MOST_UNPACKED: i64 = 1_000;
/// The uncompressed size in bytes above which the ratio is checked.
const LARGE: i64 = 64 << 20;

/// Describes the first number that disagrees with the others; `None` if all agree.
pub(super) fn fault(footer: &ParquetMetaData, file_bytes: u64, most_columns: usize) -> Option<String> {
    let columns = footer.file_metadata().schema_descr().num_columns();
    if columns > most_columns {
        return Some(format!("it has {columns} columns, and a table has {most_columns} at most"));
    }
    let rows = footer.file_metadata().num_rows();
    let of_groups = footer.row_groups().iter().map(RowGroupMetaData::num_rows);
    let sum = of_groups.clone().try_fold(0_i64, i64::checked_add);
    // Some writers leave 0 here; readers use the counts of the row groups.
    let are_counted = sum.is_some_and(|sum| sum == rows || rows == 0);
    if of_groups.clone().any(|rows| rows < 0) || !are_counted {
        return Some(format!("it says that it has {rows} rows, and its parts say otherwise"));
    }
    for group in footer.row_groups() {
        for column in group.columns() {
            let name = column.column_path().string();
            let (packed, unpacked) = (column.compressed_size(), column.uncompressed_size());
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(packed);
            if start < 0 || packed < 0 || unpacked < 0 || end.is_none_or(|end| end as u64 > file_bytes) {
                return Some(format!("it says that column `{name}` lies where it cannot lie"));
            }
            if unpacked > LARGE && unpacked / packed.max(1) > MOST_UNPACKED {
                return Some(format!("column `{name}` is more than {MOST_UNPACKED} times larger when it is unpacked"));
            }
            let is_flat = column.column_descr().max_rep_level() == 0;
            if is_flat && column.num_values() != group.num_rows() {
                return Some(format!("it says that column `{name}` has another number of values than there are rows"));
            }
        }
    }
    None
}
