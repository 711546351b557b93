//! Decodes blocks that are not in the cache. It reads them through the table's own scan, so versions, deleted rows,
//! partition folders and widened types are handled as in any other read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use futures::StreamExt;

use super::blocks::{BlockAt, HotColumn, HotFile};
use super::memory::Decoded;
use super::pack::compact;
use super::table::HotTable;
use crate::lake::FileOf;

/// Decoded arrays by block and column.
pub(super) type Loaded = HashMap<(BlockAt, usize), ArrayRef>;

/// Returns these columns of these blocks. Decodes and caches those that are missing from the cache.
pub(super) async fn load(table: &HotTable, blocks: &[BlockAt], columns: &[usize]) -> Result<Loaded> {
    let mut loaded = Loaded::new();
    for of_file in blocks.chunk_by(|one, other| one.file == other.file) {
        let at = of_file[0].file;
        let file = &table.files[at as usize];
        let (mut missing, mut lacking) = (BTreeSet::new(), BTreeSet::new());
        for block in of_file.iter().map(|at| at.block) {
            for column in columns {
                match file.columns[*column].slots.get(block as usize) {
                    Some(array) => drop(loaded.insert((BlockAt { file: at, block }, *column), array)),
                    None => {
                        missing.insert(*column);
                        lacking.insert(block as usize);
                    }
                }
            }
        }
        if missing.is_empty() {
            continue;
        }
        let missing = missing.into_iter().collect::<Vec<_>>();
        let mut read = read(table, file, &file.together(lacking), &missing).await?;
        let mut decoded = Vec::with_capacity(read.len() * missing.len());
        for (block, arrays) in &mut read {
            for (column, array) in missing.iter().zip(arrays) {
                let HotColumn { slots, .. } = &file.columns[*column];
                file.columns[*column].learn(*block, array);
                decoded.push(Decoded { slots, at: *block, array });
            }
        }
        table.memory.keep(&mut decoded, table.is_pinned)?;
        for (block, arrays) in read {
            let block = block as u32;
            loaded.extend(
                missing.iter().zip(arrays).map(|(column, array)| ((BlockAt { file: at, block }, *column), array)),
            );
        }
    }
    Ok(loaded)
}

/// Returns one column of some blocks, in their order, without caching it.
pub(super) async fn column(table: &HotTable, blocks: &[BlockAt], column: usize) -> Result<Vec<ArrayRef>> {
    let mut arrays = Vec::with_capacity(blocks.len());
    for of_file in blocks.chunk_by(|one, other| one.file == other.file) {
        let file = &table.files[of_file[0].file as usize];
        let kept = of_file.iter().map(|at| file.columns[column].slots.get(at.block as usize));
        if let Some(kept) = kept.collect::<Option<Vec<_>>>() {
            arrays.extend(kept);
            continue;
        }
        let blocks = of_file.iter().map(|at| at.block as usize).collect::<Vec<_>>();
        for (_, of_block) in read(table, file, &blocks, &[column]).await? {
            arrays.extend(of_block);
        }
    }
    Ok(arrays)
}

impl HotFile {
    /// These blocks and those that must be decoded with them, in ascending order.
    fn together(&self, blocks: BTreeSet<usize>) -> Vec<usize> {
        if self.has_pages {
            return blocks.into_iter().collect();
        }
        let group = |block: usize| self.blocks[block].part.map(|(group, _)| group);
        let mut groups = blocks.iter().map(|block| group(*block)).collect::<Vec<_>>();
        groups.dedup();
        (0..self.blocks.len()).filter(|block| groups.binary_search(&group(*block)).is_ok()).collect()
    }

