//! Index over one column of a table version: maps a key to its rows, so joins do not build a hash table.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_err, internal_datafusion_err, internal_err};

use super::blocks::BlockAt;
use super::found::{Entry, Found, count_bits};
use super::load;
use super::memory::Taken;
use super::ranks::{Ranks, place};
use super::runs::{Runs, out_of_bounds};
use super::table::HotTable;
use super::zeroed::Zeroed;
use super::zone::{Key, Zone, is_number, numbers};

/// Blocks decoded in one task, and the number of such tasks in flight.
const BLOCKS_AT_ONCE: usize = 128;
const AHEAD: usize = 3;
/// Most bytes that an index takes for a row, without the space for gaps between keys.
const BYTES_OF_ROW: usize = 12;
/// Keys are dense if their range is at most this many times the number of rows.
const MOST_GAPS: usize = 4;

/// Whether a column of this type can be indexed: its equality must be that of a 64-bit integer.
pub(crate) fn is_indexable(data_type: &DataType) -> bool {
    is_number(data_type)
}

/// The keys of a column as numbers. A row without a key is NULL.
pub(crate) struct Keys(ArrayRef);

impl Keys {
    /// Converts an array of a type that [`is_indexable`].
    pub(crate) fn of(array: &ArrayRef) -> Result<Self> {
        match numbers(array) {
            Some(numbers) => Ok(Self(numbers)),
            None => internal_err!("keys of a type without an index"),
        }
    }

    pub(super) fn numbers(&self) -> &Int64Array {
        self.0.as_primitive()
    }
}

/// An index over one column.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    /// The number of the first row of each block; the last element is the number of all rows.
    starts: Vec<u32>,
    blocks: Vec<BlockAt>,
    found: Found,
    _taken: Taken,
}

impl KeyIndex {
    /// The approximate maximum size of an index in bytes, rounded like [`HotTable::bytes_of`]; `None` if it cannot
    /// exist.
    pub(crate) fn bytes_for(table: &HotTable, column: usize) -> Option<usize> {
        let rows = table.rows().filter(|rows| *rows < u32::MAX as usize)?;
        let bytes = match span(table, column) {
            Some((_, span)) => Ranks::bytes_for(span).saturating_add(rows.saturating_mul(2 * size_of::<u32>())),
            None => rows.saturating_mul(BYTES_OF_ROW),
        };
        bytes.checked_next_power_of_two()
    }

    /// Reads the column and builds its index.
    pub(super) async fn build(table: &Arc<HotTable>, column: usize) -> Result<Self> {
        let all = table.files.iter().enumerate().flat_map(|(at, file)| {
            (0..file.blocks.len()).map(move |block| BlockAt { file: at as u32, block: block as u32 })
        });
        let blocks = all.collect::<Vec<_>>();
        let rows = table.rows();
        if rows.is_some_and(|rows| rows >= u32::MAX as usize) {
            return exec_err!("`{}` has too many rows for an index", table.name());
        }
        let span = span(table, column);
        let (mut starts, mut found) = (Vec::with_capacity(blocks.len() + 1), None);
        if let Some((least, span)) = span {
            found = Self::runs(table, column, &blocks, least, span, &mut starts).await?;
            if found.is_none() {
                found = Some(Self::dense(table, column, &blocks, least, span, &mut starts).await?);
            }
        }
        let found = match found {
            Some(found) => found,
            None => Self::sorted(table, column, &blocks, &mut starts).await?,
        };
        let bytes = found.bytes() + starts.capacity() * 4 + blocks.capacity() * size_of::<BlockAt>();
        Ok(Self { starts, blocks, found, _taken: table.memory.take(bytes) })
    }

    /// Tries the layout of runs. It fits most tables that are sorted by a column that correlates with the key.
    async fn runs(
        table: &Arc<HotTable>,
        column: usize,
        blocks: &[BlockAt],
        least: i64,
        span: usize,
        starts: &mut Vec<u32>,
    ) -> Result<Option<Found>> {
        let count_bits = count_bits(table.rows().unwrap_or(usize::MAX));
        if count_bits == 0 {
            return Ok(None);
        }
        let (mut runs, mut in_runs) = (Runs::new(least, span, count_bits), true);
        each(table, column, blocks, starts, |first, keys| {
            in_runs = runs.add(numbered(first, keys))?;
            Ok(in_runs)
        })
        .await?;
        let runs = if in_runs { runs.all()? } else { None };
        let Some(runs) = runs else { return Ok(None) };
        let ranks = Ranks::of(least, &runs);
        let runs = ranks.of_keys(&runs);
        Ok(Some(Found::Runs { ranks, count_bits, runs }))
    }

