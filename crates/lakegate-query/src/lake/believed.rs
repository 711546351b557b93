//! Removes untrusted parts from a Parquet footer before anything reads it. Statistics, page indexes and Bloom filters
//! stay only where the format and the writer guarantee what pruning concludes from them.
//!
//! `writers` lists the trusted writers. The remaining parts decide which rows are skipped, never what a value is.

use std::cmp::Ordering;

use datafusion::parquet::basic::{ColumnOrder, ConvertedType, LogicalType, Type as PhysicalType};
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetColumnIndex, ParquetMetaData, ParquetOffsetIndex, RowGroupMetaData,
};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::schema::types::ColumnDescriptor;

use super::writers::{Belief, belief};

/// The order that the min/max statistics of a column use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Signed numbers: integers, decimals stored as integers, dates and times.
    Signed,
    /// Unsigned numbers.
    Unsigned,
    /// Unsigned bytes, compared one by one.
    Bytes,
    /// Signed numbers of many bytes in big-endian order.
    SignedBytes,
    /// False before true.
    Boolean,
}

/// The footer without its untrusted parts. Floats, INT96, intervals and nested columns lose their min/max statistics:
/// those of floats leave out NaN and differ in the sign of zero, and the order of the others is not defined.
pub(super) fn believed(footer: ParquetMetaData) -> Result<ParquetMetaData> {
    let file = footer.file_metadata().clone();
    let belief = belief(file.created_by());
    let mut builder = footer.into_builder();
    let groups = builder.take_row_groups();
    let (column_index, offset_index) = (builder.take_column_index(), builder.take_offset_index());
    let pages = match (column_index, offset_index) {
        (Some(columns), Some(offsets)) if belief == Belief::TypeDefined => Some((columns, offsets)),
        _ => None,
    };
    let pages = pages.filter(|(columns, offsets)| fits_together(&groups, columns, offsets));
    let has_pages = pages.is_some();
    let groups = groups.into_iter().map(|group| of_group(group, &file, belief, has_pages));
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let (column_index, offset_index) = match pages {
        Some((columns, offsets)) => (Some(of_pages(&groups, columns)), Some(offsets)),
        None => (None, None),
    };
    Ok(builder.set_row_groups(groups).set_column_index(column_index).set_offset_index(offset_index).build())
}

/// Whether reading the page index of a file pays off.
pub(super) fn wants_pages(footer: &ParquetMetaData) -> bool {
    let has_pages =
        |column: &ColumnChunkMetaData| column.column_index_offset().is_some() && column.offset_index_offset().is_some();
    belief(footer.file_metadata().created_by()) == Belief::TypeDefined
        && footer.row_groups().iter().flat_map(RowGroupMetaData::columns).any(has_pages)
}

fn of_group(group: RowGroupMetaData, file: &FileMetaData, belief: Belief, has_pages: bool) -> Result<RowGroupMetaData> {
    let rows = group.num_rows();
    let mut builder = group.into_builder().set_sorting_columns(None);
    let columns = builder.take_columns().into_iter().enumerate();
    let columns = columns.map(|(at, column)| of_column(column, file, at, rows, belief, has_pages));
    builder.set_column_metadata(columns.collect::<Result<Vec<_>>>()?).build()
}

fn of_column(
    column: ColumnChunkMetaData,
    file: &FileMetaData,
    at: usize,
    rows: i64,
    belief: Belief,
    has_pages: bool,
) -> Result<ColumnChunkMetaData> {
    let order = order(column.column_descr());
    let is_ordered = file
        .column_orders()
        .and_then(|orders| orders.get(at))
        .is_some_and(|order| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_)));
    let statistics = match (belief, column.statistics()) {
        (Belief::Nothing, _) | (_, None) => None,
        (belief, Some(statistics)) => {
            let are_bounds_believed = match statistics.is_min_max_deprecated() {
                true => order == Some(Order::Signed),
                false => is_ordered && belief == Belief::TypeDefined,
            };
            sound(statistics, column.column_descr(), rows, order.filter(|_| are_bounds_believed))
        }
    };
    let has_bounds = statistics.as_ref().is_some_and(|statistics| statistics.min_bytes_opt().is_some());
    let has_bloom_filter = belief == Belief::TypeDefined && is_hashed_as_read(column.column_descr());
    let column_index = column.column_index_offset().filter(|_| has_pages && has_bounds);
    let column_index_length = column.column_index_length().filter(|_| column_index.is_some());
    let offset_index = column.offset_index_offset().filter(|_| has_pages);
    let offset_index_length = column.offset_index_length().filter(|_| offset_index.is_some());
    let bloom_filter = column.bloom_filter_offset().filter(|_| has_bloom_filter);
    let bloom_filter_length = column.bloom_filter_length().filter(|_| bloom_filter.is_some());
    let builder = column
        .into_builder()
        .clear_statistics()
        .set_column_index_offset(column_index)
        .set_column_index_length(column_index_length)
        .set_offset_index_offset(offset_index)
        .set_offset_index_length(offset_index_length)
        .set_bloom_filter_offset(bloom_filter)
        .set_bloom_filter_length(bloom_filter_length);
    match statistics {
        Some(statistics) => builder.set_statistics(statistics).build(),
        None => builder.build(),
    }
}

