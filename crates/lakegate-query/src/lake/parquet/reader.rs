//! Wraps DataFusion's Parquet reader: checks footers and pages before they are decoded.
//!
//! Each part of a file version is checked once and then remembered.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use lakegate_parquet::{Places, check_pages};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{footer, texts};

/// Maximum number of remembered parts.
const MOST_KNOWN: usize = 200_000;

/// Parts of files that passed the checks. A path names one version of a file.
#[derive(Debug, Default)]
pub(in crate::lake) struct Verified(Mutex<HashSet<u128>>);

impl Verified {
    /// Whether a part passed the checks; `part` is a key from [`Self::part`].
    pub(in crate::lake) fn has(&self, part: u128) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&part)
    }

    pub(in crate::lake) fn add(&self, part: u128) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(part);
    }

    /// The key of a part: a hash of the file's path and size, and of `of`, which identifies the part in the file.
    pub(in crate::lake) fn part(object: &ObjectMeta, of: impl Hash) -> u128 {
        let mut hasher = SipHasher13::new();
        object.location.as_ref().hash(&mut hasher);
        object.size.hash(&mut hasher);
        of.hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

/// The names of the string columns.
fn texts_of(schema: &Schema) -> HashSet<String> {
    let texts = schema.fields().iter().filter(|field| field.data_type().is_string());
    texts.map(|field| field.name().clone()).collect()
}

/// Creates the readers of a scan.
#[derive(Debug)]
pub(in crate::lake) struct CheckedReaders {
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    verified: Arc<Verified>,
    /// The string columns of the table.
    texts: Arc<HashSet<String>>,
    readers: CachedParquetFileReaderFactory,
}

impl CheckedReaders {
    pub(in crate::lake) fn new(
        store: Arc<dyn ObjectStore>,
        cache: Arc<FileMetadataCache>,
        verified: Arc<Verified>,
        table: &Schema,
    ) -> Self {
        let readers = CachedParquetFileReaderFactory::new(Arc::clone(&store), Arc::clone(&cache));
        Self { store, cache, verified, texts: Arc::new(texts_of(table)), readers }
    }
}

impl ParquetFileReaderFactory for CheckedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let object = file.object_meta.clone();
        // A file with its own schema is decoded by that schema.
        let texts = file.arrow_schema.as_ref().map_or_else(|| Arc::clone(&self.texts), |own| Arc::new(texts_of(own)));
        let reader = self.readers.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        let (store, cache) = (Arc::clone(&self.store), Arc::clone(&self.cache));
        let verified = Arc::clone(&self.verified);
        Ok(Box::new(CheckedReader { reader, object, store, cache, verified, texts, footer: None }))
    }
}

/// Reads one file.
struct CheckedReader {
    reader: Box<dyn AsyncFileReader + Send>,
    object: ObjectMeta,
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    verified: Arc<Verified>,
    texts: Arc<HashSet<String>>,
    footer: Option<(Arc<ParquetMetaData>, Option<Places>)>,
}

impl CheckedReader {
    async fn footer(&mut self) -> ParquetResult<Arc<ParquetMetaData>> {
        if let Some((footer, _)) = &self.footer {
            return Ok(Arc::clone(footer));
        }
        let read = footer::cached(self.cache.as_ref(), self.store.as_ref(), &self.object).await;
        let footer = read.map_err(|error| ParquetError::External(Box::new(error)))?;
        let footer = texts::of_table(footer, &self.texts)?;
        self.footer = Some((Arc::clone(&footer), None));
        Ok(footer)
    }

    async fn read(&mut self, ranges: Vec<Range<u64>>) -> ParquetResult<Vec<Bytes>> {
        let broken = |text: String| ParquetError::General(text);
        if ranges.iter().any(|range| range.start > range.end || range.end > self.object.size) {
            return Err(broken("it says that something lies behind its end".to_owned()));
        }
        let read = self.reader.get_byte_ranges(ranges.clone()).await?;
        let parts = ranges.iter().map(|range| Verified::part(&self.object, (range.start, range.end)));
        let parts = parts.collect::<Vec<_>>();
        if parts.iter().all(|part| self.verified.has(*part)) {
            return Ok(read);
        }
        self.footer().await?;
        let Some((footer, places)) = &mut self.footer else { return Ok(read) };
        let places = places.get_or_insert_with(|| Places::of(footer));
        check_pages(footer, places, &ranges, &read).map_err(broken)?;
        parts.into_iter().for_each(|part| self.verified.add(part));
        Ok(read)
    }
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let read = self.read(vec![range]).await?;
            read.into_iter().next().ok_or_else(|| ParquetError::EOF("nothing was read".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.read(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.footer().boxed()
    }
}
