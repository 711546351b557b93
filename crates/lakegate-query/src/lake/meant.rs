//! Corrects columns of Parquet files where the decoder's output differs from what the file means: a NULL parent makes
//! every child NULL, a decimal has at most the digits of its type, and floats have one zero and one NaN.
//!
//! Below a NULL parent, the decoder leaves arbitrary values in required fields, such as those of another row, and a
//! query that takes the field would see them. So the correction happens where a file's columns enter expressions over
//! its table, before anything else sees them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, LargeListArray, ListArray, MapArray, RecordBatch,
    StructArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Fields, Schema, SchemaRef,
};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::parquet::errors::ParquetError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

use super::intervals;
use crate::floats::{canonical_array, has_floats, has_part};

/// The type with every nested part nullable, except the keys and entries of maps.
pub(super) fn optional(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(optional_parts(fields)),
        DataType::List(item) => DataType::List(optional_part(item)),
        DataType::LargeList(item) => DataType::LargeList(optional_part(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(optional_part(item), *size),
        DataType::Map(entries, is_sorted) => DataType::Map(optional_entries(entries), *is_sorted),
        other => other.clone(),
    }
}

/// The schema with every nested part nullable. The nullability of the columns themselves does not change.
pub(super) fn optional_below(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| Arc::new(with_type(field, optional(field.data_type()))));
    Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone())
}

fn optional_parts(fields: &Fields) -> Fields {
    fields.iter().map(optional_part).collect()
}

fn optional_part(field: &FieldRef) -> FieldRef {
    Arc::new(with_type(field, optional(field.data_type())).with_nullable(true))
}

fn optional_entries(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else { return Arc::clone(entries) };
    let parts = fields.iter().enumerate().map(|(at, field)| match at {
        0 => Arc::new(with_type(field, optional(field.data_type()))),
        _ => optional_part(field),
    });
    Arc::new(with_type(entries, DataType::Struct(parts.collect())))
}

fn with_type(field: &Field, data_type: DataType) -> Field {
    field.clone().with_data_type(data_type)
}

/// The corrected form of a file's column that the decoder returns as `decoded`. Its type is [`optional`]`(decoded)`.
pub(super) fn meant(column: Arc<dyn PhysicalExpr>, decoded: &DataType) -> Arc<dyn PhysicalExpr> {
    of_parts(column, decoded, optional(decoded), false)
}

/// The corrected form of a column that goes into a result unchanged, with its decimals checked too. Elsewhere, such as
/// in a comparison that prunes a file, the expression must stay a plain column for the engine to understand it.
pub(super) fn meant_as_answer(column: Arc<dyn PhysicalExpr>, decoded: &DataType) -> Arc<dyn PhysicalExpr> {
    of_parts(column, decoded, optional(decoded), true)
}

fn of_parts(
    column: Arc<dyn PhysicalExpr>,
    decoded: &DataType,
    data_type: DataType,
    is_answer: bool,
) -> Arc<dyn PhysicalExpr> {
    let checks_decimals = is_answer && has_decimals(decoded);
    // A corrected float cannot prune files, but the min/max statistics of floats are not trusted anyway.
    let mends_floats = has_floats(decoded);
    if data_type == *decoded && !checks_decimals && !mends_floats {
        return column;
    }
    Arc::new(Meant { column, data_type, checks_decimals, mends_floats })
}

/// Whether values of this type need a check before they go into a result.
pub(super) fn is_looked_at(data_type: &DataType) -> bool {
    has_decimals(data_type) || has_floats(data_type)
}

/// Whether the type contains decimals.
fn has_decimals(data_type: &DataType) -> bool {
    has_part(data_type, &|part| matches!(part, DataType::Decimal128(..) | DataType::Decimal256(..)))
}

/// A corrected column of a file.
#[derive(Clone, Debug, Eq)]
struct Meant {
    column: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    checks_decimals: bool,
    mends_floats: bool,
}

impl PartialEq for Meant {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column)
            && self.data_type == other.data_type
            && self.checks_decimals == other.checks_decimals
            && self.mends_floats == other.mends_floats
    }
}

impl Hash for Meant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.data_type.hash(state);
        self.checks_decimals.hash(state);
        self.mends_floats.hash(state);
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meant({})", self.column)
    }
}

impl PhysicalExpr for Meant {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.column.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(with_type(self.column.return_field(schema)?.as_ref(), self.data_type.clone())))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        if self.checks_decimals {
            check_decimals(&array, &self.column)?;
        }
        if let Some(bytes) = array.as_fixed_size_binary_opt().filter(|_| self.data_type == intervals::INTERVAL) {
            return Ok(ColumnarValue::Array(intervals::of_bytes(bytes)?));
        }
        let array = with_nulls_of_parents(&array, None)?;
        Ok(ColumnarValue::Array(if self.mends_floats { canonical_array(&array)? } else { array }))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(column), true) => Ok(Arc::new(Self { column, ..self.as_ref().clone() })),
            _ => internal_err!("a column has no parts"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}

