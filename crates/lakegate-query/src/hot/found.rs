//! Maps each key to its row numbers, in one of three index layouts. The keys of the column decide which layout fits.

use datafusion::arrow::array::Array;

use super::index::Keys;
use super::ranks::Ranks;

/// The rows of each key.
#[derive(Debug)]
pub(super) enum Found {
    /// The rows of each key are consecutive. An element of `runs`, by the key's rank, is the first row and, in its low
    /// bits, the count.
    Runs { ranks: Ranks, count_bits: u32, runs: Vec<u32> },
    /// The offset in `rows` at which the rows of a key begin, by the key's rank.
    Dense { ranks: Ranks, offsets: Vec<u32>, rows: Vec<u32> },
    /// Keys in ascending order, and the row of each.
    Sorted { keys: Vec<i64>, rows: Vec<u32> },
}

/// The rows of one key: `count` rows from `first` on. [`Found`] interprets `first`; no two keys share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Found {
    /// The entries of `keys`, in their order.
    pub(super) fn entries(&self, keys: &Keys) -> Vec<Entry> {
        match self {
            // No lookup depends on the one before it, so the CPU overlaps their cache misses.
            Self::Runs { ranks, count_bits, runs } => {
                let mask = count_mask(*count_bits);
                keys.map(|key| match ranks.get(key) {
                    Some(at) => Entry { first: runs[at].unbounded_shr(*count_bits), count: runs[at] & mask },
                    None => Entry::default(),
                })
            }
            Self::Dense { ranks, offsets, .. } => keys.map(|key| match ranks.get(key) {
                Some(at) => Entry { first: offsets[at], count: offsets[at + 1] - offsets[at] },
                None => Entry::default(),
            }),
            Self::Sorted { keys: known, .. } => keys.map(|key| {
                let first = known.partition_point(|other| *other < key);
                // A binary search, because half of all rows may have one key, and as many lookups may ask for it.
                let count = known[first..].partition_point(|other| *other == key);
                // There are fewer than 2^32 rows.
                Entry { first: first as u32, count: count as u32 }
            }),
        }
    }

    /// Appends `count` rows of an entry to `to`, skipping the first `skip`.
    pub(super) fn add_rows(&self, entry: Entry, skip: u32, count: u32, to: &mut Vec<u32>) {
        let first = entry.first + skip;
        match self {
            Self::Runs { .. } => to.extend(first..first + count),
            Self::Dense { rows, .. } | Self::Sorted { rows, .. } => {
                to.extend_from_slice(&rows[first as usize..(first + count) as usize]);
            }
        }
    }

    /// Bytes held by the layout.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Runs { ranks, runs, .. } => ranks.bytes() + runs.capacity() * 4,
            Self::Dense { ranks, offsets, rows } => ranks.bytes() + (offsets.capacity() + rows.capacity()) * 4,
            Self::Sorted { keys, rows } => keys.capacity() * 8 + rows.capacity() * 4,
        }
    }
}

impl Keys {
    fn map(&self, entry: impl Fn(i64) -> Entry) -> Vec<Entry> {
        let numbers = self.numbers();
        match numbers.null_count() {
            0 => numbers.values().iter().map(|key| entry(*key)).collect(),
            _ => numbers.iter().map(|key| key.map_or(Entry::default(), &entry)).collect(),
        }
    }
}

/// The number of bits of a `u32` that a row number below `rows` leaves free for a count.
pub(super) fn count_bits(rows: usize) -> u32 {
    u32::try_from(rows).map_or(0, u32::leading_zeros)
}

/// The mask of the low bits that hold the count of a run.
pub(super) fn count_mask(count_bits: u32) -> u32 {
    1_u32.unbounded_shl(count_bits).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    fn rows(found: &Found, key: Option<i64>) -> Vec<u32> {
        let keys = Keys::of(&(Arc::new(Int64Array::from(vec![key])) as ArrayRef)).unwrap();
        let [entry] = found.entries(&keys)[..] else { panic!("one entry a key") };
        let mut rows = Vec::new();
        found.add_rows(entry, 0, entry.count, &mut rows);
        rows
    }

    #[test]
    fn all_forms_give_the_rows_of_a_key_and_none_of_no_key() {
        // The keys start at -1: key -1 has rows 0 and 1, key 0 has none, key 1 has row 2.
        let count_bits = count_bits(3);
        let ranks = || Ranks::of(-1, &[2, 0, 1]);
        let forms = [
            Found::Runs { ranks: ranks(), count_bits, runs: vec![2, 2 << count_bits | 1] },
            Found::Dense { ranks: ranks(), offsets: vec![0, 2, 3], rows: vec![0, 1, 2] },
            Found::Sorted { keys: vec![-1, -1, 1], rows: vec![0, 1, 2] },
        ];
        for found in forms {
            assert_eq!(rows(&found, Some(-1)), [0, 1], "{found:?}");
            assert_eq!(rows(&found, Some(1)), [2], "{found:?}");
            for none in [Some(0), Some(2), Some(-2), Some(i64::MIN), Some(i64::MAX), None] {
                assert_eq!(rows(&found, none), [0; 0], "{found:?} {none:?}");
            }
        }
    }

    #[test]
    fn a_count_gets_the_bits_that_a_row_leaves() {
        assert_eq!(count_bits(0), 32);
        assert_eq!(count_bits(1), 31);
        assert_eq!(count_bits(13_000_000), 8);
        assert_eq!(count_bits(u32::MAX as usize), 0);
        assert_eq!(count_bits(usize::MAX), 0);
    }
}
