//! Splits a data file into blocks of rows and reads min/max statistics from its Parquet footer.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::object_store::ObjectMeta;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::Type as PhysicalType;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::memory::Slots;
use super::zone::{Key, Learnt, Zone, has_zones};
use crate::lake::file_view;

/// Rows per block: two pages of a file that lakegate writes.
pub(super) const BLOCK_ROWS: usize = 4_000;

/// The address of a block: the index of its file in the table, and its index in that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockAt {
    pub(crate) file: u32,
    pub(crate) block: u32,
}

/// Consecutive rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The row group, and the block's first row in it. `None` if the block is the whole file, of unknown length.
    pub(super) part: Option<(usize, usize)>,
    /// The number of rows; 0 if it is unknown.
    pub(super) rows: usize,
}

/// A file at one version: its blocks and their cached columns.
#[derive(Debug)]
pub(crate) struct HotFile {
    pub(super) part: PartitionedFile,
    pub(super) blocks: Vec<Block>,
    /// The number of rows of each row group, for access plans; empty for a file that is read as a whole.
    pub(super) groups: Vec<usize>,
    /// Whether a part of a row group can be decoded without the rest.
    pub(super) has_pages: bool,
    pub(super) columns: Vec<HotColumn>,
    /// The approximate decoded size of the largest unit that must be decoded at once, in bytes.
    pub(super) largest: usize,
}

/// One column of a file.
#[derive(Debug)]
pub(super) struct HotColumn {
    pub(super) slots: Arc<Slots>,
    /// The statistics of the whole file, from its footer.
    pub(super) zone: Zone,
    /// The statistics of each row group, from the footer; empty if they are unknown.
    groups: Vec<Zone>,
    /// The observed statistics of each block, set when the block is first decoded.
    learnt: Box<[OnceLock<Learnt>]>,
}

impl HotFile {
    /// Describes a file as the scan of its table reads it. Without a footer, the file is one block.
    pub(super) fn of(scan: &FileScanConfig, file: &PartitionedFile, footer: Option<&ParquetMetaData>) -> Result<Self> {
        let schema = scan.file_source().table_schema().table_schema();
        // A file with deleted rows already carries an access plan, so it is read as a whole.
        let footer = footer.filter(|_| file.extensions.get::<ParquetAccessPlan>().is_none());
        let Some(footer) = footer else {
            let columns = schema.fields().iter().map(|_| HotColumn::new(1, Zone::Unknown, Vec::new())).collect();
            let block = Block { part: None, rows: 0 };
            let stored = usize::try_from(file.object_meta.size).unwrap_or(usize::MAX).saturating_mul(4);
            // A text file may be compressed; its statistics hold the size of the uncompressed text.
            let text = file.statistics.as_ref().and_then(|known| known.total_byte_size.get_value().copied());
            let largest = stored.max(text.unwrap_or(0));
            let (part, groups) = (file.clone(), Vec::new());
            return Ok(Self { part, blocks: vec![block], groups, has_pages: false, columns, largest });
        };
        let groups = footer.row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0));
        let groups = groups.collect::<Vec<_>>();
        let mut blocks = Vec::new();
        for (at, rows) in groups.iter().enumerate() {
            let cuts = (0..*rows).step_by(BLOCK_ROWS);
            blocks.extend(cuts.map(|first| Block { part: Some((at, first)), rows: BLOCK_ROWS.min(rows - first) }));
        }
        let mut has_pages = footer.num_row_groups() > 0;
        let (mut largest, mut of_block) = (0, 0);
        for group in footer.row_groups() {
            has_pages &= group.columns().iter().all(|column| column.offset_index_offset().is_some());
            let size = usize::try_from(group.total_byte_size()).unwrap_or(usize::MAX);
            largest = largest.max(size);
            of_block = of_block.max(size / usize::try_from(group.num_rows()).unwrap_or(1).div_ceil(BLOCK_ROWS).max(1));
        }
        let largest = if has_pages { of_block } else { largest };
        let columns = (0..schema.fields().len()).map(|at| {
            let zones = zones(scan, file, footer, schema, at).unwrap_or_default();
            let whole = zones.iter().cloned().reduce(|all, zone| all.and(&zone)).unwrap_or(Zone::Unknown);
            HotColumn::new(blocks.len(), whole, zones)
        });
        let columns = columns.collect();
        Ok(Self { part: file.clone(), blocks, groups, has_pages, columns, largest })
    }

    /// Whether `file` is this file at this version, read in the same way.
    pub(super) fn is_of(&self, file: &PartitionedFile) -> bool {
        let has_own_plan = |file: &PartitionedFile| file.extensions.get::<ParquetAccessPlan>().is_some();
        let is_same = |one: &ObjectMeta, other: &ObjectMeta| one == other;
        // A file with deleted rows never matches: nothing here compares the sets of deleted rows, so it is read again.
        is_same(&self.part.object_meta, &file.object_meta)
            && self.part.arrow_schema == file.arrow_schema
            && self.part.partition_values == file.partition_values
            && !has_own_plan(&self.part)
            && !has_own_plan(file)
    }

    /// The min/max statistics of a column in a block: observed if the block was decoded, else those of its row group.
    pub(super) fn zone(&self, block: usize, column: usize) -> &Zone {
        let of = &self.columns[column];
        let known = of.learnt[block].get().map(|learnt| &learnt.zone);
        let group = || self.blocks[block].part.and_then(|(group, _)| of.groups.get(group));
        known.or_else(group).unwrap_or(&Zone::Unknown)
    }
}

