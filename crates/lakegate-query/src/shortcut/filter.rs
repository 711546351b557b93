//! The pushed-down predicate of a table in a prepared plan: its policy, and the query's own conditions on its columns.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{FilterBuilder, FilterPredicate, prep_null_mask_filter};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::physical_expr::PhysicalExpr;

use super::param;
use crate::hot::Bounds;

/// A predicate over some columns of a table.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The indices of the columns in the table.
    pub(super) columns: Arc<[usize]>,
    pub(super) schema: SchemaRef,
    pub(super) predicate: Arc<dyn PhysicalExpr>,
}

/// A selection of rows of a batch.
pub(super) enum Wanted {
    All,
    /// The first row and the number of consecutive rows.
    Run(usize, usize),
    Some(FilterPredicate),
    None,
}

impl Filter {
    /// A copy with the parameters bound.
    pub(super) fn filled(&self, values: &[ScalarValue]) -> Result<Self> {
        Ok(Self { predicate: param::filled(&self.predicate, &self.schema, values)?, ..self.clone() })
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds::of(&self.predicate, &self.schema, &self.columns)
    }

    /// The mask of rows that satisfy the predicate.
    pub(super) fn mask(&self, arrays: Vec<ArrayRef>, rows: usize) -> Result<BooleanArray> {
        let batch = batch(&self.schema, arrays, rows)?;
        let value = self.predicate.evaluate(&batch)?.into_array(rows)?;
        let Some(mask) = value.as_boolean_opt() else {
            return internal_err!("a filter that is neither true nor false");
        };
        Ok(match mask.nulls() {
            Some(_) => prep_null_mask_filter(mask),
            None => mask.clone(),
        })
    }
}

/// Builds a batch of `rows` rows, which may have no columns.
pub(super) fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

impl Wanted {
    /// Selects the rows for which a mask without NULLs is true.
    pub(super) fn of(mask: &BooleanArray) -> Self {
        let (count, rows) = (mask.true_count(), mask.len());
        if count == 0 {
            return Self::None;
        }
        if count == rows {
            return Self::All;
        }
        let bits = mask.values();
        let first = bits.set_indices().next().unwrap_or(0);
        // Consecutive rows are sliced instead of copied.
        match bits.slice(first, count).count_set_bits() == count {
            true => Self::Run(first, count),
            false => Self::Some(FilterBuilder::new(mask).optimize().build()),
        }
    }

    /// The number of selected rows of a batch of `rows` rows.
    pub(super) fn count(&self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Run(_, count) => *count,
            Self::Some(predicate) => predicate.count(),
            Self::None => 0,
        }
    }

    /// The selected rows of an array.
    pub(super) fn take(&self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::All => Arc::clone(array),
            Self::Run(first, count) => array.slice(*first, *count),
            Self::Some(predicate) => predicate.filter(array)?,
            Self::None => array.slice(0, 0),
        })
    }
}
