//! Which rows of a frequent key fulfil the filter of a looked-up table, found out once and not for each row that asks.
//!
//! Without it a join by a key that half the table has would evaluate the filter for every pair. What is kept is bounded by the
//! rows of the table, each of which is evaluated once at most, and comes out of the query's memory.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::filter::Filter;
use super::gather::gather;
use crate::hot::{Entry, HotTable, KeyIndex};

/// From so many rows on a key is frequent.
const FREQUENT: u32 = 256;
/// How many rows are evaluated together, and after how many of these others have a turn.
const TOGETHER: u32 = 8_192;
const BATCHES_AT_ONCE: u32 = 4;

/// The rows of frequent keys, by the entries of their keys.
#[derive(Debug)]
pub(super) struct Passing {
    rows: HashMap<u32, Arc<[u32]>>,
    memory: MemoryReservation,
}

impl Passing {
    pub(super) fn new(memory: MemoryReservation) -> Self {
        Self { rows: HashMap::new(), memory }
    }

    /// The rows of an entry that were found out to fulfil the filter; `None` where nobody looked.
    pub(super) fn of(&self, entry: Entry) -> Option<&Arc<[u32]>> {
        if entry.count < FREQUENT { None } else { self.rows.get(&entry.first) }
    }

    /// Finds out about an entry, if its key is frequent and there is memory to keep what comes of it.
    pub(super) async fn find(
        &mut self,
        table: &HotTable,
        index: &KeyIndex,
        filter: &Filter,
        entry: Entry,
    ) -> Result<()> {
        if entry.count < FREQUENT || self.rows.contains_key(&entry.first) {
            return Ok(());
        }
        if self.memory.try_grow(entry.count as usize * size_of::<u32>()).is_err() {
            return Ok(());
        }
        let (mut passing, mut some) = (Vec::new(), Vec::new());
        for (at, skip) in (0..entry.count).step_by(TOGETHER as usize).enumerate() {
            some.clear();
            index.add_rows(entry, skip, TOGETHER.min(entry.count - skip), &mut some);
            let arrays = gather(table, index, &some, &filter.columns).await?;
            let mask = filter.mask(arrays, some.len())?;
            passing.extend(mask.values().set_indices().map(|at| some[at]));
            if at as u32 % BATCHES_AT_ONCE == BATCHES_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        self.rows.insert(entry.first, passing.into());
        Ok(())
    }
}
