//! Hot tables: decoded columns of the lake's files in memory, kept by use under a budget, with what is known of each part.
//!
//! A file is cut into blocks of some thousand rows. A scan that knows what it looks for touches only the blocks that may hold
//! it, and decodes only what is not there yet. All rows are given, as files give them: who sees which is `govern`'s business.
//! Nothing here becomes stale: what is kept is of one file at one version, and a table version names its files.

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
