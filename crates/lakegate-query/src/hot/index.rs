//! Where the rows with a key are: built once for a column of a table version, so that a join asks and does not hash a table.

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

/// How many blocks are read at once, and how often that at one time.
const BLOCKS_AT_ONCE: usize = 128;
const AHEAD: usize = 3;
/// What an index takes for a row at most, in bytes, beside what it takes for gaps between keys.
const BYTES_OF_ROW: usize = 12;
/// Keys are dense where there are no more than so many times as many possible ones as rows.
const MOST_GAPS: usize = 4;

/// Whether a column of this type can have an index: where equality is that of a number.
pub(crate) fn is_indexable(data_type: &DataType) -> bool {
    is_number(data_type)
}

/// The keys of a column as numbers, with NULL where there is none.
pub(crate) struct Keys(ArrayRef);

impl Keys {
    /// Of an array of a type that [`is_indexable`].
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
    /// The number of the first row of each block, and at the end that of all rows.
    starts: Vec<u32>,
    blocks: Vec<BlockAt>,
    found: Found,
    _taken: Taken,
}

impl KeyIndex {
    /// What an index over a column takes at most, about, in bytes; `None` where it can not have one. Rounded as
    /// [`HotTable::bytes_of`].
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

    /// The rows of each key follow each other in most tables that are laid out by something that the key goes with.
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

    /// Where the rows of keys are, in the order of the keys.
    pub(crate) fn entries(&self, keys: &Keys) -> Vec<Entry> {
        self.found.entries(keys)
    }

    /// Adds so many rows of an entry, from this one of them on.
    pub(crate) fn add_rows(&self, entry: Entry, skip: u32, count: u32, to: &mut Vec<u32>) {
        self.found.add_rows(entry, skip, count, to);
    }

    /// The block of a row, by its place among the blocks, and the first row of it.
    pub(crate) fn block_of(&self, row: u32) -> usize {
        self.starts.partition_point(|start| *start <= row) - 1
    }

    /// The rows of a block.
    pub(crate) fn rows_in(&self, block: usize) -> Range<u32> {
        self.starts[block]..self.starts[block + 1]
    }

    /// Where a block is.
    pub(crate) fn block(&self, at: usize) -> BlockAt {
        self.blocks[at]
    }
}

/// The least key and how many there may be from there on, as the footers say; `None` where they are not dense, or unknown.
fn span(table: &HotTable, column: usize) -> Option<(i64, usize)> {
    let zones = table.files.iter().map(|file| file.columns[column].zone.clone());
    let zone = zones.reduce(|all, zone| all.and(&zone))?;
    let Zone::Between(Key::Number(least), Key::Number(greatest)) = zone else { return None };
    let span = usize::try_from(greatest.checked_sub(least)?).ok()?;
    (span < table.rows()?.saturating_mul(MOST_GAPS).saturating_add(1024)).then_some((least, span + 1))
}

/// The keys with the numbers of their rows, where there is a key.
fn numbered(first: u32, keys: &Int64Array) -> impl Iterator<Item = (u32, i64)> {
    (first..).zip(keys).filter_map(|(row, key)| Some((row, key?)))
}

/// Calls `note` with the number of the first row and the keys of each block, until it says that it has seen enough.
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
        // What comes next is decoded by other threads meanwhile.
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
        // Others have a turn: a large table takes a while.
        tokio::task::yield_now().await;
    }
}

/// For tests and for who looks at it.
impl std::fmt::Display for KeyIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.found {
            Found::Runs { .. } => "runs",
            Found::Dense { .. } => "dense",
            Found::Sorted { .. } => "sorted",
        })
    }
}
