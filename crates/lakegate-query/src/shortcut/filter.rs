//! The predicate of a table in a shortcut: its policy and what else is asked of its own columns.

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
    /// By their places in the table.
    pub(super) columns: Arc<[usize]>,
    pub(super) schema: SchemaRef,
    pub(super) predicate: Arc<dyn PhysicalExpr>,
}

/// Which rows of a batch are wanted.
pub(super) enum Wanted {
    All,
    /// So many from this one on.
    Run(usize, usize),
    Some(FilterPredicate),
    None,
}

impl Filter {
    /// The same with the values in their places.
    pub(super) fn filled(&self, values: &[ScalarValue]) -> Result<Self> {
        Ok(Self { predicate: param::filled(&self.predicate, &self.schema, values)?, ..self.clone() })
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds::of(&self.predicate, &self.schema, &self.columns)
    }

    /// For which rows it is true.
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

/// A batch of so many rows, also of no columns.
pub(super) fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

impl Wanted {
    /// The rows for which a mask without NULLs is true.
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
        // What lies together is taken as it lies.
        match bits.slice(first, count).count_set_bits() == count {
            true => Self::Run(first, count),
            false => Self::Some(FilterBuilder::new(mask).optimize().build()),
        }
    }

    /// How many rows of so many.
    pub(super) fn count(&self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Run(_, count) => *count,
            Self::Some(predicate) => predicate.count(),
            Self::None => 0,
        }
    }

    /// These rows of an array.
    pub(super) fn take(&self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::All => Arc::clone(array),
            Self::Run(first, count) => array.slice(*first, *count),
            Self::Some(predicate) => predicate.filter(array)?,
            Self::None => array.slice(0, 0),
        })
    }
}
