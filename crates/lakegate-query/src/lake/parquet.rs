//! How Parquet files of tables are read: the engine's format and reader over footers of which only what is believed is left.
//!
//! Every footer that the engine, a hot table or an estimate sees comes from [`footer`]. What is believed is said in `believed`,
//! what footers are refused in `footers`.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::datatypes::{Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{Result, Statistics, internal_datafusion_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::{CachedParquetMetaData, DFParquetMetadata};
use datafusion::datasource::physical_plan::parquet::{
    DefaultParquetFileReaderFactory, Int96Coercer, ObjectStoreFetch, ParquetFileReaderFactory, transform_schema_to_view,
};
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::believed::{believed, wants_pages};
use super::{estimates, intervals, meant};

/// The unit in which old timestamps (INT96) are read: years -290,000 to 290,000, where nanoseconds end in 2262.
const INT96_UNIT: &str = "us";

/// A file's footer, with the page index where it is believed and can be read. It is kept, and read once.
///
/// # Errors
/// When the file can not be read, or is no Parquet file.
pub(super) async fn footer(
    store: &dyn ObjectStore,
    cache: &Arc<FileMetadataCache>,
    object: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>> {
    if let Some(kept) = cache.get(&object.location).filter(|kept| kept.is_valid_for(object))
        && let Some(kept) = kept.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>()
    {
        return Ok(Arc::clone(kept.parquet_metadata()));
    }
    let read = DFParquetMetadata::new(store, object).with_page_index_policy(Some(PageIndexPolicy::Skip));
    let read = Arc::unwrap_or_clone(read.fetch_metadata().await?);
    let read = if wants_pages(&read) { with_pages(store, object, read).await } else { read };
    let footer = Arc::new(intervals::as_bytes(believed(read)?)?);
    let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
    cache.put(&object.location, CachedFileMetadataEntry::new(object.clone(), kept));
    Ok(footer)
}

/// The footer with its page index, or without where that can not be read: nothing but speed hangs on it.
async fn with_pages(store: &dyn ObjectStore, object: &ObjectMeta, footer: ParquetMetaData) -> ParquetMetaData {
    let mut reader =
        ParquetMetaDataReader::new_with_metadata(footer.clone()).with_page_index_policy(PageIndexPolicy::Optional);
    match reader.load_page_index(ObjectStoreFetch::new(store, object)).await {
        Ok(()) => reader.finish().unwrap_or(footer),
        Err(_) => footer,
    }
}

/// The columns of a file as they are decoded.
pub(super) fn decoded(footer: &ParquetMetaData) -> Result<Schema> {
    let file = footer.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let coerced = Int96Coercer::new(file.schema_descr(), &schema, &TimeUnit::Microsecond).coerce();
    Ok(transform_schema_to_view(&coerced.unwrap_or(schema)))
}

/// The key of a schema that is not the table's, so that the columns of its file are looked at when they are read.
const NOTE: &str = "lakegate.file";

/// The columns of a file as they are decoded, with a note by which the engine does not take them for the table's.
pub(super) async fn noted(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
) -> Result<SchemaRef> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let schema = decoded(footer(store.as_ref(), &cache, object).await?.as_ref())?;
    Ok(Arc::new(schema.with_metadata([(NOTE.to_owned(), String::new())].into())))
}

/// Parquet as the engine reads it.
#[derive(Debug)]
pub(super) struct Parquet {
    engine: ParquetFormat,
}

impl Default for Parquet {
    fn default() -> Self {
        let mut options = TableParquetOptions::default();
        options.global.coerce_int96 = Some(INT96_UNIT.to_owned());
        // A predicate that is evaluated while rows are decoded is not evaluated where statistics say that all rows fulfil it.
        options.global.pushdown_filters = false;
        Self { engine: ParquetFormat::default().with_options(options) }
    }
}

#[async_trait]
impl FileFormat for Parquet {
    fn get_ext(&self) -> String {
        self.engine.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.engine.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    /// The columns of the files, of types whose parts may be NULL.
    async fn infer_schema(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let mut schemas = Vec::with_capacity(objects.len());
        for object in objects {
            let footer = footer(store.as_ref(), &cache, object).await?;
            let decoded = intervals::as_meant(&footer, decoded(&footer)?);
            // What a writer has noted beside its columns is not the table's.
            let bare = decoded.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
            schemas.push(meant::optional_below(&Schema::new(bare.collect::<Vec<_>>())));
        }
        Ok(Arc::new(Schema::try_merge(schemas)?))
    }

    async fn infer_stats(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let footer = footer(store.as_ref(), &cache, object).await?;
        Ok(estimates::by_name(&footer, &decoded(&footer)?, &table))
    }

    async fn create_physical_plan(
        &self,
        session: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source = scan.file_source().downcast_ref::<ParquetSource>().cloned();
        let source = source.ok_or_else(|| internal_datafusion_err!("a scan of Parquet files that is none"))?;
        let store = session.runtime_env().object_store(&scan.object_store_url)?;
        let reader = Reader {
            engine: DefaultParquetFileReaderFactory::new(Arc::clone(&store)),
            store,
            cache: session.runtime_env().cache_manager.get_file_metadata_cache(),
        };
        let source = source
            .with_table_parquet_options(self.engine.options().clone())
            .with_parquet_file_reader_factory(Arc::new(reader));
        Ok(DataSourceExec::from_data_source(FileScanConfigBuilder::from(scan).with_source(Arc::new(source)).build()))
    }

    fn file_source(&self, table: TableSchema) -> Arc<dyn FileSource> {
        self.engine.file_source(table)
    }
}

/// Readers of files.
#[derive(Debug)]
struct Reader {
    engine: DefaultParquetFileReaderFactory,
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
}

impl ParquetFileReaderFactory for Reader {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let object = file.object_meta.clone();
        let pages = self.engine.create_reader(partition, file, hint, metrics)?;
        let (store, cache) = (Arc::clone(&self.store), Arc::clone(&self.cache));
        Ok(Box::new(FileReader { pages, store, cache, object }))
    }
}

/// Reads one file.
struct FileReader {
    pages: Box<dyn AsyncFileReader + Send>,
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    object: ObjectMeta,
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.pages.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.pages.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let (store, cache, object) = (Arc::clone(&self.store), Arc::clone(&self.cache), &self.object);
        async move {
            let read = footer(store.as_ref(), &cache, object).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }
}
