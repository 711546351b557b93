//! Reads Parquet files of a store directly: footers, and rows of single row groups. Requests do not read files this
//! way.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::path::Path;
use datafusion::object_store::{Error as StoreError, ObjectMeta, ObjectStore};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::ParquetMetaData;
use futures::FutureExt;
use futures::future::BoxFuture;
use lakegate_parquet::{Places, check_pages};

use super::parquet::{FooterError, load};

/// One Parquet file of a store.
#[derive(Clone, Debug)]
pub(crate) struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    object: ObjectMeta,
    footer: Option<(Arc<ParquetMetaData>, Arc<Places>)>,
}

impl ObjectReader {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, object: &ObjectMeta) -> Self {
        Self { store: Arc::clone(store), object: object.clone(), footer: None }
    }

    /// The footer, with the page index when there is a sound one.
    pub(crate) async fn footer(&mut self) -> Result<Arc<ParquetMetaData>> {
        if let Some((footer, _)) = &self.footer {
            return Ok(Arc::clone(footer));
        }
        let read = load(self.store.as_ref(), &self.object).await;
        let footer = Arc::new(read.map_err(|error| match error {
            FooterError::Broken(text) => ParquetError::General(text),
            FooterError::Store(error) => from_store(error),
        })?);
        self.footer = Some((Arc::clone(&footer), Arc::new(Places::of(&footer))));
        Ok(footer)
    }

    fn path(&self) -> &Path {
        &self.object.location
    }

    async fn read(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        if ranges.iter().any(|range| range.start > range.end || range.end > self.object.size) {
            return Err(ParquetError::EOF("it says that something lies behind its end".to_owned()));
        }
        let read = self.store.get_ranges(self.path(), &ranges).await.map_err(from_store)?;
        if let Some((footer, places)) = &self.footer {
            check_pages(footer, places, &ranges, &read).map_err(ParquetError::General)?;
        }
        Ok(read)
    }
}

fn from_store(error: StoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let read = self.read(vec![range]).await?;
            read.into_iter().next().ok_or_else(|| ParquetError::EOF("nothing was read".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.read(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.footer().boxed()
    }
}
