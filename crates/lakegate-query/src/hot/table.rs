//! One version of a resident table: selects the blocks that a scan needs, and fetches their columns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::execution::{SessionState, TaskContext};
use tokio::sync::OnceCell;

use super::blocks::{BlockAt, HotFile};
use super::bounds::Bounds;
use super::index::KeyIndex;
use super::load;
use super::memory::HotMemory;

/// A table version whose columns are cached by use.
#[derive(Debug)]
pub(crate) struct HotTable {
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    pub(super) files: Vec<Arc<HotFile>>,
    /// The scan that reads the table's files.
    pub(super) scan: FileScanConfig,
    pub(super) format: Arc<dyn FileFormat>,
    pub(super) session: Arc<SessionState>,
    pub(super) context: Arc<TaskContext>,
    pub(super) memory: Arc<HotMemory>,
    pub(super) is_pinned: bool,
    indexes: Arc<Indexes>,
    /// The indexed columns of the previous version.
    indexed_before: Vec<usize>,
}

/// The indexes that queries asked for, by column.
type Indexes = Mutex<HashMap<usize, Arc<OnceCell<Arc<KeyIndex>>>>>;

/// The shared parts that a resident table is built with.
pub(crate) struct Heat {
    pub(crate) memory: Arc<HotMemory>,
    /// A session without tables.
    pub(crate) session: Arc<SessionState>,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) is_pinned: bool,
}

