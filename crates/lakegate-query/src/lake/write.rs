//! Writes a table into one Parquet file that prunes well. The sample lake uses it.
//!
//! The API takes plain vectors, so that callers need not depend on Arrow. To change a table that is served, use
//! `publish` instead.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;

pub use super::layout::{Codec, WriteOptions};

/// The type of a column's values. Every column is nullable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// 64-bit integers.
    Integer,
    /// 64-bit floats.
    Number,
    /// UTF-8 text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// Microseconds since 1970, without a zone.
    Timestamp,
    /// Lists of 32-bit integers.
    IntegerList,
}

/// A column to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name for queries.
    pub name: &'static str,
    /// The type of its values.
    pub kind: ColumnKind,
    /// Whether values repeat often enough for a dictionary to pay off, which a reader of one page reads whole.
    pub repeats: bool,
}

impl Column {
    /// A column with mostly distinct values.
    pub const fn new(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, repeats: false }
    }

    /// A column with few distinct values.
    pub const fn repeating(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, repeats: true }
    }
}

/// The values of one column for some rows.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnData {
    /// 64-bit integers.
    Integer(Vec<Option<i64>>),
    /// 64-bit floats.
    Number(Vec<Option<f64>>),
    /// UTF-8 text.
    Text(Vec<Option<String>>),
    /// `true` or `false`.
    Boolean(Vec<Option<bool>>),
    /// Microseconds since 1970, without a zone.
    Timestamp(Vec<Option<i64>>),
    /// Lists of 32-bit integers.
    IntegerList(Vec<Option<Vec<i32>>>),
}

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system returned an error.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The values do not match the table's columns.
    #[error("the values do not fit the table in `{}`: {reason}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        reason: String,
    },
    /// The Parquet encoder returned an error.
    #[error("cannot encode `{}`", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Writes one Parquet file. The file appears under its name only after [`TableWriter::finish`], complete and synced.
/// Until then it has a hidden temporary name; dropping the writer removes it.
#[derive(Debug)]
pub struct TableWriter {
    path: PathBuf,
    temporary: Temporary,
    schema: SchemaRef,
    columns: Vec<Column>,
    writer: ArrowWriter<BufWriter<File>>,
    rows: u64,
}

impl TableWriter {
    /// Creates a file with these columns. The folder must exist.
    pub fn create(path: &Path, columns: &[Column], options: &WriteOptions) -> Result<Self, WriteError> {
        let file_error = |source| WriteError::File { path: path.to_owned(), source };
        let fields = columns.iter().map(|column| Field::new(column.name, data_type(column.kind), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = properties(path, &schema, columns, options)?;
        let temporary = Temporary::beside(path).map_err(file_error)?;
        let file = File::create(&temporary.path).map_err(file_error)?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&schema), Some(properties))
            .map_err(|source| encode_error(path, source))?;
        Ok(Self { path: path.to_owned(), temporary, schema, columns: columns.to_vec(), writer, rows: 0 })
    }

    /// Appends rows: one vector per column, in the order of the columns, all of the same length.
    pub fn write(&mut self, data: Vec<ColumnData>) -> Result<(), WriteError> {
        let shape_error = |reason| WriteError::Shape { path: self.path.clone(), reason };
        if data.len() != self.columns.len() {
            return Err(shape_error(format!("{} columns for {}", data.len(), self.columns.len())));
        }
        if let Some((column, _)) = self.columns.iter().zip(&data).find(|(column, data)| column.kind != data.kind()) {
            return Err(shape_error(format!("values for column `{}` are not {:?}", column.name, column.kind)));
        }
        let arrays = data.into_iter().map(array).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|_| shape_error("columns of different lengths".to_owned()))?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch).map_err(|source| encode_error(&self.path, source))
    }

    /// Number of rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer, syncs the file and renames it to its final name.
    pub fn finish(self) -> Result<(), WriteError> {
        let Self { path, temporary, writer, .. } = self;
        let file_error = |source| WriteError::File { path: path.clone(), source };
        let buffered = writer.into_inner().map_err(|source| encode_error(&path, source))?;
        let file = buffered.into_inner().map_err(|error| file_error(error.into_error()))?;
        file.sync_all().map_err(file_error)?;
        fs::rename(&temporary.path, &path).map_err(file_error)
    }
}

impl ColumnData {
    /// The type of these values.
    pub fn kind(&self) -> ColumnKind {
        match self {
            ColumnData::Integer(_) => ColumnKind::Integer,
            ColumnData::Number(_) => ColumnKind::Number,
            ColumnData::Text(_) => ColumnKind::Text,
            ColumnData::Boolean(_) => ColumnKind::Boolean,
            ColumnData::Timestamp(_) => ColumnKind::Timestamp,
            ColumnData::IntegerList(_) => ColumnKind::IntegerList,
        }
    }
}

/// The hidden temporary file, removed on drop. After the rename, nothing is left to remove.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        let hidden = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        Ok(Self { path: path.with_file_name(hidden) })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // An error here has no receiver, and a hidden leftover does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

fn properties(
    path: &Path,
    schema: &Schema,
    columns: &[Column],
    options: &WriteOptions,
) -> Result<WriterProperties, WriteError> {
    let mut options = options.clone();
    let all_different = columns.iter().filter(|column| !column.repeats).map(|column| column.name.to_owned());
    options.without_dictionary.extend(all_different);
    options.properties(schema).map_err(|reason| WriteError::Shape { path: path.to_owned(), reason })
}

fn data_type(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Integer => DataType::Int64,
        ColumnKind::Number => DataType::Float64,
        ColumnKind::Text => DataType::Utf8,
        ColumnKind::Boolean => DataType::Boolean,
        ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnKind::IntegerList => DataType::new_list(DataType::Int32, true),
    }
}

