//! Reads the rows of plain Parquet files so that a table writer can write them again.
//!
//! Not for endpoints, and not for files with deleted rows.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectStore, ObjectStoreExt};
use datafusion::parquet::arrow::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::error::PublishError;
use super::place::Place;
use super::{CurrentFile, TableFormat, adapted, writable};

/// Rows of a table in batches.
pub(crate) type RowStream = BoxStream<'static, Result<RecordBatch, PublishError>>;

/// The merged schema of all files.
pub(super) async fn schema_of(place: &Place, files: &[CurrentFile]) -> Result<Option<SchemaRef>, PublishError> {
    let mut schemas = Vec::<Schema>::new();
    for file in files {
        let reader = open(place, file).await?;
        let schema = writable(reader.schema(), TableFormat::Parquet).map_err(|fault| {
            PublishError::refused(format!("`{}`: {fault}", place.shown(&file.path)), "write it anew with other types")
        })?;
        schemas.push(schema.as_ref().clone());
    }
    if schemas.is_empty() {
        return Ok(None);
    }
    let merged = Schema::try_merge(schemas).map_err(PublishError::store("bring the table's files together"))?;
    Ok(Some(Arc::new(merged)))
}

/// Rows of all files, one file after another, with these columns.
pub(super) fn stream(place: Place, files: Vec<CurrentFile>, schema: SchemaRef) -> RowStream {
    let of_file = move |file: CurrentFile| {
        let (place, schema) = (place.clone(), SchemaRef::clone(&schema));
        async move {
            let shown = place.shown(&file.path);
            let failed = move || PublishError::store(format!("read `{shown}`"));
            let batches = open(&place, &file).await?.build().map_err(failed())?;
            let read = batches.map(move |batch| {
                adapted(&batch.map_err(failed())?, &schema)
                    .map_err(|fault| PublishError::refused(fault, "give the table's column a wider type"))
            });
            Ok::<_, PublishError>(read)
        }
    };
    stream::iter(files).then(of_file).try_flatten().boxed()
}

async fn open(place: &Place, file: &CurrentFile) -> Result<ParquetRecordBatchStreamBuilder<Reader>, PublishError> {
    let reader = Reader { store: Arc::clone(place.store()), path: file.path.clone(), bytes: file.bytes };
    let opened = ParquetRecordBatchStreamBuilder::new(reader).await;
    opened.map_err(PublishError::store(format!("read `{}`", place.shown(&file.path))))
}

/// A Parquet file in the store, as the decoder reads it.
struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let read = async { self.store.get_range(&self.path, range).await };
        read.map(|bytes| bytes.map_err(|error| ParquetError::External(error.into()))).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let read = async move { self.store.get_ranges(&self.path, &ranges).await };
        read.map(|bytes| bytes.map_err(|error| ParquetError::External(error.into()))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let bytes = self.bytes;
        ParquetMetaDataReader::new().load_and_finish(self, bytes).map(|read| read.map(Arc::new)).boxed()
    }
}