    async fn dense(
        table: &Arc<HotTable>,
        column: usize,
        blocks: &[BlockAt],
        least: i64,
        span: usize,
        starts: &mut Vec<u32>,
    ) -> Result<Found> {
        let mut counts = Zeroed::new(span);
        each(table, column, blocks, starts, |_, keys| {
            for key in keys.iter().flatten() {
                let Some(at) = place(key, least, span) else { return out_of_bounds() };
                counts[at] += 1;
            }
            Ok(true)
        })
        .await?;
        let ranks = Ranks::of(least, &counts);
        let of_keys = ranks.of_keys(&counts);
        drop(counts);
        let mut offsets = Vec::with_capacity(of_keys.len() + 1);
        let mut count = 0;
        for of_key in of_keys {
            offsets.push(count);
            count += of_key;
        }
        let mut next = offsets.clone();
        offsets.push(count);
        let mut rows = vec![0_u32; count as usize];
        each(table, column, blocks, starts, |first, keys| {
            for (row, key) in numbered(first, keys) {
                let slot = ranks.get(key).and_then(|at| {
                    let slot = rows.get_mut(next[at] as usize)?;
                    next[at] += 1;
                    Some(slot)
                });
                let Some(slot) = slot else { return exec_err!("a column changed while it was read") };
                *slot = row;
            }
            Ok(true)
        })
        .await?;
        Ok(Found::Dense { ranks, offsets, rows })
    }

    async fn sorted(table: &Arc<HotTable>, column: usize, blocks: &[BlockAt], starts: &mut Vec<u32>) -> Result<Found> {
        let mut pairs = Vec::new();
        each(table, column, blocks, starts, |first, keys| {
            pairs.extend(numbered(first, keys).map(|(row, key)| (key, row)));
            Ok(true)
        })
        .await?;
        pairs.sort_unstable();
        let (keys, rows) = pairs.into_iter().unzip();
        Ok(Found::Sorted { keys, rows })
    }

    /// The entries of `keys`, in their order.
    pub(crate) fn entries(&self, keys: &Keys) -> Vec<Entry> {
        self.found.entries(keys)
    }

    /// Appends `count` rows of an entry to `to`, skipping the first `skip`.
    pub(crate) fn add_rows(&self, entry: Entry, skip: u32, count: u32, to: &mut Vec<u32>) {
        self.found.add_rows(entry, skip, count, to);
    }

    /// The index of the block that holds a row.
    pub(crate) fn block_of(&self, row: u32) -> usize {
        self.starts.partition_point(|start| *start <= row) - 1
    }

    /// The row numbers of a block.
    pub(crate) fn rows_in(&self, block: usize) -> Range<u32> {
        self.starts[block]..self.starts[block + 1]
    }

    /// The address of the block with this index.
    pub(crate) fn block(&self, at: usize) -> BlockAt {
        self.blocks[at]
    }
}

/// The smallest key and the size of the key range, from the footers; `None` if keys are not dense or unknown.
fn span(table: &HotTable, column: usize) -> Option<(i64, usize)> {
    let zones = table.files.iter().map(|file| file.columns[column].zone.clone());
    let zone = zones.reduce(|all, zone| all.and(&zone))?;
    let Zone::Between(Key::Number(least), Key::Number(greatest)) = zone else { return None };
    let span = usize::try_from(greatest.checked_sub(least)?).ok()?;
    (span < table.rows()?.saturating_mul(MOST_GAPS).saturating_add(1024)).then_some((least, span + 1))
}

/// The keys with the numbers of their rows, without the rows that have no key.
fn numbered(first: u32, keys: &Int64Array) -> impl Iterator<Item = (u32, i64)> {
    (first..).zip(keys).filter_map(|(row, key)| Some((row, key?)))
}

/// Calls `note` with the number of the first row and the keys of each block, until `note` returns false.
async fn each(
    table: &Arc<HotTable>,
    column: usize,
    blocks: &[BlockAt],
    starts: &mut Vec<u32>,
    mut note: impl FnMut(u32, &Int64Array) -> Result<bool>,
) -> Result<()> {
    starts.clear();
    starts.push(0);
    let mut first = 0_u32;
    let (mut waiting, mut decoding) = (blocks.chunks(BLOCKS_AT_ONCE), VecDeque::new());
    loop {
        // Other threads decode the next blocks meanwhile.
        while decoding.len() < AHEAD
            && let Some(some) = waiting.next()
        {
            let (table, some) = (Arc::clone(table), some.to_vec());
            decoding.push_back(SpawnedTask::spawn(async move { load::column(&table, &some, column).await }));
        }
        let Some(next) = decoding.pop_front() else { return Ok(()) };
        let decoded = next.join().await;
        let arrays = decoded.map_err(|error| internal_datafusion_err!("a column was not decoded: {error}"))??;
        for array in arrays {
            let keys = Keys::of(&array)?;
            let Some(end) = u32::try_from(array.len()).ok().and_then(|rows| first.checked_add(rows)) else {
                return exec_err!("`{}` has too many rows for an index", table.name());
            };
            if !note(first, keys.numbers())? {
                return Ok(());
            }
            starts.push(end);
            first = end;
        }
        // Yields to other tasks, because a large table takes long.
        tokio::task::yield_now().await;
    }
}

/// The name of the layout, for tests and diagnostics.
impl std::fmt::Display for KeyIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.found {
            Found::Runs { .. } => "runs",
            Found::Dense { .. } => "dense",
            Found::Sorted { .. } => "sorted",
        })
    }
}
