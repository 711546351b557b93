//! Finds rows with equal keys for an upsert; the last row of each key counts.
//!
//! Only the keys of the new rows are held in memory, not the rows.

use std::collections::HashMap;

use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};

use super::IngestError;

/// Approximate memory limit for keys, in bytes.
const MOST_BYTES: usize = 2 << 30;
/// Overhead of a key beyond its own bytes.
const OVERHEAD: usize = 64;

/// The last row of each key.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<String>,
    types: Vec<DataType>,
    converter: RowConverter,
    last: HashMap<Box<[u8]>, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    index: u64,
    file: u32,
    line: u64,
}

/// A row that a later row with the same key replaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Superseded {
    pub(super) file: u32,
    pub(super) line: u64,
    pub(super) by: u64,
}

impl Keys {
    pub(super) fn of(schema: &SchemaRef, columns: &[String]) -> Result<Self, IngestError> {
        let types = columns.iter().map(|column| schema.field_with_name(column).map(|field| field.data_type().clone()));
        let types = types.collect::<Result<Vec<_>, _>>();
        let types =
            types.map_err(|_| IngestError::unfit("the key names a column that is not there", "correct `key`"))?;
        if types.iter().any(DataType::is_nested) {
            return Err(IngestError::unfit("a list cannot be a key", "name other columns in `key`"));
        }
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        let converter = RowConverter::new(fields)
            .map_err(|error| IngestError::unfit(format!("the key cannot be compared: {error}"), "correct `key`"))?;
        Ok(Self { columns: columns.to_vec(), types, converter, last: HashMap::new(), bytes: 0 })
    }

    /// The key columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Adds new rows and returns the rows that they supersede. `first` is the index of the batch's first row among all
    /// new rows; `places` has the file and the line of each row.
    ///
    /// Fails when the keys exceed the memory limit.
    pub(super) fn take(
        &mut self,
        batch: &RecordBatch,
        first: u64,
        places: &[(u32, u64)],
    ) -> Result<Vec<Superseded>, IngestError> {
        let rows = self.rows(batch)?;
        let mut superseded = Vec::new();
        for (at, (row, (file, line))) in rows.iter().zip(places).enumerate() {
            let entry = Entry { index: first + at as u64, file: *file, line: *line };
            if let Some(before) = self.last.get_mut(row.as_ref()) {
                superseded.push(Superseded { file: before.file, line: before.line, by: entry.line });
                *before = entry;
                continue;
            }
            self.bytes += row.as_ref().len() + OVERHEAD;
            self.last.insert(row.as_ref().into(), entry);
        }
        if self.bytes > MOST_BYTES {
            return Err(IngestError::unfit(
                "there are too many keys for one upsert",
                "split the files over several runs",
            ));
        }
        Ok(superseded)
    }

    /// The table's rows whose keys no new row has.
    pub(super) fn without(&self, batch: &RecordBatch) -> Result<RecordBatch, IngestError> {
        let rows = self.rows(batch)?;
        let kept = rows.iter().map(|row| Some(!self.last.contains_key(row.as_ref()))).collect::<BooleanArray>();
        filtered(batch, &kept)
    }

    /// The new rows that no later row supersedes. `first` is the index of the batch's first row among all new rows.
    pub(super) fn last_of(&self, batch: &RecordBatch, first: u64) -> Result<RecordBatch, IngestError> {
        let rows = self.rows(batch)?;
        let is_last = |(at, row): (usize, datafusion::arrow::row::Row<'_>)| {
            self.last.get(row.as_ref()).is_some_and(|entry| entry.index == first + at as u64)
        };
        let kept = rows.iter().enumerate().map(is_last).map(Some).collect::<BooleanArray>();
        filtered(batch, &kept)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows, IngestError> {
        let unfit = || IngestError::unfit("the key is of another type in the table", "correct `key`");
        let column = |(name, data_type): (&String, &DataType)| -> Result<ArrayRef, IngestError> {
            let column = batch.column_by_name(name).ok_or_else(unfit)?;
            if column.data_type() == data_type { Ok(ArrayRef::clone(column)) } else { Err(unfit()) }
        };
        let columns = self.columns.iter().zip(&self.types).map(column).collect::<Result<Vec<_>, _>>()?;
        self.converter.convert_columns(&columns).map_err(|_| unfit())
    }
}

fn filtered(batch: &RecordBatch, kept: &BooleanArray) -> Result<RecordBatch, IngestError> {
    filter_record_batch(batch, kept).map_err(|error| IngestError::unfit(error.to_string(), "report this as a fault"))
}
