//! The columns of Parquet files as they are decoded and as they are meant, and what the engine may estimate by them.
//!
//! Every footer comes from `parquet`, which leaves of it what `believed` believes; what footers are refused is said in `footers`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::{Int96Coercer, transform_schema_to_view};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::ExecutionPlan;

use super::parquet::cached;
use super::{estimates, intervals, meant};

/// The unit in which old timestamps (INT96) are read: years -290,000 to 290,000, where nanoseconds end in 2262.
const INT96_UNIT: &str = "us";

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
    let schema = decoded(cached(cache.as_ref(), store.as_ref(), object).await?.as_ref())?;
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
            let footer = cached(cache.as_ref(), store.as_ref(), object).await?;
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
        let footer = cached(cache.as_ref(), store.as_ref(), object).await?;
        Ok(estimates::by_name(&footer, &decoded(&footer)?, &table))
    }

    async fn create_physical_plan(
        &self,
        session: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.engine.create_physical_plan(session, scan).await
    }

    fn file_source(&self, table: TableSchema) -> Arc<dyn FileSource> {
        self.engine.file_source(table)
    }
}
