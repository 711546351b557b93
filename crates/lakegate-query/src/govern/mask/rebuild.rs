//! Builds new arrays: primitive ones value by value, nested ones around their masked parts.
//!
//! Parts that are not masked may be reused, with one exception: values under the NULL of a masked struct. They are
//! dropped, so that a field that is read without its struct reveals nothing.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, DictionaryArray, FixedSizeListArray,
    GenericListArray, GenericListViewArray, MapArray, OffsetSizeTrait, PrimitiveArray, StringViewArray, UInt64Array,
    downcast_dictionary_array, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType, DataType, FieldRef};

use crate::arrays::{copied, gather, gather_views, struct_of};

/// Applies `mask` to each value that is not NULL; `None` from `mask` is NULL. Returns `None` for an array of another
/// type.
pub(super) fn primitives<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    hidden: Option<&NullBuffer>,
    mask: impl Fn(T::Native) -> Option<T::Native>,
) -> Option<ArrayRef> {
    let values = array.as_primitive_opt::<T>()?;
    let nulls = NullBuffer::union(values.nulls(), hidden);
    let is_there = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let masked = values
        .values()
        .iter()
        .enumerate()
        .map(|(row, value)| if is_there(row) { mask(*value) } else { None })
        .collect::<PrimitiveArray<T>>();
    // Restores the time zone, or the precision and scale.
    Some(Arc::new(masked.with_data_type(array.data_type().clone())))
}

/// A struct with masked fields. `mask` returns `None` for a field that stays unchanged. Returns `None` for an array of
/// another type.
pub(super) fn fields(
    array: &ArrayRef,
    hidden: Option<&NullBuffer>,
    target: &DataType,
    mask: impl Fn(&str, &ArrayRef, Option<&NullBuffer>) -> Option<ArrayRef>,
) -> Option<ArrayRef> {
    let (values, DataType::Struct(target)) = (array.as_struct_opt()?, target) else { return None };
    let nulls = NullBuffer::union(values.nulls(), hidden);
    let hiding = nulls.as_ref().filter(|nulls| nulls.null_count() > 0);
    let children = values.fields().iter().zip(values.columns()).map(|(field, column)| {
        let masked = mask(field.name(), column, hiding);
        masked.unwrap_or_else(|| match hiding {
            Some(hiding) => without_hidden(column, hiding),
            None => Arc::clone(column),
        })
    });
    struct_of(target, children.collect(), nulls, array.len())
}

/// A list with masked items, without the items that no row refers to. Returns `None` for an array of another type.
pub(super) fn items(
    array: &ArrayRef,
    hidden: Option<&NullBuffer>,
    target: &DataType,
    mask: impl Fn(&ArrayRef, Option<&NullBuffer>) -> ArrayRef,
) -> Option<ArrayRef> {
    let nulls = NullBuffer::union(array.nulls(), hidden);
    match target {
        DataType::List(item) => list::<i32>(array, nulls, item, mask),
        DataType::LargeList(item) => list::<i64>(array, nulls, item, mask),
        DataType::ListView(item) => list_view::<i32>(array, nulls, item, mask),
        DataType::LargeListView(item) => list_view::<i64>(array, nulls, item, mask),
        DataType::FixedSizeList(item, size) => {
            let values = array.as_fixed_size_list_opt()?;
            let hiding = nulls.as_ref().filter(|nulls| nulls.null_count() > 0);
            let hiding = hiding.map(|hiding| hiding.expand(usize::try_from(*size).unwrap_or(0)));
            let masked = mask(values.values(), hiding.as_ref());
            let len = array.len();
            Some(Arc::new(FixedSizeListArray::try_new_with_length(Arc::clone(item), *size, masked, nulls, len).ok()?))
        }
        _ => None,
    }
}

fn list<O: OffsetSizeTrait>(
    array: &ArrayRef,
    nulls: Option<NullBuffer>,
    item: &FieldRef,
    mask: impl Fn(&ArrayRef, Option<&NullBuffer>) -> ArrayRef,
) -> Option<ArrayRef> {
    let values = array.as_list_opt::<O>()?;
    let (items, offsets) = gather(values.values(), values.value_offsets(), nulls.as_ref())?;
    let masked = mask(&items, None);
    Some(Arc::new(GenericListArray::<O>::try_new(Arc::clone(item), offsets, masked, nulls).ok()?))
}

