//! Converts a file's column to the table's type where a cast is not enough: finds struct fields by id or physical name,
//! fills missing fields with NULL and widens nested values.
//!
//! `mapping` decides which column it is and whether it fits.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::parquet::errors::ParquetError;
use datafusion::physical_expr::PhysicalExpr;

/// The conversion of a column's values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Conversion {
    /// A cast to the table's type, or nothing when the types are equal.
    Cast,
    /// Per field of the table's struct: its position in the file's struct and its conversion; `None` when the file
    /// lacks it.
    Struct(Vec<Option<(usize, Conversion)>>),
    /// The conversion of every item.
    List(Box<Conversion>),
    /// The conversions of keys and values.
    Map(Box<Conversion>, Box<Conversion>),
}

impl Conversion {
    /// Whether an array that already has the table's type stays unchanged.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Cast => true,
            Self::Struct(places) => places.iter().enumerate().all(|(at, place)| {
                place.as_ref().is_some_and(|(place, conversion)| *place == at && conversion.changes_nothing())
            }),
            Self::List(item) => item.changes_nothing(),
            Self::Map(key, value) => key.changes_nothing() && value.changes_nothing(),
        }
    }

    /// Converts an array to the table's type.
    fn apply(&self, array: &ArrayRef, target: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
        let another = || ArrowError::SchemaError("a column is not of the type that was found for it".to_owned());
        match (self, target) {
            (Self::Cast, target) if array.data_type() == target => Ok(Arc::clone(array)),
            (Self::Cast, target) => {
                cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
            }
            (Self::Struct(places), DataType::Struct(fields)) if places.len() == fields.len() => {
                let from = array.as_struct_opt().ok_or_else(another)?;
                let columns = places.iter().zip(fields).map(|(place, field)| match place {
                    None => Ok(new_null_array(field.data_type(), from.len())),
                    Some((place, conversion)) => {
                        let column = from.columns().get(*place).ok_or_else(another)?;
                        conversion.apply(column, field.data_type())
                    }
                });
                let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
                let converted =
                    StructArray::try_new_with_length(fields.clone(), columns, from.nulls().cloned(), from.len());
                Ok(Arc::new(converted?))
            }
            (Self::List(item), DataType::List(field)) => {
                let from = array.as_list_opt::<i32>().ok_or_else(another)?;
                let items = item.apply(from.values(), field.data_type())?;
                let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, nulls)?))
            }
            (Self::Map(key, value), DataType::Map(entries, is_sorted)) => {
                let from = array.as_map_opt().ok_or_else(another)?;
                let DataType::Struct(fields) = entries.data_type() else { return Err(another()) };
                let [of_key, of_value] = fields.as_ref() else { return Err(another()) };
                let columns = vec![
                    key.apply(from.keys(), of_key.data_type())?,
                    value.apply(from.values(), of_value.data_type())?,
                ];
                let pairs = StructArray::try_new(fields.clone(), columns, from.entries().nulls().cloned())?;
                let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
                Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *is_sorted)?))
            }
            _ => Err(another()),
        }
    }
}

/// A file's column, converted to the table's field.
#[derive(Debug, Clone)]
pub(super) struct Converted {
    column: Arc<dyn PhysicalExpr>,
    conversion: Arc<Conversion>,
    field: FieldRef,
}

impl Converted {
    pub(super) fn new(column: Arc<dyn PhysicalExpr>, conversion: Arc<Conversion>, field: FieldRef) -> Self {
        Self { column, conversion, field }
    }
}

// Not derived, because a derive does not work with the trait object.
impl PartialEq for Converted {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.conversion == other.conversion && self.field == other.field
    }
}

impl Eq for Converted {}

impl Hash for Converted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.conversion.hash(state);
        self.field.hash(state);
    }
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "converted({})", self.column)
    }
}

impl PhysicalExpr for Converted {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn return_field(&self, _schema: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let converted = self.conversion.apply(&array, self.field.data_type());
        // Reported as a fault of the file, because the query is not to blame.
        let broken = |error: ArrowError| {
            let text = format!("column `{}` holds a value that is not of its type: {error}", self.field.name());
            DataFusionError::ParquetError(Box::new(ParquetError::General(text)))
        };
        Ok(ColumnarValue::Array(converted.map_err(broken)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(column), true) => Ok(Arc::new(Self { column, ..self.as_ref().clone() })),
            _ => internal_err!("a converted column is one"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}
