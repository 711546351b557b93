//! Filters the table rows of a frequent key once, instead of for each probe row of an index join.
//!
//! Without this, a join by a key that half the table has would evaluate the filter for every pair. Each table row is
//! evaluated and kept at most once, and the results count towards the query's memory.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::filter::Filter;
use super::gather::gather;
use crate::hot::{Entry, HotTable, KeyIndex};

/// A key is frequent if it has at least this many rows.
const FREQUENT: u32 = 256;
/// Rows that are evaluated at a time, and the number of such batches between yields to other tasks.
const TOGETHER: u32 = 8_192;
const BATCHES_AT_ONCE: u32 = 4;

/// The rows of frequent keys that satisfy the filter, by the first row of the key's entry.
#[derive(Debug)]
pub(super) struct Passing {
    rows: HashMap<u32, Arc<[u32]>>,
    memory: MemoryReservation,
}

impl Passing {
    pub(super) fn new(memory: MemoryReservation) -> Self {
        Self { rows: HashMap::new(), memory }
    }

    /// The rows of an entry that satisfy the filter; `None` if they were not evaluated.
    pub(super) fn of(&self, entry: Entry) -> Option<&Arc<[u32]>> {
        if entry.count < FREQUENT { None } else { self.rows.get(&entry.first) }
    }

    /// Evaluates the filter on an entry's rows, if its key is frequent and there is memory for the result.
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