impl HotColumn {
    fn new(blocks: usize, zone: Zone, groups: Vec<Zone>) -> Self {
        Self { slots: Slots::new(blocks), zone, groups, learnt: (0..blocks).map(|_| OnceLock::new()).collect() }
    }

    /// Records the observed statistics of a decoded block.
    pub(super) fn learn(&self, block: usize, array: &ArrayRef) {
        if has_zones(array.data_type()) {
            self.learnt[block].get_or_init(|| Learnt::of(array));
        }
    }

    /// The observed statistics of a block; `None` if it was never decoded.
    pub(super) fn learnt(&self, block: usize) -> Option<&Learnt> {
        self.learnt[block].get()
    }
}

/// The footer's min/max statistics of a table column, by row group. `None` if they cannot be trusted for it.
fn zones(
    scan: &FileScanConfig,
    file: &PartitionedFile,
    footer: &ParquetMetaData,
    schema: &Schema,
    at: usize,
) -> Option<Vec<Zone>> {
    let field = schema.field(at);
    if !has_zones(field.data_type()) {
        return None;
    }
    let groups = footer.num_row_groups();
    let same = |value: &ScalarValue| {
        let zone = match Key::of(value) {
            Some(key) if value.data_type() == *field.data_type() => Zone::Between(key.clone(), key),
            _ if value.is_null() => Zone::Null,
            _ => Zone::Unknown,
        };
        vec![zone; groups]
    };
    let of_file = scan.file_source().table_schema().file_schema().fields().len();
    if let Some(partition) = at.checked_sub(of_file) {
        return file.partition_values.get(partition).map(same);
    }
    let view = file_view(scan, file).ok()?;
    let read = view.rewrite(&(Arc::new(Column::new(field.name(), at)) as _)).ok()?;
    if let Some(constant) = read.downcast_ref::<Literal>() {
        return Some(same(constant.value()));
    }
    let column = read.downcast_ref::<Column>()?;
    let descriptor = footer.file_metadata().schema_descr();
    let own = parquet_to_arrow_schema(descriptor, None).ok()?;
    let (place, own_field) = own.column_with_name(column.name())?;
    let is_text = |data_type: &datafusion::arrow::datatypes::DataType| data_type.is_string();
    let is_same =
        own_field.data_type() == field.data_type() || is_text(own_field.data_type()) && is_text(field.data_type());
    let leaf = descriptor.root_schema().get_fields().get(place)?;
    if !is_same || !leaf.is_primitive() || leaf.get_physical_type() == PhysicalType::INT96 {
        return None;
    }
    let converter = StatisticsConverter::try_new(column.name(), &own, descriptor).ok()?;
    let least = converter.row_group_mins(footer.row_groups()).ok()?;
    let greatest = converter.row_group_maxes(footer.row_groups()).ok()?;
    let nulls = converter.row_group_null_counts(footer.row_groups()).ok()?;
    let key = |array: &ArrayRef, group: usize| Key::of(&ScalarValue::try_from_array(array, group).ok()?);
    let zone = |group: usize| match (key(&least, group), key(&greatest, group)) {
        (Some(least), Some(greatest)) => Zone::Between(least, greatest),
        _ if !nulls.is_null(group)
            && nulls.value(group) == u64::try_from(footer.row_group(group).num_rows()).unwrap_or(u64::MAX) =>
        {
            Zone::Null
        }
        _ => Zone::Unknown,
    };
    Some((0..groups).map(zone).collect())
}