    /// The file with an access plan that selects only these blocks.
    fn part_of(&self, blocks: &[usize]) -> PartitionedFile {
        let part = self.part.clone();
        if self.groups.is_empty() {
            return part;
        }
        let mut access = ParquetAccessPlan::new_none(self.groups.len());
        for (group, rows) in self.groups.iter().enumerate() {
            let of_group = blocks.iter().map(|block| &self.blocks[*block]);
            let of_group = of_group
                .filter_map(|block| block.part.filter(|(of, _)| *of == group).map(|(_, first)| (first, block.rows)));
            let mut selectors = Vec::new();
            let (mut next, mut selected) = (0, 0);
            for (first, rows) in of_group {
                if first > next {
                    selectors.push(RowSelector::skip(first - next));
                }
                selectors.push(RowSelector::select(rows));
                (next, selected) = (first + rows, selected + rows);
            }
            if selected == *rows && selected > 0 {
                access.set(group, RowGroupAccess::Scan);
            } else if selected > 0 {
                if next < *rows {
                    selectors.push(RowSelector::skip(*rows - next));
                }
                access.set(group, RowGroupAccess::Selection(RowSelection::from(selectors)));
            }
        }
        part.with_extension(access)
    }
}

/// Reads columns of blocks of one file.
async fn read(
    table: &HotTable,
    file: &HotFile,
    blocks: &[usize],
    columns: &[usize],
) -> Result<Vec<(usize, Vec<ArrayRef>)>> {
    let _turn = table.memory.turn().await?;
    // A file source keeps metrics for as long as it lives. A new one for each read stops them from piling up.
    let source = table.format.file_source(table.scan.file_source().table_schema().clone());
    let config = FileScanConfigBuilder::from(table.scan.clone())
        .with_source(source)
        .with_file_groups(vec![FileGroup::new(vec![file.part_of(blocks)])])
        .with_projection_indices(Some(columns.to_vec()))?
        .build();
    let scan = table.format.create_physical_plan(table.session.as_ref(), config).await?;
    let mut rows = scan.execute(0, Arc::clone(&table.context))?;
    let schema = scan.schema();
    let mut done = Vec::with_capacity(blocks.len());
    let (mut parts, mut have) = (Vec::<RecordBatch>::new(), 0);
    let close = |parts: &mut Vec<RecordBatch>| -> Result<Vec<ArrayRef>> {
        let parts = std::mem::take(parts);
        let fields = schema.fields().iter().enumerate();
        fields.map(|(at, field)| exact(&parts, at, field.data_type())).collect()
    };
    let broken = |why: &str| {
        let object = Arc::new(file.part.object_meta.clone());
        FileOf { table: table.name().into(), object }.broken(why)
    };
    let mut waiting = blocks.iter();
    let mut current = waiting.next();
    while let Some(batch) = rows.next().await.transpose()? {
        let mut batch = batch;
        while batch.num_rows() > 0 {
            let Some(block) = current else { return Err(broken("it has more rows than its footer says")) };
            let of = file.blocks[*block];
            if of.part.is_none() {
                parts.push(batch);
                break;
            }
            let take = batch.num_rows().min(of.rows - have);
            parts.push(batch.slice(0, take));
            have += take;
            batch = batch.slice(take, batch.num_rows() - take);
            if have == of.rows {
                done.push((*block, close(&mut parts)?));
                (current, have) = (waiting.next(), 0);
            }
        }
    }
    match current {
        Some(block) if file.blocks[*block].part.is_none() => done.push((*block, close(&mut parts)?)),
        Some(_) => return Err(broken("it has fewer rows than its footer says")),
        None => {}
    }
    Ok(done)
}

/// Concatenates one column of some batches into an array that shares no memory with other rows.
fn exact(parts: &[RecordBatch], column: usize, data_type: &DataType) -> Result<ArrayRef> {
    let arrays = parts.iter().map(|part| part.column(column).as_ref()).collect::<Vec<_>>();
    if arrays.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let array = concat(&arrays)?;
    // Views share buffers with rows outside these batches.
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        // `concat` of a single array returns that array, with the whole buffer that it is a slice of.
        _ if arrays.len() == 1 => compact(&array)?,
        _ => array,
    })
}