fn array(data: ColumnData) -> ArrayRef {
    match data {
        ColumnData::Integer(values) => Arc::new(Int64Array::from(values)),
        ColumnData::Number(values) => Arc::new(Float64Array::from(values)),
        ColumnData::Text(values) => Arc::new(StringArray::from(values)),
        ColumnData::Boolean(values) => Arc::new(BooleanArray::from(values)),
        ColumnData::Timestamp(values) => Arc::new(TimestampMicrosecondArray::from(values)),
        ColumnData::IntegerList(values) => {
            let mut builder = ListBuilder::new(Int32Builder::new());
            for value in values {
                builder.append_option(value.map(|items| items.into_iter().map(Some)));
            }
            Arc::new(builder.finish())
        }
    }
}

fn encode_error(path: &Path, source: ParquetError) -> WriteError {
    WriteError::Encode { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    const COLUMNS: [Column; 6] = [
        Column::new("id", ColumnKind::Integer),
        Column::new("price", ColumnKind::Number),
        Column::repeating("name", ColumnKind::Text),
        Column::repeating("paid", ColumnKind::Boolean),
        Column::new("creation", ColumnKind::Timestamp),
        Column::repeating("service_ids", ColumnKind::IntegerList),
    ];

    fn rows(ids: std::ops::Range<i64>) -> Vec<ColumnData> {
        vec![
            ColumnData::Integer(ids.clone().map(Some).collect()),
            ColumnData::Number(ids.clone().map(|id| (id % 3 != 0).then_some(id as f64 / 2.0)).collect()),
            ColumnData::Text(ids.clone().map(|id| Some(format!("né\n{}", id % 5))).collect()),
            ColumnData::Boolean(ids.clone().map(|id| Some(id % 2 == 0)).collect()),
            ColumnData::Timestamp(ids.clone().map(|id| Some(id * 1_000_001)).collect()),
            ColumnData::IntegerList(ids.map(|id| (id % 4 != 0).then(|| vec![id as i32; 2])).collect()),
        ]
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut writer = TableWriter::create(&path, &COLUMNS, &WriteOptions::default()).unwrap();
        writer.write(rows(0..10)).unwrap();
        writer.write(rows(10..1_000)).unwrap();
        assert_eq!(writer.rows(), 1_000);
        writer.finish().unwrap();

        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let batches = reader.with_batch_size(2_000).build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let batch = &batches[0];
        assert_eq!(batch.num_rows(), 1_000);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(999), 999);
        assert_eq!(batch.column(1).null_count(), 334);
        assert_eq!(batch.column(2).as_string::<i32>().value(7), "né\n2");
        assert_eq!(batch.column(4).as_primitive::<TimestampMicrosecondType>().value(2), 2_000_002);
        assert_eq!(batch.column(5).as_list::<i32>().value(1).len(), 2);
        assert!(batch.column(5).is_null(0));
    }

    #[test]
    fn row_groups_pages_and_order_are_noted_for_pruning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let options = WriteOptions {
            row_group_rows: 5_000,
            sorted_by: vec!["creation".into(), "id".into()],
            ..WriteOptions::default()
        };
        let mut writer = TableWriter::create(&path, &COLUMNS, &options).unwrap();
        writer.write(rows(0..12_000)).unwrap();
        writer.finish().unwrap();

        let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let groups = file.metadata().row_groups();
        assert_eq!(groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [5_000, 5_000, 2_000]);
        let sorting = groups[0].sorting_columns().unwrap();
        assert_eq!(sorting.iter().map(|column| column.column_idx).collect::<Vec<_>>(), [4, 0]);
        for (at, column) in groups[0].columns().iter().enumerate() {
            assert!(column.statistics().is_some(), "column {at} has statistics");
            assert!(column.column_index_offset().is_some(), "column {at} has a column index");
            assert!(column.offset_index_offset().is_some(), "column {at} has an offset index");
            let dictionary = column.dictionary_page_offset().is_some();
            // Booleans never have a dictionary.
            assert_eq!(dictionary, COLUMNS[at].repeats && COLUMNS[at].kind != ColumnKind::Boolean, "column {at}");
        }
    }

    #[test]
    fn an_unfinished_file_is_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut writer = TableWriter::create(&path, &COLUMNS, &WriteOptions::default()).unwrap();
        writer.write(rows(0..10)).unwrap();
        assert!(!path.exists());
        drop(writer);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_finished_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        fs::write(&path, "old").unwrap();
        let writer = TableWriter::create(&path, &COLUMNS, &WriteOptions::default()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        writer.finish().unwrap();
        assert!(SerializedFileReader::new(File::open(&path).unwrap()).is_ok());
        assert_eq!(names(folder.path()), ["t.parquet"]);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let refused = |data: Vec<ColumnData>| {
            let mut writer = TableWriter::create(&path, &COLUMNS, &WriteOptions::default()).unwrap();
            writer.write(data).unwrap_err().to_string()
        };
        assert!(refused(rows(0..3)[..5].to_vec()).ends_with("5 columns for 6"));
        let mut swapped = rows(0..3);
        swapped.swap(0, 1);
        assert!(refused(swapped).ends_with("values for column `id` are not Integer"));
        let mut short = rows(0..3);
        short[0] = ColumnData::Integer(vec![Some(1)]);
        assert!(refused(short).ends_with("columns of different lengths"));
        let options = WriteOptions { sorted_by: vec!["day".into()], ..WriteOptions::default() };
        let error = TableWriter::create(&path, &COLUMNS, &options).unwrap_err();
        assert!(error.to_string().ends_with("sorted by `day`, which is not a column"));
    }
}
