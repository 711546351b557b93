//! Checks that the sizes in a Parquet footer are possible for its file, because readers allocate by them.
//!
//! `counts` checks that the numbers agree with each other.

use arrow_schema::DataType;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, parquet_to_arrow_schema};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

/// The uncompressed size of a row group in bytes above which its compression ratio is checked.
const LARGE_GROUP: i64 = 256 << 20;
/// The maximum ratio of uncompressed to compressed size of a row group.
const MOST_UNPACKED: i64 = 1_000;
/// The number of values, rows times columns, that any file may have, and the number for each byte of a larger file.
const MOST_VALUES: i64 = 1 << 30;
const VALUES_OF_A_BYTE: i64 = 2_000;
/// The number of list values that any row group may have, and the number for each uncompressed byte.
pub(super) const MOST_ITEMS: i64 = 8 << 20;
const ITEMS_OF_A_BYTE: i64 = 4_096;
/// The size in bytes that any fixed-size value may have. A larger value may be at most one 64th of the file.
const MOST_FIXED: u64 = 1 << 10;
const FIXED_OF_A_FILE: u64 = 64;

/// Describes the first impossible size; `None` if the footer is plausible.
pub(super) fn fault(footer: &ParquetMetaData, file_bytes: u64) -> Option<String> {
    let descriptor = footer.file_metadata().schema_descr();
    let size = i64::try_from(file_bytes).unwrap_or(i64::MAX);
    let of_groups = footer.row_groups().iter().map(RowGroupMetaData::num_rows);
    let rows = of_groups.fold(0, i64::saturating_add);
    let values = rows.saturating_mul(i64::try_from(descriptor.num_columns()).unwrap_or(i64::MAX));
    if values > MOST_VALUES.max(size.saturating_mul(VALUES_OF_A_BYTE)) {
        return Some(format!("it says that it has {rows} rows, which is more than a file of {size} bytes can have"));
    }
    footer.row_groups().iter().find_map(of_group).or_else(|| {
        let fixed = descriptor.columns().iter().find_map(|column| {
            let bytes = u64::try_from(column.type_length()).unwrap_or(0);
            is_too_wide(bytes, file_bytes).then(|| column.path().string())
        });
        let fixed = fixed.or_else(|| fixed_list(footer, file_bytes));
        fixed.map(|name| format!("it says that each value of column `{name}` is larger than fits the file"))
    })
}

fn of_group(group: &RowGroupMetaData) -> Option<String> {
    let sum = |of: fn(&_) -> i64| group.columns().iter().map(of).fold(0_i64, i64::saturating_add);
    let unpacked = sum(|column: &parquet::file::metadata::ColumnChunkMetaData| column.uncompressed_size());
    let packed = sum(|column| column.compressed_size());
    if unpacked > LARGE_GROUP && unpacked / packed.max(1) > MOST_UNPACKED {
        return Some(format!("a row group of it is more than {MOST_UNPACKED} times larger when it is unpacked"));
    }
    group.columns().iter().filter(|column| column.column_descr().max_rep_level() > 0).find_map(|column| {
        let most = MOST_ITEMS.max(column.uncompressed_size().saturating_mul(ITEMS_OF_A_BYTE));
        let is_plausible = (0..=most).contains(&column.num_values());
        let name = column.column_path().string();
        (!is_plausible).then(|| format!("it says that column `{name}` has more values than fit into it"))
    })
}

fn is_too_wide(bytes: u64, file_bytes: u64) -> bool {
    bytes > MOST_FIXED && bytes.saturating_mul(FIXED_OF_A_FILE) > file_bytes
}

/// The name of a column with too long fixed-size lists. A reader allocates each list in full, even for NULL.
fn fixed_list(footer: &ParquetMetaData, file_bytes: u64) -> Option<String> {
    let file = footer.file_metadata();
    let notes = file.key_value_metadata()?;
    if !notes.iter().any(|note| note.key == ARROW_SCHEMA_META_KEY) {
        return None;
    }
    let schema = parquet_to_arrow_schema(file.schema_descr(), Some(notes)).ok()?;
    let found = schema.fields().iter().find(|field| is_too_wide(items(field.data_type()), file_bytes));
    found.map(|field| field.name().clone())
}

/// The number of items of nested fixed-size lists in one value.
fn items(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, length) => {
            u64::try_from(*length).unwrap_or(u64::MAX).saturating_mul(items(item.data_type()))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => items(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| items(field.data_type())).max().unwrap_or(1),
        _ => 1,
    }
}
