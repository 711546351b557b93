//! Arrays that were decoded together, put together in one piece of memory, so that nothing but them is in it.
//!
//! Decoded arrays by themselves lie among all that a query takes and gives back. Those that are let go leave holes beside those
//! that stay, and the process keeps the memory of both. A piece that is large is a mapping of its own, which the system has
//! back the moment that it is let go.

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayData, ArrayRef, make_array, new_empty_array};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use datafusion::arrow::compute::concat;
use datafusion::common::{Result, internal_datafusion_err};
use memmap2::MmapMut;

/// Each buffer begins at a multiple of this, as arrow has it.
const ALIGNMENT: usize = 64;
/// The most mappings, about: the system gives a process some ten thousand, and others need some, too.
const MOST_MAPPINGS: usize = 1 << 14;
/// A smaller piece is never a mapping of its own.
const LEAST_MAPPING: usize = 16 << 10;

/// From how many bytes on a piece is a mapping of its own, where so many bytes are kept in all.
pub(super) fn least_mapping(budget: usize) -> usize {
    (budget / MOST_MAPPINGS).max(LEAST_MAPPING)
}

/// The same arrays in a piece of memory, and its size in bytes.
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
        // Each has a length of its own: what an array takes is not counted as the whole piece.
        if slice.is_empty() { Buffer::default() } else { Buffer::from(slice) }
    });
    let mut slices = slices.collect::<Vec<_>>().into_iter();
    let arrays = datas.iter().map(|data| Ok(make_array(rebuilt(data, &mut slices)?)));
    Ok((arrays.collect::<Result<_>>()?, size))
}

/// Whether an array is all that is in its buffers.
fn is_whole(data: &ArrayData) -> bool {
    data.offset() == 0 && data.child_data().iter().all(is_whole)
}

/// The same array by itself, where it was a part of another.
pub(super) fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    let empty = new_empty_array(array.data_type());
    Ok(concat(&[array.as_ref(), empty.as_ref()])?)
}

/// The buffers of an array in the order in which [`rebuilt`] takes them.
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

/// The buffers one after the other, each at its place.
fn copied(buffers: &[Buffer], size: usize, least_mapping: usize) -> Bytes {
    let fill = |memory: &mut [u8]| {
        let mut at = 0;
        for buffer in buffers {
            memory[at..at + buffer.len()].copy_from_slice(buffer);
            at += buffer.len().next_multiple_of(ALIGNMENT);
        }
    };
    // Where the system gives no more mappings, there is other memory.
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

/// Memory that begins at a multiple of [`ALIGNMENT`].
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