/// The order of a column's values, or `None` when its min/max statistics are not usable.
fn order(column: &ColumnDescriptor) -> Option<Order> {
    if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
        return None;
    }
    let (logical, converted) = (column.logical_type_ref(), column.converted_type());
    match column.physical_type() {
        PhysicalType::BOOLEAN => Some(Order::Boolean).filter(|_| logical.is_none()),
        PhysicalType::INT32 | PhysicalType::INT64 => match (logical, converted) {
            (Some(LogicalType::Integer(integer)), _) if !integer.is_signed => Some(Order::Unsigned),
            (
                None,
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
            ) => Some(Order::Unsigned),
            (
                Some(
                    LogicalType::Integer(_)
                    | LogicalType::Decimal(_)
                    | LogicalType::Date
                    | LogicalType::Time(_)
                    | LogicalType::Timestamp(_),
                )
                | None,
                _,
            ) => Some(Order::Signed),
            _ => None,
        },
        PhysicalType::BYTE_ARRAY => match (logical, converted) {
            (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json | LogicalType::Bson), _)
            | (
                None,
                ConvertedType::NONE
                | ConvertedType::UTF8
                | ConvertedType::ENUM
                | ConvertedType::JSON
                | ConvertedType::BSON,
            ) => Some(Order::Bytes),
            _ => None,
        },
        PhysicalType::FIXED_LEN_BYTE_ARRAY => match (logical, converted) {
            (Some(LogicalType::Uuid), _) | (None, ConvertedType::NONE) => Some(Order::Bytes),
            (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => Some(Order::SignedBytes),
            _ => None,
        },
        PhysicalType::INT96 | PhysicalType::FLOAT | PhysicalType::DOUBLE => None,
    }
}

/// Whether the engine hashes a value of this column as its writer does, so that a Bloom filter can be used.
fn is_hashed_as_read(column: &ColumnDescriptor) -> bool {
    let logical = column.logical_type_ref();
    match (column.physical_type(), order(column)) {
        (PhysicalType::INT32 | PhysicalType::INT64, Some(Order::Signed)) => {
            logical.is_none() && column.converted_type() == ConvertedType::NONE
        }
        (PhysicalType::BYTE_ARRAY, Some(Order::Bytes)) => true,
        _ => false,
    }
}

/// The part of the statistics that can be true: the NULL count, and min/max when `order` is given. `None` when they
/// contradict themselves or have no NULL count, because the engine reads a missing count as zero.
fn sound(statistics: &Statistics, column: &ColumnDescriptor, rows: i64, order: Option<Order>) -> Option<Statistics> {
    let (rows, nulls) = (u64::try_from(rows).ok()?, statistics.null_count_opt()?);
    if column.max_rep_level() > 0 || nulls > rows || (column.max_def_level() == 0 && nulls > 0) {
        return None;
    }
    let has_bound = statistics.min_bytes_opt().is_some() || statistics.max_bytes_opt().is_some();
    if nulls == rows && has_bound && rows > 0 {
        return None;
    }
    let order = match order {
        Some(order) if statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some() => {
            match compare(statistics, order)? {
                Ordering::Greater => return None,
                _ => Some(order),
            }
        }
        _ => None,
    };
    let (has_bounds, nulls) = (order.is_some(), Some(nulls));
    // Built from scratch to drop everything else: the distinct count, and the flag of the deprecated form.
    Some(match statistics {
        Statistics::Boolean(of) => Statistics::boolean(
            of.min_opt().copied().filter(|_| has_bounds),
            of.max_opt().copied().filter(|_| has_bounds),
            None,
            nulls,
            false,
        ),
        Statistics::Int32(of) => Statistics::int32(
            of.min_opt().copied().filter(|_| has_bounds),
            of.max_opt().copied().filter(|_| has_bounds),
            None,
            nulls,
            false,
        ),
        Statistics::Int64(of) => Statistics::int64(
            of.min_opt().copied().filter(|_| has_bounds),
            of.max_opt().copied().filter(|_| has_bounds),
            None,
            nulls,
            false,
        ),
        Statistics::ByteArray(of) => Statistics::byte_array(
            of.min_opt().cloned().filter(|_| has_bounds),
            of.max_opt().cloned().filter(|_| has_bounds),
            None,
            nulls,
            false,
        ),
        Statistics::FixedLenByteArray(of) => Statistics::fixed_len_byte_array(
            of.min_opt().cloned().filter(|_| has_bounds),
            of.max_opt().cloned().filter(|_| has_bounds),
            None,
            nulls,
            false,
        ),
        Statistics::Int96(_) => Statistics::int96(None, None, None, nulls, false),
        Statistics::Float(_) => Statistics::float(None, None, None, nulls, false),
        Statistics::Double(_) => Statistics::double(None, None, None, nulls, false),
    })
}

