//! Compacts batches before their buffers go to a caller: rebuilds every array, so that its buffers contain the rows of
//! the response and nothing else.
//!
//! A filtered or masked array keeps bytes that are not its own: between views, in dictionary values that no row uses,
//! under NULLs, and before and after a slice. Text formats never read those bytes, but Arrow writes whole buffers.

use std::sync::Arc;

use datafusion::arrow::array::UInt64Array;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    StringArray, downcast_dictionary_array, downcast_run_array, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::{interval, plain};
use crate::arrays::{copied, gather, gather_views, struct_of};
use crate::uuids;

/// Compacts the batches of one response.
#[derive(Debug)]
pub(super) struct Seal {
    schema: SchemaRef,
}

impl Seal {
    /// For rows of this schema. `mapped` may replace a type that the output format lacks.
    pub(super) fn new(schema: &Schema, mapped: impl Fn(&DataType) -> Option<DataType> + Copy) -> Self {
        let fields = schema.fields().iter().map(|field| {
            let data_type = with_leaves(&plain::data_type(field.data_type()), mapped);
            uuids::marked_as(field, Field::new(field.name(), data_type, true))
        });
        Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }
    }

    /// The schema of compacted batches: names and plain types, without metadata except for the UUID marker.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Copies the rows into new arrays.
    pub(super) fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(misfit(batch.schema().fields().len(), &self.schema));
        }
        let columns = self.schema.fields().iter().zip(batch.columns());
        let columns =
            columns.map(|(field, column)| array(column, None, field.data_type())).collect::<Result<_, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)
    }
}

