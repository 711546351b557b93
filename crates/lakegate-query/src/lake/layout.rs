//! Parquet writer options: every writer into a lake uses them.
//!
//! They decide how well readers can skip row groups and pages, and which statistics both have.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;

/// Rows per page. Within a row group, readers skip pages.
const PAGE_ROWS: usize = 2_000;

/// The compression of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Small, and decoded about as fast as a disk delivers it.
    #[default]
    Zstd,
    /// Larger, and decoded faster than a disk delivers it.
    Snappy,
}

/// The layout of a Parquet file.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Rows per row group, the unit that is skipped as a whole.
    pub row_group_rows: usize,
    /// Rows per page, the unit that is skipped inside a row group.
    pub page_rows: usize,
    /// The compression of pages.
    pub codec: Codec,
    /// The columns that the rows are already sorted by, ascending with nulls last. Recorded in the file; the writer
    /// does not sort.
    pub sorted_by: Vec<String>,
    /// Columns that queries compare for equality. Each of their row groups gets a Bloom filter of its values.
    pub bloom_filters: Vec<String>,
    /// Columns with mostly distinct values, where a dictionary does not pay off because a reader of one page reads all
    /// of it.
    pub without_dictionary: Vec<String>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            row_group_rows: 20_000,
            page_rows: PAGE_ROWS,
            codec: Codec::default(),
            sorted_by: Vec::new(),
            bloom_filters: Vec::new(),
            without_dictionary: Vec::new(),
        }
    }
}

impl WriteOptions {
    /// The writer properties for a file with this schema, or the option that does not fit.
    pub(crate) fn properties(&self, schema: &Schema) -> Result<WriterProperties, String> {
        let leaves = leaves(schema);
        let mut sorting = Vec::new();
        for name in &self.sorted_by {
            let Some(at) = leaves.iter().position(|leaf| leaf.len() == 1 && leaf[0] == *name) else {
                return Err(format!("sorted by `{name}`, which is not a column"));
            };
            sorting.push(SortingColumn { column_idx: at as i32, descending: false, nulls_first: false });
        }
        let compression = match self.codec {
            Codec::Zstd => Compression::ZSTD(ZstdLevel::default()),
            Codec::Snappy => Compression::SNAPPY,
        };
        let page_rows = self.page_rows.max(1);
        let mut builder = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(self.row_group_rows.max(1)))
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size((page_rows / 4).max(1))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns((!sorting.is_empty()).then_some(sorting));
        for leaf in leaves {
            let column = leaf[0].clone();
            let path = ColumnPath::new(leaf);
            if self.without_dictionary.contains(&column) {
                builder = builder.set_column_dictionary_enabled(path.clone(), false);
            }
            if self.bloom_filters.contains(&column) {
                builder = builder
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_max_ndv(path, self.row_group_rows.max(1) as u64);
            }
        }
        if let Some(name) = self.bloom_filters.iter().find(|name| schema.field_with_name(name).is_err()) {
            return Err(format!("a bloom filter for `{name}`, which is not a column"));
        }
        Ok(builder.build())
    }
}

/// The paths of a file's leaf columns, in its order. The names inside lists are those that the writer uses.
fn leaves(schema: &Schema) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for field in schema.fields() {
        descend(vec![field.name().clone()], field.data_type(), &mut found);
    }
    found
}

fn descend(path: Vec<String>, data_type: &DataType, found: &mut Vec<Vec<String>>) {
    let below = |parts: &[&str]| path.iter().cloned().chain(parts.iter().map(ToString::to_string)).collect();
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            descend(below(&["list", item.name()]), item.data_type(), found);
        }
        DataType::Struct(fields) => {
            for field in fields {
                descend(below(&[field.name()]), field.data_type(), found);
            }
        }
        DataType::Map(entries, _) => descend(below(&[entries.name()]), entries.data_type(), found),
        _ => found.push(path),
    }
}