/// Compares the minimum with the maximum; `None` when their type does not match the order.
fn compare(statistics: &Statistics, order: Order) -> Option<Ordering> {
    match (statistics, order) {
        (Statistics::Boolean(of), Order::Boolean) => Some(of.min_opt()?.cmp(of.max_opt()?)),
        (Statistics::Int32(of), Order::Signed) => Some(of.min_opt()?.cmp(of.max_opt()?)),
        (Statistics::Int64(of), Order::Signed) => Some(of.min_opt()?.cmp(of.max_opt()?)),
        (Statistics::Int32(of), Order::Unsigned) => Some((*of.min_opt()? as u32).cmp(&(*of.max_opt()? as u32))),
        (Statistics::Int64(of), Order::Unsigned) => Some((*of.min_opt()? as u64).cmp(&(*of.max_opt()? as u64))),
        (Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_), Order::Bytes) => {
            Some(statistics.min_bytes_opt()?.cmp(statistics.max_bytes_opt()?))
        }
        (Statistics::FixedLenByteArray(_), Order::SignedBytes) => {
            let (least, greatest) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
            // Two's complement numbers of equal length sort by their bytes once the sign bit is flipped.
            let turned = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                *bytes.first_mut()? ^= 0x80;
                Some(bytes)
            };
            (least.len() == greatest.len()).then_some(())?;
            Some(turned(least)?.cmp(&turned(greatest)?))
        }
        _ => None,
    }
}

/// Whether the pages of every column are inside their column chunk and cover the rows of the row group in order.
fn fits_together(groups: &[RowGroupMetaData], columns: &ParquetColumnIndex, offsets: &ParquetOffsetIndex) -> bool {
    if columns.len() != groups.len() || offsets.len() != groups.len() {
        return false;
    }
    groups.iter().zip(columns).zip(offsets).all(|((group, columns), offsets)| {
        let is_complete = columns.len() == group.num_columns() && offsets.len() == group.num_columns();
        is_complete
            && group.columns().iter().zip(columns).zip(offsets).all(|((column, index), offsets)| {
                let pages = offsets.page_locations();
                let (start, length) = (column.data_page_offset(), column.compressed_size());
                let first = column.dictionary_page_offset().map_or(start, |dictionary| dictionary.min(start));
                let end = first.saturating_add(length);
                let lies_inside = pages.iter().all(|page| {
                    let page_end = page.offset.checked_add(page.compressed_page_size.into());
                    page.compressed_page_size > 0
                        && page.offset >= start
                        && page_end.is_some_and(|page_end| page_end <= end)
                });
                let in_order = pages.windows(2).all(|pair| {
                    let after = pair[0].offset + i64::from(pair[0].compressed_page_size);
                    pair[1].offset >= after && pair[1].first_row_index > pair[0].first_row_index
                });
                let has_rows = match (pages.first(), pages.last()) {
                    (Some(first), Some(last)) => first.first_row_index == 0 && last.first_row_index < group.num_rows(),
                    _ => group.num_rows() == 0,
                };
                let is_of_pages =
                    matches!(index, ColumnIndexMetaData::NONE) || usize::try_from(index.num_pages()) == Ok(pages.len());
                lies_inside && in_order && has_rows && is_of_pages
            })
    })
}

/// Keeps the page statistics of columns whose own min/max statistics are trusted, when they have NULL counts.
fn of_pages(groups: &[RowGroupMetaData], columns: ParquetColumnIndex) -> ParquetColumnIndex {
    let of_groups = groups.iter().zip(columns);
    let of_groups = of_groups.map(|(group, columns)| {
        let of_columns = group.columns().iter().zip(columns);
        let of_columns = of_columns.map(|(column, index)| {
            let is_believed = column.column_index_offset().is_some() && index.null_counts().is_some();
            if is_believed { index } else { ColumnIndexMetaData::NONE }
        });
        of_columns.collect()
    });
    of_groups.collect()
}
