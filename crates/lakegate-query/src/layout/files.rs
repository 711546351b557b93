//! Analyses a table's current files: sizes, row groups, page indexes, and how much min/max statistics can skip.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema, TimeUnit};
use datafusion::object_store::ObjectMeta;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use futures::{StreamExt, TryStreamExt, stream};

use crate::lake::Lake;
use crate::lake::object_reader::ObjectReader;

/// The files of a table, as described by their footers.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) groups: Vec<Group>,
    /// Whether all columns of all row groups have a page index.
    pub(super) has_page_index: bool,
    footers: Vec<(Arc<ParquetMetaData>, Schema)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
}

/// The min/max statistics of a column in each row group, as numbers or text in the order of the values.
pub(super) struct Bounds {
    groups: Vec<Told>,
}

/// The min/max statistics of a column in one row group.
#[derive(Clone, Debug)]
enum Told {
    /// Unknown: the column may have any value.
    Unknown,
    /// All values are NULL.
    Nothing,
    /// The minimum and the maximum.
    Within(Bound, Bound),
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum Bound {
    Number(f64),
    Text(String),
}

/// Footers that are read concurrently.
const AT_ONCE: usize = 16;

impl Present {
    /// Files without footers, such as text.
    pub(super) fn of_text(files: usize, bytes: u64) -> Self {
        Self { files, bytes, ..Self::default() }
    }

    /// Reads the footers of Parquet files.
    pub(super) async fn read(lake: &Lake, objects: Vec<ObjectMeta>) -> Result<Self> {
        let mut present = Self { files: objects.len(), has_page_index: true, ..Self::default() };
        present.bytes = objects.iter().map(|object| object.size).sum();
        let read = |object: ObjectMeta| async move { ObjectReader::new(lake.store(), &object).footer().await };
        let footers = stream::iter(objects).map(read).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
        for footer in footers {
            let file = footer.file_metadata();
            let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
            for group in footer.row_groups() {
                let rows = u64::try_from(group.num_rows()).unwrap_or(0);
                present.groups.push(Group { rows });
                let has_index = group.columns().iter().all(|column| column.column_index_offset().is_some());
                present.has_page_index &= has_index;
            }
            present.footers.push((footer, schema));
        }
        Ok(present)
    }

    pub(super) fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// The min/max statistics of a column, for each row group.
    pub(super) fn bounds(&self, column: &str) -> Bounds {
        let mut groups = Vec::with_capacity(self.groups.len());
        for (footer, schema) in &self.footers {
            let unknown = footer.num_row_groups();
            match bounds(footer, schema, column) {
                Some(found) if found.len() == unknown => groups.extend(found),
                _ => groups.extend(std::iter::repeat_n(Told::Unknown, unknown)),
            }
        }
        Bounds { groups }
    }

    /// Whether the footer of every file has this key-value pair.
    pub(super) fn all_note(&self, key: &str, value: &str) -> bool {
        let notes = |footer: &ParquetMetaData| {
            let pairs = footer.file_metadata().key_value_metadata();
            pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == key && pair.value.as_deref() == Some(value)))
        };
        !self.footers.is_empty() && self.footers.iter().all(|(footer, _)| notes(footer))
    }

    /// Whether the column has a Bloom filter in every row group.
    pub(super) fn has_bloom_filter(&self, column: &str) -> bool {
        !self.footers.is_empty()
            && self.footers.iter().all(|(footer, _)| {
                footer.row_groups().iter().all(|group| {
                    let mut columns = group.columns().iter();
                    columns.any(|leaf| leaf.column_path().string() == column && leaf.bloom_filter_offset().is_some())
                })
            })
    }
}

fn bounds(footer: &ParquetMetaData, schema: &Schema, column: &str) -> Option<Vec<Told>> {
    // The statistics of floats leave out NaN, which may occur anywhere, so they are unusable.
    if schema.field_with_name(column).is_ok_and(|field| field.data_type().is_floating()) {
        return None;
    }
    let converter = StatisticsConverter::try_new(column, schema, footer.file_metadata().schema_descr()).ok()?;
    let least = converter.row_group_mins(footer.row_groups()).ok()?;
    let most = converter.row_group_maxes(footer.row_groups()).ok()?;
    let (least, most) = (orderable(&least)?, orderable(&most)?);
    let nulls = converter.row_group_null_counts(footer.row_groups()).ok()?;
    let told = least.into_iter().zip(most).zip(nulls.iter()).zip(footer.row_groups());
    let told = told.map(|(((least, most), nulls), group)| match least.zip(most) {
        Some((least, most)) => Told::Within(least, most),
        None if nulls.is_some_and(|nulls| i64::try_from(nulls).is_ok_and(|nulls| nulls == group.num_rows())) => {
            Told::Nothing
        }
        None => Told::Unknown,
    });
    Some(told.collect())
}

