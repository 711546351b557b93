//! Reads Parquet files of a store directly: footers, and rows of one row group. Not the way that requests take.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};

/// What is read in the first request: most footers fit in.
const FOOTER_HINT: usize = 64 << 10;

/// One Parquet file of a store.
#[derive(Clone, Debug)]
pub(crate) struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl ObjectReader {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, object: &ObjectMeta) -> Self {
        Self { store: Arc::clone(store), path: object.location.clone(), size: object.size }
    }

    /// The footer, with the page index where `with_pages` asks for it and there is one.
    pub(crate) async fn footer(&mut self, with_pages: bool) -> Result<ParquetMetaData> {
        let pages = if with_pages { PageIndexPolicy::Optional } else { PageIndexPolicy::Skip };
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_page_index_policy(pages).with_prefetch_hint(Some(FOOTER_HINT));
        reader.load_and_finish(&mut *self, size).await
    }
}

fn from_store(error: StoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        async move { store.get_range(&path, range).await.map_err(from_store) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        async move { store.get_ranges(&path, &ranges).await.map_err(from_store) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.footer(false).map_ok(Arc::new).boxed()
    }
}
