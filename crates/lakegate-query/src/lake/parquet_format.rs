//! DataFusion's Parquet format over checked footers: the columns as decoded and as corrected, and the statistics that
//! the engine may use.
//!
//! Every footer comes from `parquet`, which keeps only its trusted parts (`believed`). `footers` refuses bad footers.

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

/// The unit that INT96 timestamps are read in. It covers the years -290,000 to 290,000; nanoseconds end in 2262.
const INT96_UNIT: &str = "us";

/// The columns of a file as decoded.
pub(super) fn decoded(footer: &ParquetMetaData) -> Result<Schema> {
    let file = footer.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let coerced = Int96Coercer::new(file.schema_descr(), &schema, &TimeUnit::Microsecond).coerce();
    Ok(transform_schema_to_view(&coerced.unwrap_or(schema)))
}

/// Schema metadata key that makes a file's schema differ from the table's, so that the engine adapts, and thereby
/// checks, its columns when it reads them.
const NOTE: &str = "lakegate.file";

/// The columns of a file as decoded, marked so that the engine does not take the schema for the table's.
pub(super) async fn noted(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
) -> Result<SchemaRef> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let schema = decoded(cached(cache.as_ref(), store.as_ref(), object).await?.as_ref())?;
    Ok(Arc::new(schema.with_metadata([(NOTE.to_owned(), String::new())].into())))
}

/// DataFusion's Parquet format with the options that lakegate needs.
#[derive(Debug)]
pub(super) struct Parquet {
    engine: ParquetFormat,
}

impl Default for Parquet {
    fn default() -> Self {
        let mut options = TableParquetOptions::default();
        options.global.coerce_int96 = Some(INT96_UNIT.to_owned());
        // With pushdown, the engine skips a predicate where statistics claim that every row satisfies it.
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

    /// The merged columns of the files, with every nested part nullable.
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
            // The writer's field metadata does not belong to the table.
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
