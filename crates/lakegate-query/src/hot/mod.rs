//! Resident tables: a block cache of decoded columns under a memory budget, with min/max statistics of each block.
//!
//! A file is split into blocks of some thousand rows. A scan with a predicate touches only the blocks that may hold
//! matching rows, and decodes only those that are not cached. These tables return all rows of their files; `govern`
//! decides which rows a caller sees. Nothing here becomes stale, because a cached block belongs to one version of one
//! file and a table version lists its files.

mod blocks;
mod bounds;
mod found;
mod index;
mod load;
mod memory;
mod pack;
mod ranks;
mod runs;
mod table;
mod zeroed;
mod zone;

pub(crate) use blocks::BlockAt;
pub(crate) use bounds::Bounds;
pub(crate) use found::Entry;
pub(crate) use index::{KeyIndex, Keys, is_indexable};
pub(crate) use memory::HotMemory;
pub(crate) use table::{Heat, HotTable};
