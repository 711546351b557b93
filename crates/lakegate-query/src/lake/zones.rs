//! What is known of each batch of a table in memory: least and greatest values and NULLs, by which batches are skipped.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;

/// The zones of a table: one a batch.
#[derive(Debug)]
pub(crate) struct Zones {
    schema: SchemaRef,
    /// By the column's place in the schema; `None` for types without an order.
    columns: Vec<Option<Bounds>>,
    nulls: Vec<ArrayRef>,
    rows: ArrayRef,
    batches: usize,
}

#[derive(Debug)]
struct Bounds {
    min: ArrayRef,
    max: ArrayRef,
}

impl Zones {
    pub(crate) fn of(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self> {
        let mut columns = Vec::new();
        let mut nulls = Vec::new();
        for at in 0..schema.fields().len() {
            let arrays = batches.iter().map(|batch| batch.column(at)).collect::<Vec<_>>();
            columns.push(bounds(schema.field(at).data_type(), &arrays)?);
            nulls.push(Arc::new(
                arrays.iter().map(|array| Some(array.logical_null_count() as u64)).collect::<UInt64Array>(),
            ) as ArrayRef);
        }
        let rows = Arc::new(batches.iter().map(|batch| Some(batch.num_rows() as u64)).collect::<UInt64Array>());
        Ok(Self { schema: Arc::clone(schema), columns, nulls, rows, batches: batches.len() })
    }

    /// The statistics of all batches together, exact.
    pub(crate) fn statistics(&self, batches: &[RecordBatch]) -> Result<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(batches.iter().map(RecordBatch::num_rows).sum());
        for (at, bounds) in self.columns.iter().enumerate() {
            let nulls = batches.iter().map(|batch| batch.column(at).logical_null_count()).sum();
            let mut column =
                ColumnStatistics { null_count: Precision::Exact(nulls), ..ColumnStatistics::new_unknown() };
            if let Some(Bounds { min, max }) = bounds {
                column.min_value = Precision::Exact(least(min)?);
                column.max_value = Precision::Exact(greatest(max)?);
            }
            statistics.column_statistics[at] = column;
        }
        Ok(statistics)
    }

    fn place(&self, column: &Column) -> Option<usize> {
        self.schema.index_of(column.name()).ok()
    }

    fn bounds_of(&self, column: &Column) -> Option<&Bounds> {
        self.columns.get(self.place(column)?)?.as_ref()
    }
}

fn bounds(data_type: &DataType, arrays: &[&ArrayRef]) -> Result<Option<Bounds>> {
    if !has_order(data_type) {
        return Ok(None);
    }
    let each = |of: fn(&ArrayRef) -> Result<ScalarValue>| -> Result<ArrayRef> {
        let values = arrays.iter().map(|array| of(array)).collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            Ok(datafusion::arrow::array::new_empty_array(data_type))
        } else {
            ScalarValue::iter_to_array(values)
        }
    };
    Ok(Some(Bounds { min: each(least)?, max: each(greatest)? }))
}

fn least(array: &ArrayRef) -> Result<ScalarValue> {
    let mut accumulator = MinAccumulator::try_new(array.data_type())?;
    accumulator.update_batch(std::slice::from_ref(array))?;
    accumulator.evaluate()
}

fn greatest(array: &ArrayRef) -> Result<ScalarValue> {
    let mut accumulator = MaxAccumulator::try_new(array.data_type())?;
    accumulator.update_batch(std::slice::from_ref(array))?;
    accumulator.evaluate()
}

/// Floats are left out: what is least among NaN and signed zeros is not the same everywhere.
fn has_order(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        || matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Decimal128(..))
}

impl PruningStatistics for Zones {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds_of(column).map(|bounds| Arc::clone(&bounds.min))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds_of(column).map(|bounds| Arc::clone(&bounds.max))
    }

    fn num_containers(&self) -> usize {
        self.batches
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.place(column).map(|at| Arc::clone(&self.nulls[at]))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::clone(&self.rows))
    }

    fn contained(
        &self,
        _column: &Column,
        _values: &HashSet<ScalarValue>,
    ) -> Option<datafusion::arrow::array::BooleanArray> {
        None
    }
}
