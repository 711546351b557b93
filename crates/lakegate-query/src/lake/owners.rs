//! Whose a row is when its table does not say: looked up once in the parent's copy, and kept beside the row's own columns.
//!
//! This is how a table whose rows are governed through a parent (`order` through `trackcode`) is pruned like the parent:
//! the owner stands in the row, and the rows of one owner are found without a join.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::Result;

/// The name of the owner's column. A query can not name it: the scan below the barrier has it, nothing above.
pub(crate) const OWNER_COLUMN: &str = "__lakegate_owner";

/// Owners by the keys of a parent table.
pub(crate) struct Owners {
    converter: RowConverter,
    /// Batch and row of the owner.
    places: HashMap<OwnedRow, (usize, usize)>,
    /// The owner columns of the parent's batches, and one NULL at the end.
    owners: Vec<ArrayRef>,
}

impl Owners {
    /// Reads keys and owners of a parent. `None` when a key has two different owners, or a type that is not compared
    /// exactly: then rows can not be said to be one owner's.
    pub(crate) fn of(batches: &[RecordBatch], key: usize, owner: usize) -> Result<Option<Self>> {
        let Some(first) = batches.first() else { return Ok(None) };
        let (key_type, owner_type) = (first.column(key).data_type(), first.column(owner).data_type());
        if !is_exact(key_type) || !is_exact(owner_type) {
            return Ok(None);
        }
        let converter = RowConverter::new(vec![SortField::new(key_type.clone())])?;
        let owner_rows = RowConverter::new(vec![SortField::new(owner_type.clone())])?;
        let mut owners = Self { converter, places: HashMap::new(), owners: Vec::new() };
        for (at, batch) in batches.iter().enumerate() {
            let (keys, column) = (batch.column(key), batch.column(owner));
            let rows = owners.converter.convert_columns(std::slice::from_ref(keys))?;
            for row in 0..batch.num_rows() {
                // A key without an owner is nobody's, as if the parent did not have it.
                if keys.is_null(row) || column.is_null(row) {
                    continue;
                }
                if let Some((other, other_row)) = owners.places.insert(rows.row(row).owned(), (at, row)) {
                    let same = owner_rows.convert_columns(&[column.slice(row, 1)])?.row(0)
                        == owner_rows.convert_columns(&[batches[other].column(owner).slice(other_row, 1)])?.row(0);
                    if !same {
                        return Ok(None);
                    }
                }
            }
            owners.owners.push(Arc::clone(column));
        }
        owners.owners.push(new_null_array(owner_type, 1));
        Ok(Some(owners))
    }

    /// The owners of rows by their foreign keys; NULL where there is none. `None` when the keys are of another type.
    pub(crate) fn of_rows(&self, foreign_keys: &ArrayRef, key_type: &DataType) -> Result<Option<ArrayRef>> {
        if foreign_keys.data_type() != key_type {
            return Ok(None);
        }
        let rows = self.converter.convert_columns(std::slice::from_ref(foreign_keys))?;
        let nobody = (self.owners.len() - 1, 0);
        let place = |row: usize| match foreign_keys.is_null(row) {
            true => nobody,
            false => self.places.get(&rows.row(row).owned()).copied().unwrap_or(nobody),
        };
        let places = (0..foreign_keys.len()).map(place).collect::<Vec<_>>();
        let arrays = self.owners.iter().map(AsRef::as_ref).collect::<Vec<_>>();
        Ok(Some(interleave(&arrays, &places)?))
    }

    /// The column that holds the owners.
    pub(crate) fn field(&self) -> Field {
        let data_type = self.owners.first().map_or(DataType::Null, |owners| owners.data_type().clone());
        Field::new(OWNER_COLUMN, data_type, true)
    }
}

/// Types whose equality is that of their bytes.
fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Date32 | DataType::Boolean
        )
}