/// Makes every part NULL where a parent is NULL. The parts of the resulting type are nullable.
fn with_nulls_of_parents(array: &ArrayRef, above: Option<&NullBuffer>) -> Result<ArrayRef> {
    let above = above.filter(|nulls| nulls.null_count() > 0);
    let nulls = || NullBuffer::union(above, array.nulls());
    Ok(match array.data_type() {
        DataType::Struct(fields) => {
            let (nulls, of) = (nulls(), array.as_struct());
            let parts = of.columns().iter().map(|part| with_nulls_of_parents(part, nulls.as_ref()));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(optional_parts(fields), parts, nulls, array.len())?)
        }
        DataType::List(item) => {
            let of = array.as_list::<i32>();
            let values = with_nulls_of_parents(of.values(), None)?;
            Arc::new(ListArray::try_new(optional_part(item), of.offsets().clone(), values, nulls())?)
        }
        DataType::LargeList(item) => {
            let of = array.as_list::<i64>();
            let values = with_nulls_of_parents(of.values(), None)?;
            Arc::new(LargeListArray::try_new(optional_part(item), of.offsets().clone(), values, nulls())?)
        }
        DataType::FixedSizeList(item, size) => {
            let of = array.as_fixed_size_list();
            let values = with_nulls_of_parents(of.values(), None)?;
            Arc::new(FixedSizeListArray::try_new(optional_part(item), *size, values, nulls())?)
        }
        DataType::Map(entries, is_sorted) => {
            let of = array.as_map();
            let parts = of.entries().columns().iter().map(|part| with_nulls_of_parents(part, None));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let field = optional_entries(entries);
            let DataType::Struct(fields) = field.data_type() else { return internal_err!("a map without entries") };
            let entries = StructArray::try_new(fields.clone(), parts, None)?;
            Arc::new(MapArray::try_new(field, of.offsets().clone(), entries, nulls(), *is_sorted)?)
        }
        _ => match above {
            Some(above) => nullif(array, &BooleanArray::new(!above.inner(), None))?,
            None => Arc::clone(array),
        },
    })
}

/// Fails when a decimal has more digits than its type, because the result would truncate it.
fn check_decimals(array: &ArrayRef, column: &Arc<dyn PhysicalExpr>) -> Result<()> {
    match array.data_type() {
        DataType::Decimal128(precision, scale) => {
            let of = array.as_primitive::<Decimal128Type>();
            let fits = |value: i128| Decimal128Type::is_valid_decimal_precision(value, *precision);
            match of.null_count() {
                0 if of.values().iter().all(|value| fits(*value)) => Ok(()),
                0 => Err(too_long(column, *precision, *scale)),
                _ if of.iter().flatten().all(fits) => Ok(()),
                _ => Err(too_long(column, *precision, *scale)),
            }
        }
        DataType::Decimal256(precision, scale) => {
            let mut of = array.as_primitive::<Decimal256Type>().iter().flatten();
            match of.all(|value| Decimal256Type::is_valid_decimal_precision(value, *precision)) {
                true => Ok(()),
                false => Err(too_long(column, *precision, *scale)),
            }
        }
        DataType::Struct(_) => {
            let of = array.as_struct();
            // Below a NULL there is no value to check.
            of.columns().iter().try_for_each(|part| check_decimals(&with_nulls_of_parents(part, of.nulls())?, column))
        }
        DataType::List(_) => check_decimals(array.as_list::<i32>().values(), column),
        DataType::LargeList(_) => check_decimals(array.as_list::<i64>().values(), column),
        DataType::FixedSizeList(..) => check_decimals(array.as_fixed_size_list().values(), column),
        DataType::Map(..) => {
            array.as_map().entries().columns().iter().try_for_each(|part| check_decimals(part, column))
        }
        _ => Ok(()),
    }
}

fn too_long(column: &Arc<dyn PhysicalExpr>, precision: u8, scale: i8) -> DataFusionError {
    let text = format!("column {column} has a decimal of more digits than its type decimal({precision},{scale}) says");
    DataFusionError::ParquetError(Box::new(ParquetError::General(text)))
}

/// Expression adapter for files that use the table's column names: maps columns by name and corrects them.
#[derive(Debug)]
pub(super) struct ByName;

impl PhysicalExprAdapterFactory for ByName {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let of_file = optional_below(&file);
        let fields = of_file.fields().iter().map(|field| match table.field_with_name(field.name()) {
            Ok(of_table) if intervals::is_of(field.data_type(), of_table.data_type()) => {
                Arc::new(with_type(field, intervals::INTERVAL))
            }
            _ => Arc::clone(field),
        });
        let as_meant = Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), of_file.metadata().clone()));
        let named = DefaultPhysicalExprAdapterFactory.create(table, Arc::clone(&as_meant))?;
        Ok(Arc::new(NamedColumns { named, file, as_meant }))
    }
}

#[derive(Debug)]
struct NamedColumns {
    named: Arc<dyn PhysicalExprAdapter>,
    /// The columns as decoded.
    file: SchemaRef,
    /// The columns as corrected.
    as_meant: SchemaRef,
}

impl PhysicalExprAdapter for NamedColumns {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let is_answer = expr.is::<Column>();
        let rewritten = self.named.rewrite(expr)?;
        rewritten
            .transform_down(|node| {
                let Some(at) = node.downcast_ref::<Column>().map(Column::index) else {
                    return Ok(Transformed::no(node));
                };
                let (Some(decoded), Some(as_meant)) = (self.file.fields().get(at), self.as_meant.fields().get(at))
                else {
                    return internal_err!("a column that is not there");
                };
                let (decoded, as_meant) = (decoded.data_type(), as_meant.data_type());
                let column = of_parts(node, decoded, as_meant.clone(), is_answer);
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            })
            .data()
    }
}