/// Replaces the leaf types of a type with `mapped`.
fn with_leaves(data_type: &DataType, mapped: impl Fn(&DataType) -> Option<DataType> + Copy) -> DataType {
    let part = |field: &FieldRef| {
        let data_type = with_leaves(field.data_type(), mapped);
        Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
    };
    match data_type {
        DataType::List(item) => DataType::List(part(item)),
        DataType::LargeList(item) => DataType::LargeList(part(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(part(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(part).collect()),
        DataType::Map(entries, is_ordered) => DataType::Map(part(entries), *is_ordered),
        leaf => mapped(leaf).unwrap_or_else(|| leaf.clone()),
    }
}

/// Rebuilds an array in a plain target type. Rows that `hidden` marks become NULL.
pub(super) fn array(array: &ArrayRef, hidden: Option<&NullBuffer>, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let sealed = sealed(array, hidden, target)?;
    if sealed.data_type() == target && sealed.len() == array.len() {
        return Ok(sealed);
    }
    Err(misfit(array.data_type(), target))
}

fn misfit(got: impl std::fmt::Display, wanted: impl std::fmt::Debug) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("{got} does not fit into {wanted:?}"))
}

fn sealed(array: &ArrayRef, hidden: Option<&NullBuffer>, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let nulls = NullBuffer::union(array.nulls(), hidden);
    let built = match array.data_type() {
        DataType::Null => Some(new_null_array(target, array.len())),
        DataType::Dictionary(..) => {
            let unpacked = downcast_dictionary_array!(
                array => take(array.values(), array.keys(), None)?,
                _ => return Err(misfit(array.data_type(), target))
            );
            return sealed(&unpacked, hidden, target);
        }
        DataType::RunEndEncoded(..) => {
            let rows = (0..array.len() as u64).collect::<Vec<_>>();
            let (values, places) = downcast_run_array!(
                array => (Arc::clone(array.values()), array.get_physical_indices(&rows)?),
                _ => return Err(misfit(array.data_type(), target))
            );
            let places = UInt64Array::from_iter_values(places.into_iter().map(|place| place as u64));
            return sealed(&take(&values, &places, None)?, hidden, target);
        }
        DataType::Utf8View => text(array, nulls.as_ref()),
        DataType::BinaryView => bytes(array, nulls.as_ref()),
        DataType::Struct(_) => {
            let DataType::Struct(fields) = target else { return Err(misfit(array.data_type(), target)) };
            let columns = array.as_struct().columns();
            if columns.len() != fields.len() {
                return Err(misfit(array.data_type(), target));
            }
            let hiding = nulls.as_ref().filter(|nulls| nulls.null_count() > 0);
            let children = columns.iter().zip(fields).map(|(column, field)| sealed(column, hiding, field.data_type()));
            let nulls = hiding.map(rebuilt);
            struct_of(fields, children.collect::<Result<_, _>>()?, nulls, array.len())
        }
        DataType::Map(..) => {
            let DataType::Map(entries, is_ordered) = target else { return Err(misfit(array.data_type(), target)) };
            let map = array.as_map();
            let all: ArrayRef = Arc::new(map.entries().clone());
            match gather(&all, map.value_offsets(), nulls.as_ref()) {
                Some((kept, offsets)) => {
                    let kept = sealed(&kept, None, entries.data_type())?.as_struct().clone();
                    let map = MapArray::try_new(
                        Arc::clone(entries),
                        offsets,
                        kept,
                        nulls.as_ref().map(rebuilt),
                        *is_ordered,
                    )?;
                    Some(Arc::new(map) as ArrayRef)
                }
                None => None,
            }
        }
        DataType::List(_) => list(
            gather(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets(), nulls.as_ref()),
            nulls,
            target,
        )?,
        DataType::LargeList(_) => list(
            gather(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets(), nulls.as_ref()),
            nulls,
            target,
        )?,
        DataType::ListView(_) => {
            list(offsets::<i32>(gather_views(array.as_list_view::<i32>(), nulls.as_ref())), nulls, target)?
        }
        DataType::LargeListView(_) => {
            list(offsets::<i64>(gather_views(array.as_list_view::<i64>(), nulls.as_ref())), nulls, target)?
        }
        DataType::FixedSizeList(..) => {
            let DataType::FixedSizeList(item, size) = target else { return Err(misfit(array.data_type(), target)) };
            let hiding = nulls.as_ref().filter(|nulls| nulls.null_count() > 0);
            let each = usize::try_from(*size).unwrap_or(0);
            let items = array.as_fixed_size_list();
            let hidden = hiding.map(|hiding| hiding.expand(each));
            let items = sealed(items.values(), hidden.as_ref(), item.data_type())?;
            let nulls = hiding.map(rebuilt);
            let list = FixedSizeListArray::try_new_with_length(Arc::clone(item), *size, items, nulls, array.len())?;
            Some(Arc::new(list) as ArrayRef)
        }
        DataType::Interval(_) if *target == DataType::Utf8 => {
            let is_there = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
            let texts = (0..array.len())
                .map(|row| Some(row).filter(is_there).and_then(|row| Some(interval::of(array, row)?.to_string())));
            Some(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        }
        temporal if temporal.is_temporal() && temporal != target => {
            // Timestamps outside the target range become NULL.
            cast(array, target).ok().and_then(|array| {
                let nulls = NullBuffer::union(array.nulls(), hidden);
                copied(&array, nulls.as_ref())
            })
        }
        DataType::Union(..) => None,
        _ => copied(array, nulls.as_ref()),
    };
    built.ok_or_else(|| misfit(array.data_type(), target))
}

/// Copies a null buffer, so that it starts at offset 0 and shares no bytes.
fn rebuilt(nulls: &NullBuffer) -> NullBuffer {
    nulls.iter().collect()
}

/// The offsets of lists with these lengths. `None` when the offset type is too small.
fn offsets<O: OffsetSizeTrait>(gathered: Option<(ArrayRef, Vec<usize>)>) -> Option<(ArrayRef, OffsetBuffer<O>)> {
    let (items, lengths) = gathered?;
    // List views may share items, so the sum can exceed the offset type.
    O::from_usize(lengths.iter().sum())?;
    Some((items, OffsetBuffer::from_lengths(lengths)))
}

fn list<O: OffsetSizeTrait>(
    gathered: Option<(ArrayRef, OffsetBuffer<O>)>,
    nulls: Option<NullBuffer>,
    target: &DataType,
) -> Result<Option<ArrayRef>, ArrowError> {
    let (DataType::List(item) | DataType::LargeList(item)) = target else { return Ok(None) };
    let Some((items, offsets)) = gathered else { return Ok(None) };
    let items = sealed(&items, None, item.data_type())?;
    let list = GenericListArray::<O>::try_new(Arc::clone(item), offsets, items, nulls.as_ref().map(rebuilt))?;
    Ok(Some(Arc::new(list)))
}

/// Whether the total length fits 32-bit offsets.
fn fits(lengths: impl Iterator<Item = usize>) -> bool {
    lengths.sum::<usize>() <= i32::MAX as usize
}

fn text(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<ArrayRef> {
    let views = array.as_string_view_opt()?;
    let is_there = |row: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*row));
    let values = || (0..views.len()).map(|row| Some(row).filter(is_there).map(|row| views.value(row)));
    fits(values().flatten().map(str::len)).then(|| Arc::new(values().collect::<StringArray>()) as ArrayRef)
}

fn bytes(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<ArrayRef> {
    let views = array.as_binary_view_opt()?;
    let is_there = |row: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*row));
    let values = || (0..views.len()).map(|row| Some(row).filter(is_there).map(|row| views.value(row)));
    fits(values().flatten().map(<[u8]>::len)).then(|| Arc::new(values().collect::<BinaryArray>()) as ArrayRef)
}
