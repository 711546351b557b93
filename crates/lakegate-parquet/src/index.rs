//! Reads the page index of a Parquet file, which locates the pages and describes their contents. It is optional: an
//! index that is broken, or that does not match the file, is ignored.

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

use super::thrift;

/// The maximum ratio of the byte range that spans all index parts to the sum of those parts, once the range is large.
const MOST_SPREAD: u64 = 4;
/// The size in bytes above which the ratio is checked.
const LARGE: u64 = 16 << 20;

/// The byte range that spans the page index. `None` if a column has no index, or one is out of bounds.
pub fn span(metadata: &ParquetMetaData, footer_begins: u64) -> Option<Range<u64>> {
    let (mut span, mut sum) = (None::<Range<u64>>, 0_u64);
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let pages = range(column.offset_index_offset(), column.offset_index_length())?;
        let values = match (column.column_index_offset(), column.column_index_length()) {
            (None, None) => None,
            (offset, length) => Some(range(offset, length)?),
        };
        for part in [Some(pages), values].into_iter().flatten() {
            if part.end > footer_begins {
                return None;
            }
            sum += part.end - part.start;
            span = Some(span.map_or(part.clone(), |span| span.start.min(part.start)..span.end.max(part.end)));
        }
    }
    span.filter(|span| span.end - span.start <= LARGE.max(sum.saturating_mul(MOST_SPREAD)))
}

fn range(offset: Option<i64>, length: Option<i32>) -> Option<Range<u64>> {
    let (start, length) = (u64::try_from(offset?).ok()?, u64::try_from(length?).ok()?);
    (length > 0).then_some(start..start.checked_add(length)?)
}

/// Adds the page index in `bytes`, which start at file offset `first`, to the metadata. `None` if it is invalid.
pub async fn attached(metadata: ParquetMetaData, bytes: &Bytes, first: u64) -> Option<ParquetMetaData> {
    let span = Span { bytes: bytes.clone(), first };
    let all = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    for column in all {
        let pages = range(column.offset_index_offset(), column.offset_index_length());
        let values = range(column.column_index_offset(), column.column_index_length());
        for part in [pages, values].into_iter().flatten() {
            if !thrift::is_sound_struct(&span.part(part)?) {
                return None;
            }
        }
    }
    let reading = async {
        let mut reader =
            ParquetMetaDataReader::new_with_metadata(metadata).with_page_index_policy(PageIndexPolicy::Optional);
        reader.load_page_index(span).await?;
        reader.finish()
    };
    // The reader may panic on a broken index.
    let read = AssertUnwindSafe(reading).catch_unwind().await.ok()?.ok()?;
    fits(&read).then_some(read)
}

/// Removes all references to a page index from the metadata, so that no reader looks for one.
pub fn without(metadata: ParquetMetaData) -> ParquetMetaData {
    let mut all = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let has_none =
        |column: &ColumnChunkMetaData| column.offset_index_offset().is_none() && column.column_index_offset().is_none();
    if all.all(has_none) {
        return metadata;
    }
    let groups = metadata.row_groups().iter().map(|group| {
        let columns = group.columns().iter().map(|column| {
            let column = column.clone().into_builder();
            let column = column.set_offset_index_offset(None).set_offset_index_length(None);
            column.set_column_index_offset(None).set_column_index_length(None).build()
        });
        group.clone().into_builder().set_column_metadata(columns.collect::<Result<_>>()?).build()
    });
    match groups.collect::<Result<Vec<_>>>() {
        Ok(groups) => {
            let builder = metadata.into_builder().set_row_groups(groups);
            builder.set_offset_index(None).set_column_index(None).build()
        }
        // Only the offsets change, so rebuilding valid metadata does not fail.
        Err(_) => metadata,
    }
}

/// Whether the pages are inside their columns, in order, and cover all rows.
fn fits(metadata: &ParquetMetaData) -> bool {
    let (Some(offsets), values) = (metadata.offset_index(), metadata.column_index()) else { return false };
    offsets.len() == metadata.num_row_groups()
        && metadata.row_groups().iter().zip(offsets).enumerate().all(|(at, (group, offsets))| {
            let values = values.and_then(|values| values.get(at));
            offsets.len() == group.num_columns()
                && group.columns().iter().zip(offsets).enumerate().all(|(column, (chunk, pages))| {
                    let values = values.and_then(|values| values.get(column));
                    is_of(chunk, group.num_rows(), pages, values)
                })
        })
}

fn is_of(
    chunk: &ColumnChunkMetaData,
    rows: i64,
    pages: &OffsetIndexMetaData,
    values: Option<&ColumnIndexMetaData>,
) -> bool {
    let (start, length) = chunk.byte_range();
    let (mut next, mut row) = (start.cast_signed(), -1);
    let pages = pages.page_locations();
    for page in pages {
        let end = page.offset.checked_add(i64::from(page.compressed_page_size));
        let Some(end) = end.filter(|_| page.offset >= next && page.compressed_page_size > 0) else { return false };
        if page.first_row_index <= row || row < 0 && page.first_row_index != 0 {
            return false;
        }
        (next, row) = (end, page.first_row_index);
    }
    let has_values = |values: &ColumnIndexMetaData| {
        matches!(values, ColumnIndexMetaData::NONE) || values.num_pages() == pages.len() as u64
    };
    let has_all = rows == 0 || !pages.is_empty() && row < rows;
    next <= (start + length).cast_signed() && has_all && values.is_none_or(has_values)
}

/// A part of a file in memory.
struct Span {
    bytes: Bytes,
    first: u64,
}

impl Span {
    fn part(&self, range: Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start.checked_sub(self.first)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(self.first)?).ok()?;
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

impl MetadataFetch for Span {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let part = self.part(range).ok_or_else(|| ParquetError::EOF("the index is elsewhere".to_owned()));
        async { part }.boxed()
    }
}
