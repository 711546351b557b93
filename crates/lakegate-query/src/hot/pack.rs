//! Arena: copies arrays that were decoded together into one allocation that holds nothing else.
//!
//! Decoded arrays are otherwise allocated among the short-lived memory of queries. Evicted arrays then leave holes
//! beside those that stay, and the process keeps the memory of both. A large arena is a memory mapping of its own, so
//! the system gets it back when the arena is dropped.

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array, new_empty_array};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use datafusion::arrow::compute::concat;
use datafusion::common::{Result, internal_datafusion_err};
use memmap2::MmapMut;

/// The alignment of each buffer, as in arrow.
const ALIGNMENT: usize = 64;
/// The approximate limit of mappings: the system allows a process some ten thousand, and other code needs some too.
const MOST_MAPPINGS: usize = 1 << 14;
/// A smaller arena never becomes a mapping.
const LEAST_MAPPING: usize = 16 << 10;

/// The size in bytes from which an arena becomes a mapping, if the cache holds `budget` bytes in all.
pub(super) fn least_mapping(budget: usize) -> usize {
    (budget / MOST_MAPPINGS).max(LEAST_MAPPING)
}

/// Copies the arrays into one arena. Returns the copies and the size of the arena in bytes.
pub(super) fn packed(arrays: &[ArrayRef], least_mapping: usize) -> Result<(Vec<ArrayRef>, usize)> {
    let datas = arrays.iter().map(|array| {
        let data = array.to_data();
        Ok(if is_whole(&data) { data } else { compact(array)?.to_data() })
    });
    let datas = datas.collect::<Result<Vec<_>>>()?;
    let mut buffers = Vec::new();
    datas.iter().for_each(|data| gather(data, &mut buffers));
    let size = buffers.iter().map(|buffer| buffer.len().next_multiple_of(ALIGNMENT)).sum::<usize>();
    let piece = copied(&buffers, size, least_mapping);
    let mut at = 0;
    let slices = buffers.iter().map(|buffer| {
        let slice = piece.slice(at..at + buffer.len());
        at += buffer.len().next_multiple_of(ALIGNMENT);
        // Each buffer has its own length, so that arrow does not count the whole arena as the size of an array.
        if slice.is_empty() { Buffer::default() } else { Buffer::from(slice) }
    });
    let mut slices = slices.collect::<Vec<_>>().into_iter();
    let arrays = datas.iter().map(|data| Ok(make_array(rebuilt(data, &mut slices)?)));
    Ok((arrays.collect::<Result<_>>()?, size))
}

/// Whether the array is no slice of a larger one.
fn is_whole(data: &ArrayData) -> bool {
    data.offset() == 0 && data.child_data().iter().all(is_whole)
}

/// Copies a slice of an array into an array of its own.
pub(super) fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    let empty = new_empty_array(array.data_type());
    Ok(concat(&[array.as_ref(), empty.as_ref()])?)
}

/// Appends the buffers of an array, in the order that [`rebuilt`] expects.
fn gather(data: &ArrayData, to: &mut Vec<Buffer>) {
    if let Some(nulls) = data.nulls() {
        to.push(nulls.inner().sliced());
    }
    to.extend(data.buffers().iter().cloned());
    data.child_data().iter().for_each(|child| gather(child, to));
}

fn rebuilt(data: &ArrayData, from: &mut impl Iterator<Item = Buffer>) -> Result<ArrayData> {
    let mut next = || from.next().ok_or_else(|| internal_datafusion_err!("a buffer was not copied"));
    let nulls = match data.nulls() {
        Some(_) => Some(NullBuffer::new(BooleanBuffer::new(next()?, 0, data.len()))),
        None => None,
    };
    let buffers = data.buffers().iter().map(|_| next()).collect::<Result<Vec<_>>>()?;
    let children = data.child_data().iter().map(|child| rebuilt(child, from)).collect::<Result<Vec<_>>>()?;
    let builder = ArrayData::builder(data.data_type().clone()).len(data.len());
    Ok(builder.nulls(nulls).buffers(buffers).child_data(children).build()?)
}

/// Copies the buffers one after the other, each at an aligned offset.
fn copied(buffers: &[Buffer], size: usize, least_mapping: usize) -> Bytes {
    let fill = |memory: &mut [u8]| {
        let mut at = 0;
        for buffer in buffers {
            memory[at..at + buffer.len()].copy_from_slice(buffer);
            at += buffer.len().next_multiple_of(ALIGNMENT);
        }
    };
    // If the system refuses a mapping, falls back to ordinary memory.
    if size >= least_mapping
        && let Ok(mut mapping) = MmapMut::map_anon(size)
    {
        fill(&mut mapping);
        return Bytes::from_owner(mapping);
    }
    let mut memory = MutableBuffer::from_len_zeroed(size);
    fill(&mut memory);
    Bytes::from_owner(Owned(memory))
}

/// Memory aligned to [`ALIGNMENT`].
struct Owned(MutableBuffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use datafusion::arrow::array::{
        BooleanArray, Decimal128Array, Int64Array, ListArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    };
    use datafusion::arrow::datatypes::Int32Type;

    fn arrays(rows: usize) -> Vec<ArrayRef> {
        let number = |row: usize| (!row.is_multiple_of(3)).then_some(row as i64);
        let text = |row: usize| (!row.is_multiple_of(5)).then(|| "long enough for a buffer ".repeat(row % 3));
        let numbers: ArrayRef = Arc::new((0..rows).map(number).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new((0..rows).map(text).collect::<StringViewArray>());
        let lists = (0..rows).map(|row| Some(vec![Some(row as i32), None]));
        vec![
            Arc::new(StructArray::try_from(vec![("a", Arc::clone(&numbers)), ("b", Arc::clone(&texts))]).unwrap()),
            numbers,
            texts,
            Arc::new((0..rows).map(|row| (row % 7 != 0).then_some(row % 2 == 0)).collect::<BooleanArray>()),
            Arc::new((0..rows).map(|row| Some(row as i64)).collect::<TimestampMicrosecondArray>()),
            Arc::new((0..rows).map(|row| Some(row as i128)).collect::<Decimal128Array>()),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
            Arc::new(datafusion::arrow::array::NullArray::new(rows)),
        ]
    }

    #[test]
    fn arrays_are_the_same_and_count_for_themselves() {
        for rows in [0, 1, 100, 5_000] {
            let before = arrays(rows);
            let (after, size) = packed(&before, LEAST_MAPPING).unwrap();
            assert_eq!(before, after);
            let taken = after.iter().map(|array| array.get_buffer_memory_size()).sum::<usize>();
            assert!(taken <= size, "{taken} of {size}");
        }
    }

    #[test]
    fn a_part_of_an_array_is_that_part() {
        let part = |array: &ArrayRef| array.slice(3, 40);
        let before = arrays(100).iter().map(part).collect::<Vec<_>>();
        assert_eq!(packed(&before, LEAST_MAPPING).unwrap().0, before);
    }
}
