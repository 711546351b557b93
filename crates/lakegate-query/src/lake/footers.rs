//! Footers of Parquet files, looked at before the engine believes them: numbers that do not fit together are those of a
//! broken or forged file, and an engine that trusts them counts rows that are not there.
//!
//! How they are read is said in `parquet`.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::cached_footer;
use super::columns::{Unreadable, guarded};
use super::text::MOST_COLUMNS;
use super::values;

/// How many times larger than in the file a part may be when it is unpacked, once it is large.
const MOST_UNPACKED: i64 = 1_000;
/// From which size on that counts, in bytes.
const LARGE: i64 = 64 << 20;

/// Reads a file's footer, and looks at it.
pub(super) async fn check(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    is_remote: bool,
    object: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>, Unreadable> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let footer = async { Ok(cached_footer(cache.as_ref(), store.as_ref(), object).await?) };
    let footer = guarded(is_remote, footer).await.map_err(|error| error.of(object))?;
    match values::fault(&footer) {
        None => Ok(footer),
        Some(fault) => Err(Unreadable::from(fault).of(object)),
    }
}

/// What does not fit together.
pub(super) fn fault(footer: &ParquetMetaData, file_bytes: u64) -> Option<String> {
    let columns = footer.file_metadata().schema_descr().num_columns();
    if columns > MOST_COLUMNS {
        return Some(format!("it has {columns} columns, and a table has {MOST_COLUMNS} at most"));
    }
    let rows = footer.file_metadata().num_rows();
    let of_groups = footer.row_groups().iter().map(RowGroupMetaData::num_rows);
    let sum = of_groups.clone().try_fold(0_i64, i64::checked_add);
    // Some writers leave 0 there; what is read are the parts.
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
                return Some(format!("it says that column `{name}` lies where it can not lie"));
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
