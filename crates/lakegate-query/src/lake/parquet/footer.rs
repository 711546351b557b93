//! Reads and caches the footer of a Parquet file: limits its size before decoding it, and checks its contents before
//! using them.
//!
//! Also reads the page index, if it is valid; a file works without one. `lakegate-parquet` documents the limits.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaData;
use lakegate_parquet::{Footer, attached, without};

use super::texts;
use crate::lake::believed::{believed, wants_pages};
use crate::lake::columns::one_line;
use crate::lake::intervals;
use crate::lake::text::MOST_COLUMNS;

/// Bytes of the first request, enough for most footers.
const HINT: u64 = 64 << 10;
/// Bytes of the magic number at the start and end of a file; `END` adds the footer's length before it.
const MARK: u64 = 4;
const END: u64 = 8;

/// Why a footer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FooterError {
    /// The fault in the file, as the end of a sentence that names it.
    #[error("{0}")]
    Broken(String),
    /// The store does not return the bytes.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FooterError> for DataFusionError {
    fn from(error: FooterError) -> Self {
        match error {
            FooterError::Broken(text) => Self::ParquetError(Box::new(ParquetError::General(text))),
            FooterError::Store(error) => error.into(),
        }
    }
}

/// The footer, from the cache or from the file, with only the statistics that are trusted.
///
/// # Errors
/// When the file is broken, or the store does not answer.
pub(crate) async fn cached(
    cache: &FileMetadataCache,
    store: &dyn ObjectStore,
    object: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>, FooterError> {
    let kept = cache.get(&object.location).filter(|kept| kept.is_valid_for(object));
    let kept = kept.as_ref().and_then(|kept| kept.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>());
    if let Some(kept) = kept {
        return Ok(Arc::clone(kept.parquet_metadata()));
    }
    let footer = load(store, object).await?;
    let footer = if wants_pages(&footer) { footer } else { without(footer) };
    let broken = |error: ParquetError| FooterError::Broken(one_line(&error.to_string()));
    let footer = believed(footer).and_then(intervals::as_bytes).and_then(texts::as_meant).map_err(broken)?;
    let footer = Arc::new(footer);
    let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
    cache.put(&object.location, CachedFileMetadataEntry::new(object.clone(), kept));
    Ok(footer)
}

/// Reads the footer from the file.
///
/// # Errors
/// As for [`cached`].
pub(crate) async fn load(store: &dyn ObjectStore, object: &ObjectMeta) -> Result<ParquetMetaData, FooterError> {
    let broken = |text: &str| FooterError::Broken(text.to_owned());
    let size = object.size;
    if size < MARK + END {
        return Err(broken("it is too short to be Parquet"));
    }
    let first = size.saturating_sub(HINT);
    let tail = read(store, object, first..size).await?;
    let (rest, end) = tail.split_at(tail.len() - END as usize);
    let (length, mark) = end.split_at(MARK as usize);
    match mark {
        b"PAR1" => {}
        b"PARE" => return Err(broken("it is encrypted, which is not read")),
        _ => return Err(broken("it does not end as Parquet does, so it is not whole or something else")),
    }
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let begin = (size - END).checked_sub(length).filter(|begin| *begin >= MARK);
    let begin = begin.ok_or_else(|| broken("it says that its footer is larger than the file"))?;
    let footer = match begin.checked_sub(first) {
        Some(begin) => rest[begin as usize..].to_vec(),
        None => read(store, object, begin..size - END).await?.to_vec(),
    };
    let said = |fault: String| FooterError::Broken(one_line(&fault));
    let footer = Footer::of(footer).map_err(said)?;
    let metadata = footer.decode(size, MOST_COLUMNS).map_err(said)?;
    let Some(span) = lakegate_parquet::span(&metadata, begin) else { return Ok(without(metadata)) };
    let of_index = match span.start.checked_sub(first) {
        Some(start) => tail.slice(start as usize..(span.end - first) as usize),
        None => read(store, object, span.clone()).await?,
    };
    match attached(metadata, &of_index, span.start).await {
        Some(metadata) => Ok(metadata),
        // `attached` consumed the metadata.
        None => Ok(without(footer.decode(size, MOST_COLUMNS).map_err(said)?)),
    }
}

/// Reads a byte range of a file; fails if the file has become shorter.
async fn read(store: &dyn ObjectStore, object: &ObjectMeta, range: Range<u64>) -> Result<Bytes, FooterError> {
    let length = range.end - range.start;
    let bytes = store.get_range(&object.location, range).await?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(FooterError::Broken("it is shorter than it was when it was listed".to_owned())),
    }
}
