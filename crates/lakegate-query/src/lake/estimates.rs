//! Statistics of a Parquet file for the engine: the number of rows, min/max statistics that prune whole files, and
//! estimates for the optimizer. None of them can become a value of a row.
//!
//! They come from the footer that `believed` has cleaned.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::file::metadata::ParquetMetaData;

/// The statistics of a file, per column as it is read. Min and max are exact when no value is outside them, so that the
/// engine prunes files with them. The NULL count is never exact, so that the engine takes no column for a constant.
pub(super) fn of_file(footer: &ParquetMetaData, schema: &Schema) -> Statistics {
    let rows = footer.row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0));
    let rows = rows.fold(0_usize, usize::saturating_add);
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(rows);
    for (at, column) in statistics.column_statistics.iter_mut().enumerate() {
        // Without statistics, nothing is known about the column.
        *column = of_column(footer, schema, at, rows).unwrap_or_default();
    }
    statistics
}

/// Statistics for the optimizer: only the number of rows stays exact, and no values stay. The engine computes with min
/// and max, for example casts them to another time unit, and planning would fail on a value of the data that does not
/// fit.
pub(super) fn for_plans(statistics: Statistics) -> Statistics {
    let num_rows = statistics.num_rows;
    let mut statistics = Statistics { num_rows, ..statistics.to_inexact() };
    for column in &mut statistics.column_statistics {
        (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
        column.sum_value = Precision::Absent;
    }
    statistics
}

fn of_column(footer: &ParquetMetaData, schema: &Schema, at: usize, rows: usize) -> Result<ColumnStatistics> {
    let field = schema.field(at);
    let groups = footer.row_groups();
    let converter = StatisticsConverter::try_new(field.name(), schema, footer.file_metadata().schema_descr())?;
    let converter = converter.with_missing_null_counts_as_zero(false);
    let mut column = ColumnStatistics::new_unknown();
    let Some(leaf) = converter.parquet_column_index() else { return Ok(column) };
    column.byte_size = Precision::Inexact(match field.data_type().primitive_width() {
        Some(width) => width.saturating_mul(rows),
        None => {
            let sizes = groups.iter().map(|group| usize::try_from(group.column(leaf).uncompressed_size()).unwrap_or(0));
            sizes.fold(0, usize::saturating_add)
        }
    });
    let nulls = converter.row_group_null_counts(groups)?;
    if nulls.null_count() == 0 {
        let sum = nulls.values().iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        column.null_count = Precision::Inexact(usize::try_from(sum).unwrap_or(usize::MAX));
    }
    let (least, greatest) = (converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?);
    let says_nothing = |group: usize| {
        let is_empty = groups[group].num_rows() == 0;
        let is_null =
            !nulls.is_null(group) && i64::try_from(nulls.value(group)).is_ok_and(|n| n == groups[group].num_rows());
        is_empty || is_null
    };
    let is_known = |bounds: &ArrayRef| (0..groups.len()).all(|group| !bounds.is_null(group) || says_nothing(group));
    if is_known(&least) && is_known(&greatest) {
        let bound = |value: ScalarValue| match value.is_null() {
            true => Precision::Absent,
            false => Precision::Exact(value),
        };
        column.min_value = bound(furthest(&least, Ordering::Less)?);
        column.max_value = bound(furthest(&greatest, Ordering::Greater)?);
    }
    Ok(column)
}

/// The lowest or highest bound, depending on `side`; NULL when there is none.
fn furthest(bounds: &ArrayRef, side: Ordering) -> Result<ScalarValue> {
    let mut furthest = ScalarValue::try_new_null(bounds.data_type())?;
    for at in (0..bounds.len()).filter(|at| !bounds.is_null(*at)) {
        let bound = ScalarValue::try_from_array(bounds, at)?;
        if furthest.is_null() || bound.partial_cmp(&furthest) == Some(side) {
            furthest = bound;
        }
    }
    Ok(furthest)
}

/// The statistics of a file as those of a table that has the same column names.
pub(super) fn by_name(footer: &ParquetMetaData, of_file: &Schema, table: &SchemaRef) -> Statistics {
    let own = self::of_file(footer, of_file);
    let mut statistics = Statistics::new_unknown(table);
    statistics.num_rows = own.num_rows;
    for (column, field) in statistics.column_statistics.iter_mut().zip(table.fields()) {
        if let Ok(at) = of_file.index_of(field.name()) {
            *column = own.column_statistics[at].clone();
        }
    }
    statistics
}
