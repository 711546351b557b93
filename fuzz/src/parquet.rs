//! Arbitrary bytes as Parquet files: a file that passes the checks makes the reader neither allocate for absent data nor hang.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use bytes::Bytes;
use futures::executor::block_on;
use lakegate_parquet::{Footer, Places, attached, check_pages, span, without};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;

/// The maximum number of columns of a table.
const MOST_COLUMNS: usize = 2_000;

/// Reads a file as the product does: the footer, the index, the pages of each column, and then the rows.
///
/// # Panics
/// If a check panics.
pub fn parquet(file: &[u8]) {
    let Some(metadata) = footer(file) else { return };
    let file = Bytes::copy_from_slice(file);
    let places = Places::of(&metadata);
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    for column in columns {
        let (start, length) = column.byte_range();
        let end = start.saturating_add(length);
        if end > file.len() as u64 {
            return;
        }
        let bytes = file.slice(start as usize..end as usize);
        if check_pages(&metadata, &places, &[start..end], &[bytes]).is_err() {
            return;
        }
    }
    // The product catches panics of the decoder, which is a library.
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let _ = catch_unwind(AssertUnwindSafe(|| rows(metadata, file)));
    set_hook(hook);
}

fn footer(file: &[u8]) -> Option<ParquetMetaData> {
    let size = file.len() as u64;
    let (rest, end) = file.split_at_checked(file.len().checked_sub(8)?)?;
    let length = u32::from_le_bytes(*end.first_chunk()?) as usize;
    let begin = rest.len().checked_sub(length)?;
    let footer = Footer::of(rest[begin..].to_vec()).ok()?;
    let metadata = footer.decode(size, MOST_COLUMNS).ok()?;
    let Some(part) = span(&metadata, begin as u64) else { return Some(without(metadata)) };
    let bytes = Bytes::copy_from_slice(&rest[part.start as usize..part.end as usize]);
    match block_on(attached(metadata, &bytes, part.start)) {
        Some(metadata) => Some(metadata),
        None => footer.decode(size, MOST_COLUMNS).ok().map(without),
    }
}

fn rows(metadata: ParquetMetaData, file: Bytes) {
    let Ok(metadata) = ArrowReaderMetadata::try_new(metadata.into(), ArrowReaderOptions::new()) else { return };
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_batch_size(1_024);
    let Ok(reader) = builder.build() else { return };
    for batch in reader.take(64) {
        if batch.is_err() {
            return;
        }
    }
}
