//! Builds Arrow arrays from CSV cells and JSON values. Each column has the type inferred over all files, or the
//! declared one.
//!
//! A value that does not fit an inferred type fails the scan, because every value was checked when the table was
//! opened; `declared` handles values that do not fit a declared type.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListArray, NullArray, StringBuilder,
    StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::cell;
use super::json::{self, Value};
use crate::ingest;

/// An array builder for one column.
pub(super) enum Column {
    Null(usize),
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Text(StringBuilder),
    Date(Date32Builder),
    Timestamp(Int64Builder, TimeUnit),
    List(Box<Column>, Vec<usize>, Vec<bool>, FieldRef),
    Struct(Vec<(FieldRef, Column)>, Vec<bool>),
}

/// Error for a value that is not of its column's type.
#[derive(Debug)]
pub(super) struct Misfit;

impl Column {
    pub(super) fn new(data_type: &DataType) -> Result<Self, ArrowError> {
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::Float64 => Self::Number(Float64Builder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(unit, None) => Self::Timestamp(Int64Builder::new(), *unit),
            DataType::List(item) => {
                Self::List(Box::new(Self::new(item.data_type())?), Vec::new(), Vec::new(), Arc::clone(item))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| Ok((Arc::clone(field), Self::new(field.data_type())?)));
                Self::Struct(columns.collect::<Result<_, ArrowError>>()?, Vec::new())
            }
            other => return Err(ArrowError::NotYetImplemented(format!("{other} of text files"))),
        })
    }

    pub(super) fn null(&mut self) {
        match self {
            Self::Null(length) => *length += 1,
            Self::Boolean(builder) => builder.append_null(),
            Self::Integer(builder) | Self::Timestamp(builder, _) => builder.append_null(),
            Self::Number(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::List(_, lengths, valid, _) => {
                lengths.push(0);
                valid.push(false);
            }
            Self::Struct(columns, valid) => {
                columns.iter_mut().for_each(|(_, column)| column.null());
                valid.push(false);
            }
        }
    }

    /// Appends a CSV cell; an empty one is NULL.
    pub(super) fn cell(&mut self, text: &str) -> Result<(), Misfit> {
        if text.is_empty() {
            self.null();
            return Ok(());
        }
        match self {
            Self::Boolean(builder) => builder.append_value(cell::boolean(text).ok_or(Misfit)?),
            Self::Integer(builder) => builder.append_value(cell::integer(text).ok_or(Misfit)?),
            Self::Number(builder) => builder.append_value(cell::number(text).ok_or(Misfit)?),
            Self::Text(builder) => builder.append_value(text),
            Self::Date(builder) => builder.append_value(cell::date(text).ok_or(Misfit)?),
            Self::Timestamp(builder, unit) => {
                let time = cell::timestamp(text).and_then(|(time, _)| cell::since_1970(time, *unit));
                builder.append_value(time.ok_or(Misfit)?);
            }
            Self::Null(_) | Self::List(..) | Self::Struct(..) => return Err(Misfit),
        }
        Ok(())
    }

    /// Appends a JSON value; a missing one is NULL.
    pub(super) fn json(&mut self, raw: Option<&RawValue>) -> Result<(), Misfit> {
        let Some(raw) = raw else {
            self.null();
            return Ok(());
        };
        match (&mut *self, json::value(raw).map_err(|_| Misfit)?) {
            (_, Value::Null) => self.null(),
            (Self::Boolean(builder), Value::Boolean(value)) => builder.append_value(value),
            (Self::Integer(builder), Value::Number(text)) => builder.append_value(text.parse().map_err(|_| Misfit)?),
            (Self::Number(builder), Value::Number(text)) => builder.append_value(text.parse().map_err(|_| Misfit)?),
            (Self::Text(builder), Value::Text(text)) => builder.append_value(text),
            (Self::Text(builder), _) => builder.append_value(raw.get()),
            (Self::List(item, lengths, valid, _), Value::List(text)) => {
                let items = json::list(text).map_err(|_| Misfit)?;
                lengths.push(items.len());
                valid.push(true);
                for each in items {
                    item.json(Some(each))?;
                }
            }
            (Self::Struct(columns, valid), Value::Object(text)) => {
                let members = json::object(text).map_err(|_| Misfit)?;
                for (at, (field, column)) in columns.iter_mut().enumerate() {
                    column.json(members.get(field.name(), at))?;
                }
                valid.push(true);
            }
            _ => return Err(Misfit),
        }
        Ok(())
    }

    /// Appends a value of a declared type.
    pub(super) fn declared(&mut self, value: Option<ingest::Value>) -> Result<(), Misfit> {
        match (&mut *self, value) {
            (_, None) => self.null(),
            (Self::Boolean(builder), Some(ingest::Value::Boolean(value))) => builder.append_value(value),
            (Self::Integer(builder), Some(ingest::Value::Integer(value))) => builder.append_value(value),
            (Self::Number(builder), Some(ingest::Value::Number(value))) => builder.append_value(value),
            (Self::Text(builder), Some(ingest::Value::Text(value))) => builder.append_value(value),
            (Self::Date(builder), Some(ingest::Value::Date(value))) => builder.append_value(value),
            (Self::Timestamp(builder, TimeUnit::Microsecond), Some(ingest::Value::Timestamp(value))) => {
                builder.append_value(value);
            }
            _ => return Err(Misfit),
        }
        Ok(())
    }

    /// Returns the array and empties the builder.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Null(length) => Arc::new(NullArray::new(std::mem::take(length))),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder, unit) => cast(&builder.finish(), &DataType::Timestamp(*unit, None))?,
            Self::List(item, lengths, valid, field) => {
                let offsets = OffsetBuffer::from_lengths(lengths.drain(..));
                let nulls = NullBuffer::from(std::mem::take(valid));
                Arc::new(ListArray::try_new(Arc::clone(field), offsets, item.finish()?, Some(nulls))?)
            }
            Self::Struct(columns, valid) => {
                let fields = columns.iter().map(|(field, _)| Arc::clone(field)).collect::<Vec<_>>();
                let arrays = columns.iter_mut().map(|(_, column)| column.finish()).collect::<Result<Vec<_>, _>>()?;
                let nulls = NullBuffer::from(std::mem::take(valid));
                Arc::new(StructArray::try_new(fields.into(), arrays, Some(nulls))?)
            }
        })
    }
}

/// A nullable field of the Arrow type for a declared type.
pub(super) fn declared_field(name: &str, kind: lakegate_core::project::ingest::PlainKind) -> Field {
    use lakegate_core::project::ingest::PlainKind;
    let data_type = match kind {
        PlainKind::String => DataType::Utf8,
        PlainKind::Integer => DataType::Int64,
        PlainKind::Number => DataType::Float64,
        PlainKind::Boolean => DataType::Boolean,
        PlainKind::Date => DataType::Date32,
        PlainKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    };
    Field::new(name, data_type, true)
}