/// Converts values to numbers or text with the same order; `None` for types with another order.
fn orderable(values: &ArrayRef) -> Option<Vec<Option<Bound>>> {
    match values.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(values, &DataType::Utf8).ok()?;
            let text = text.as_string_opt::<i32>()?.iter().map(|value| value.map(|text| Bound::Text(text.to_owned())));
            Some(text.collect())
        }
        kind if kind.is_integer() || kind.is_temporal() || kind.is_decimal() => {
            let number = match kind {
                DataType::Date32 | DataType::Date64 => {
                    cast(&cast(values, &DataType::Timestamp(TimeUnit::Second, None)).ok()?, &DataType::Int64).ok()?
                }
                DataType::Timestamp(..) => cast(values, &DataType::Int64).ok()?,
                _ => ArrayRef::clone(values),
            };
            let number = cast(&number, &DataType::Float64).ok()?;
            let number = number.as_primitive_opt::<Float64Type>()?.iter().map(|value| value.map(Bound::Number));
            Some(number.collect())
        }
        _ => None,
    }
}

impl Bounds {
    /// Whether any row group has statistics.
    pub(super) fn are_known(&self) -> bool {
        self.groups.iter().any(|group| matches!(group, Told::Within(..)))
    }

    /// The mean number of row groups that may hold a value, over the values that occur as a minimum or maximum. Without
    /// statistics, the number of all row groups.
    pub(super) fn touched_by_a_value(&self) -> f64 {
        let values = self.groups.iter().flat_map(|group| match group {
            Told::Within(least, most) => vec![least, most],
            Told::Unknown | Told::Nothing => Vec::new(),
        });
        let values = values.collect::<Vec<_>>();
        if values.is_empty() {
            return self.groups.len() as f64;
        }
        let touched = values.iter().map(|value| {
            let touches = |group: &&Told| match group {
                Told::Unknown => true,
                Told::Nothing => false,
                Told::Within(least, most) => least <= *value && *value <= most,
            };
            self.groups.iter().filter(touches).count()
        });
        touched.sum::<usize>() as f64 / values.len() as f64
    }

    /// The mean share of row groups that overlap a part of the numeric range, over positions of that part.
    pub(super) fn share_of_a_range(&self, part: f64) -> f64 {
        let mut numbers = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            match group {
                Told::Within(Bound::Number(least), Bound::Number(most)) => numbers.push((*least, *most)),
                Told::Nothing => {}
                _ => return 1.0,
            }
        }
        let least = numbers.iter().map(|(least, _)| *least).fold(f64::INFINITY, f64::min);
        let most = numbers.iter().map(|(_, most)| *most).fold(f64::NEG_INFINITY, f64::max);
        if most <= least || numbers.is_empty() {
            return 1.0;
        }
        let width = (most - least) * part;
        let steps = 10;
        let touched = (0..steps).map(|step| {
            let from = least + (most - least - width) * f64::from(step) / f64::from(steps - 1);
            numbers.iter().filter(|(low, high)| *low <= from + width && from <= *high).count()
        });
        touched.sum::<usize>() as f64 / f64::from(steps) / self.groups.len() as f64
    }

    /// How well the files are sorted by the column: the share of row groups whose minimum is not below the maximum of
    /// the row group before, from 0 to 1.
    pub(super) fn order(&self) -> f64 {
        let mut known = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            match group {
                Told::Within(least, most) => known.push((least, most)),
                Told::Nothing => {}
                Told::Unknown => return 0.0,
            }
        }
        if known.len() < 2 {
            return 1.0;
        }
        let in_order = known.windows(2).filter(|pair| pair[0].1 <= pair[1].0).count();
        in_order as f64 / (known.len() - 1) as f64
    }
}
