//! Column statistics of a Parquet file for Delta and Iceberg metadata: minimum, maximum and NULL count.
//!
//! A bound may be wider than the values, never narrower. Floats have no bounds, because NaN compares with nothing.

use datafusion::arrow::datatypes::DataType;
use datafusion::parquet::file::statistics::Statistics;

use super::staged::StagedFile;

/// A minimum or maximum, as the Parquet file stores it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum Bound {
    Boolean(bool),
    /// Integers, dates in days, and timestamps in microseconds.
    Integer(i64),
    Text(String),
}

/// Statistics of one column that is not nested.
#[derive(Debug)]
pub(super) struct ColumnBounds {
    /// Index of the column in the file's schema.
    pub(super) column: usize,
    /// Compressed size in the file, in bytes.
    pub(super) bytes: u64,
    /// Number of NULLs; `None` when the file does not store it.
    pub(super) nulls: Option<u64>,
    pub(super) least: Option<Bound>,
    pub(super) greatest: Option<Bound>,
}

/// Statistics of each column that is not nested.
pub(super) fn of(file: &StagedFile) -> Vec<ColumnBounds> {
    let mut leaf = 0;
    let mut found = Vec::new();
    for (column, field) in file.schema.fields().iter().enumerate() {
        let leaves = leaves(field.data_type());
        if !field.data_type().is_nested() {
            found.push(column_bounds(file, column, leaf, field.data_type()));
        }
        leaf += leaves;
    }
    found
}

fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaves(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        _ => 1,
    }
}

fn column_bounds(file: &StagedFile, column: usize, leaf: usize, data_type: &DataType) -> ColumnBounds {
    let mut bounds = ColumnBounds { column, bytes: 0, nulls: Some(0), least: None, greatest: None };
    let mut is_known = bounded(data_type);
    for group in file.metadata.row_groups() {
        let chunk = group.column(leaf);
        bounds.bytes += chunk.compressed_size().max(0) as u64;
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        bounds.nulls = bounds.nulls.zip(nulls).map(|(sum, nulls)| sum + nulls);
        if nulls == Some(group.num_rows().max(0) as u64) {
            continue;
        }
        match statistics.and_then(ends) {
            Some((least, greatest)) if is_known => {
                let lower = |old: Bound| if least < old { least.clone() } else { old };
                bounds.least = Some(bounds.least.take().map_or_else(|| least.clone(), lower));
                let higher = |old: Bound| if greatest > old { greatest.clone() } else { old };
                bounds.greatest = Some(bounds.greatest.take().map_or_else(|| greatest.clone(), higher));
            }
            _ => is_known = false,
        }
    }
    if !is_known {
        (bounds.least, bounds.greatest) = (None, None);
    }
    bounds
}

/// Whether bounds are written for columns of this type.
fn bounded(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Utf8
    )
}

fn ends(statistics: &Statistics) -> Option<(Bound, Bound)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(Bound::Text);
    match statistics {
        Statistics::Boolean(values) => Some((Bound::Boolean(*values.min_opt()?), Bound::Boolean(*values.max_opt()?))),
        Statistics::Int32(values) => {
            Some((Bound::Integer((*values.min_opt()?).into()), Bound::Integer((*values.max_opt()?).into())))
        }
        Statistics::Int64(values) => Some((Bound::Integer(*values.min_opt()?), Bound::Integer(*values.max_opt()?))),
        Statistics::ByteArray(values) => Some((text(values.min_opt()?.data())?, text(values.max_opt()?.data())?)),
        _ => None,
    }
}