impl HotTable {
    /// Builds a table from a scan of all its columns, the format of its files and their footers, if they have any.
    /// Keeps the cached blocks of files that `before` has in common.
    pub(crate) fn new(
        name: &str,
        scan: FileScanConfig,
        format: Arc<dyn FileFormat>,
        footers: &[Option<Arc<datafusion::parquet::file::metadata::ParquetMetaData>>],
        heat: &Heat,
        before: Option<&Self>,
    ) -> Result<Self> {
        let parts = scan.file_groups.iter().flat_map(|group| group.iter());
        let before = before.filter(|before| before.schema() == scan.file_source().table_schema().table_schema());
        let files = parts.zip(footers).map(|(part, footer)| {
            let known = before.and_then(|before| before.files.iter().find(|file| file.is_of(part)));
            match known {
                Some(file) => Ok(Arc::clone(file)),
                None => Ok(Arc::new(HotFile::of(&scan, part, footer.as_deref())?)),
            }
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let schema = Arc::clone(scan.file_source().table_schema().table_schema());
        let (memory, session, context) =
            (Arc::clone(&heat.memory), Arc::clone(&heat.session), Arc::clone(&heat.context));
        let (name, is_pinned) = (name.to_owned(), heat.is_pinned);
        let has_same_rows = |before: &&Self| {
            let is_same = files.iter().zip(&before.files).all(|(file, known)| Arc::ptr_eq(file, known));
            is_same && files.len() == before.files.len() && Arc::ptr_eq(&memory, &before.memory)
        };
        let indexes = before.filter(has_same_rows).map(|before| Arc::clone(&before.indexes)).unwrap_or_default();
        let indexed_before = before.map(Self::indexed).unwrap_or_default();
        Ok(Self { name, schema, files, scan, format, session, context, memory, is_pinned, indexes, indexed_before })
    }

    /// The number of metrics that the scan holds. It must stay 0.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> usize {
        self.scan.file_source().metrics().clone_inner().iter().count()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The schema of all columns of the table.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn memory(&self) -> &Arc<HotMemory> {
        &self.memory
    }

    /// The memory budget that all resident tables share, in bytes.
    pub(crate) fn memory_budget(&self) -> usize {
        self.memory.budget()
    }

    /// Whether each unit that must be decoded at once takes at most a quarter of the budget.
    pub(crate) fn fits(&self) -> bool {
        let most = self.memory.budget() / 4;
        self.files.iter().all(|file| file.largest <= most)
    }

    /// The approximate size of these columns over all rows, in bytes; `None` if the number of rows is unknown. Rounded,
    /// so that a choice made by this size does not depend on single rows that the caller cannot see.
    pub(crate) fn bytes_of(&self, columns: &[usize]) -> Option<usize> {
        let widths = columns.iter().map(|at| self.schema.field(*at).data_type().primitive_width().unwrap_or(48));
        self.rows()?.next_power_of_two().checked_mul(widths.sum())
    }

    /// The number of rows; `None` if the files do not record it.
    pub(crate) fn rows(&self) -> Option<usize> {
        let blocks = self.files.iter().flat_map(|file| &file.blocks);
        blocks.map(|block| block.part.map(|_| block.rows)).sum()
    }

    /// The blocks that may hold matching rows, in the order of the files.
    pub(crate) fn blocks(&self, bounds: &Bounds) -> Vec<BlockAt> {
        let mut found = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            if !bounds.may_hold(|column| &file.columns[column].zone) {
                continue;
            }
            for block in 0..file.blocks.len() {
                if bounds.may_hold(|column| file.zone(block, column)) {
                    found.push(BlockAt { file: at as u32, block: block as u32 });
                }
            }
        }
        found
    }

    /// Whether a block may hold matching rows, by the statistics known so far.
    pub(crate) fn may_hold(&self, at: BlockAt, bounds: &Bounds) -> bool {
        let file = &self.files[at.file as usize];
        bounds.may_hold(|column| file.zone(at.block as usize, column))
    }

    /// Whether all rows of a block match, by its observed statistics.
    pub(crate) fn all_hold(&self, at: BlockAt, bounds: &Bounds) -> bool {
        let file = &self.files[at.file as usize];
        bounds.all_hold(|column| file.columns[column].learnt(at.block as usize))
    }

    /// The number of rows of these blocks; a block of unknown length counts as 0.
    pub(crate) fn rows_in(&self, blocks: &[BlockAt]) -> usize {
        blocks.iter().map(|at| self.files[at.file as usize].blocks[at.block as usize].rows).sum()
    }

    /// Columns of a block; `None` unless all of them are cached.
    pub(crate) fn get(&self, at: BlockAt, columns: &[usize]) -> Option<Vec<ArrayRef>> {
        let file = &self.files[at.file as usize];
        columns.iter().map(|column| file.columns[*column].slots.get(at.block as usize)).collect()
    }

    /// Columns of blocks, decoded if needed. The blocks must be in the order of the files, and so is the result.
    pub(crate) async fn fetch(&self, blocks: &[BlockAt], columns: &[usize]) -> Result<Vec<Vec<ArrayRef>>> {
        let mut fetched = Vec::with_capacity(blocks.len());
        let kept = blocks.iter().map_while(|at| self.get(*at, columns));
        fetched.extend(kept);
        if fetched.len() == blocks.len() {
            return Ok(fetched);
        }
        let rest = &blocks[fetched.len()..];
        let loaded = load::load(self, rest, columns).await?;
        for at in rest {
            // A query may name a column twice: `SELECT DISTINCT a AS x, a AS y`.
            let arrays = columns.iter().map(|column| loaded.get(&(*at, *column)).cloned()).collect::<Option<_>>();
            fetched.push(arrays.ok_or_else(|| internal_datafusion_err!("a block was not decoded"))?);
        }
        Ok(fetched)
    }

    /// The number of rows of a block.
    pub(crate) async fn rows_of(&self, at: BlockAt) -> Result<usize> {
        let block = self.files[at.file as usize].blocks[at.block as usize];
        match block.part {
            Some(_) => Ok(block.rows),
            // The length is unknown until the file is read.
            None => Ok(self.fetch(&[at], &[0]).await?[0][0].len()),
        }
    }

    /// The columns that have an index.
    pub(crate) fn indexed(&self) -> Vec<usize> {
        let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.iter().filter(|(_, index)| index.initialized()).map(|(column, _)| *column).collect()
    }

    /// Builds the indexes that the previous version had.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) async fn index_as_before(self: &Arc<Self>) -> Result<()> {
        for column in &self.indexed_before {
            self.index(*column).await?;
        }
        Ok(())
    }

    /// The index over a column, built on first use.
    pub(crate) async fn index(self: &Arc<Self>, column: usize) -> Result<Arc<KeyIndex>> {
        let cell = {
            let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(indexes.entry(column).or_default())
        };
        cell.get_or_try_init(|| async { KeyIndex::build(self, column).await.map(Arc::new) }).await.cloned()
    }
}