fn list_view<O: OffsetSizeTrait>(
    array: &ArrayRef,
    nulls: Option<NullBuffer>,
    item: &FieldRef,
    mask: impl Fn(&ArrayRef, Option<&NullBuffer>) -> ArrayRef,
) -> Option<ArrayRef> {
    let values = array.as_list_view_opt::<O>()?;
    let (items, lengths) = gather_views(values, nulls.as_ref())?;
    let (mut starts, mut sizes, mut end) = (Vec::new(), Vec::new(), 0);
    for length in lengths {
        starts.push(O::from_usize(end)?);
        sizes.push(O::from_usize(length)?);
        end += length;
    }
    let masked = mask(&items, None);
    let (starts, sizes) = (ScalarBuffer::from(starts), ScalarBuffer::from(sizes));
    let list = GenericListViewArray::<O>::try_new(Arc::clone(item), starts, sizes, masked, nulls);
    Some(Arc::new(list.ok()?))
}

/// The array with NULL in the hidden rows, and without the values that were in them.
fn without_hidden(array: &ArrayRef, hidden: &NullBuffer) -> ArrayRef {
    try_without_hidden(array, hidden).unwrap_or_else(|| new_null_array(array.data_type(), array.len()))
}

fn try_without_hidden(array: &ArrayRef, hidden: &NullBuffer) -> Option<ArrayRef> {
    let nulls = || NullBuffer::union(array.nulls(), Some(hidden));
    match array.data_type() {
        DataType::Struct(fields) => {
            let nulls = nulls()?;
            let children = array.as_struct_opt()?.columns().iter().map(|column| without_hidden(column, &nulls));
            struct_of(fields, children.collect(), Some(nulls.clone()), array.len())
        }
        DataType::Map(entries, is_ordered) => {
            let map = array.as_map_opt()?;
            let all: ArrayRef = Arc::new(map.entries().clone());
            let nulls = nulls();
            let (kept, offsets) = gather(&all, map.value_offsets(), nulls.as_ref())?;
            let kept = without_hidden(&kept, &NullBuffer::new_valid(kept.len()));
            let kept = kept.as_struct_opt()?.clone();
            Some(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, kept, nulls, *is_ordered).ok()?))
        }
        target if super::item_of(target).is_some() => items(array, Some(hidden), target, |items, hidden| {
            let all = || NullBuffer::new_valid(items.len());
            hidden.map_or_else(|| without_hidden(items, &all()), |hidden| without_hidden(items, hidden))
        }),
        DataType::Utf8View => {
            let (views, nulls) = (array.as_string_view_opt()?, nulls()?);
            let values = (0..array.len()).map(|row| nulls.is_valid(row).then(|| views.value(row)));
            Some(Arc::new(values.collect::<StringViewArray>()))
        }
        DataType::BinaryView => {
            let (views, nulls) = (array.as_binary_view_opt()?, nulls()?);
            let values = (0..array.len()).map(|row| nulls.is_valid(row).then(|| views.value(row)));
            Some(Arc::new(values.collect::<BinaryViewArray>()))
        }
        DataType::Dictionary(..) => {
            let nulls = nulls()?;
            downcast_dictionary_array!(
                array => used_values(array, &nulls),
                _ => None
            )
        }
        DataType::Union(..) | DataType::RunEndEncoded(..) => {
            // These arrays have no validity of their own, so a hidden row gets the value of a visible one.
            let other = (0..array.len()).find(|row| hidden.is_valid(*row))?;
            let rows = (0..array.len()).map(|row| if hidden.is_valid(row) { row as u64 } else { other as u64 });
            take(array, &UInt64Array::from_iter_values(rows), None).ok()
        }
        DataType::Null => Some(Arc::clone(array)),
        _ => copied(array, nulls().as_ref()),
    }
}

/// The dictionary with only its used values, in the order of their first use.
fn used_values<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>, nulls: &NullBuffer) -> Option<ArrayRef> {
    let mut renumbered = vec![None::<usize>; array.values().len()];
    let (mut used, mut keys) = (Vec::new(), Vec::with_capacity(array.len()));
    for row in 0..array.len() {
        let key = nulls.is_valid(row).then(|| array.keys().value(row).as_usize());
        let key = key.filter(|key| array.values().is_valid(*key)).map(|key| {
            *renumbered[key].get_or_insert_with(|| {
                used.push(key as u64);
                used.len() - 1
            })
        });
        keys.push(match key {
            Some(key) => Some(K::Native::from_usize(key)?),
            None => None,
        });
    }
    let values = take(array.values(), &UInt64Array::from(used), None).ok()?;
    let values = without_hidden(&values, &NullBuffer::new_valid(values.len()));
    let keys = keys.into_iter().collect::<PrimitiveArray<K>>();
    Some(Arc::new(DictionaryArray::try_new(keys, values).ok()?))
}
