//! Rebuilds arrays so that their buffers hold only values of visible rows. Masks and the encoders use it.
//!
//! The callers decide which rows are hidden, and how nested values are treated.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, GenericListViewArray, MutableArrayData, OffsetSizeTrait, StructArray, UInt64Array, make_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::Fields;

/// Builds a struct array; `None` if the children do not match the fields.
pub(crate) fn struct_of(
    fields: &Fields,
    children: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    len: usize,
) -> Option<ArrayRef> {
    Some(Arc::new(StructArray::try_new_with_length(fields.clone(), children, nulls, len).ok()?))
}

/// The concatenated items of the rows that are not NULL, and the new offsets.
pub(crate) fn gather<O: OffsetSizeTrait>(
    items: &ArrayRef,
    offsets: &[O],
    nulls: Option<&NullBuffer>,
) -> Option<(ArrayRef, OffsetBuffer<O>)> {
    let is_there = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let (first, last) = (offsets.first()?.as_usize(), offsets.last()?.as_usize());
    let ranges = || offsets.windows(2).map(|pair| (pair[0].as_usize(), pair[1].as_usize())).enumerate();
    let lengths = ranges().map(|(row, (start, end))| if is_there(row) { end - start } else { 0 });
    // The sum does not exceed that of the old lengths, so the offsets fit.
    let gathered = OffsetBuffer::from_lengths(lengths);
    if ranges().all(|(row, (start, end))| is_there(row) || start == end) {
        return Some((items.slice(first, last - first), gathered));
    }
    let indices = ranges().filter(|(row, _)| is_there(*row)).flat_map(|(_, (start, end))| start as u64..end as u64);
    Some((take(items, &UInt64Array::from_iter_values(indices), None).ok()?, gathered))
}

/// The concatenated items of a list view array and the length of each row. Items that rows share are duplicated.
pub(crate) fn gather_views<O: OffsetSizeTrait>(
    views: &GenericListViewArray<O>,
    nulls: Option<&NullBuffer>,
) -> Option<(ArrayRef, Vec<usize>)> {
    let is_there = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let (mut indices, mut lengths) = (Vec::new(), Vec::with_capacity(views.len()));
    for row in 0..views.len() {
        let length = if is_there(row) { views.value_size(row).as_usize() } else { 0 };
        let start = views.value_offset(row).as_usize();
        lengths.push(length);
        indices.extend((start..start + length).map(|index| index as u64));
    }
    Some((take(views.values(), &UInt64Array::from(indices), None).ok()?, lengths))
}

/// Copies an array that is neither nested nor a view, without the values under its NULLs.
pub(crate) fn copied(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<ArrayRef> {
    let data = array.to_data();
    let hides = nulls.is_some_and(|nulls| nulls.null_count() > 0);
    let mut kept = MutableArrayData::new(vec![&data], hides, array.len());
    let mut end = 0;
    match nulls.filter(|_| hides) {
        Some(nulls) => {
            for (from, to) in nulls.valid_slices() {
                kept.try_extend_nulls(from - end).ok()?;
                kept.try_extend(0, from, to).ok()?;
                end = to;
            }
            kept.try_extend_nulls(array.len() - end).ok()?;
        }
        None => kept.try_extend(0, 0, array.len()).ok()?,
    }
    Some(make_array(kept.freeze()))
}
