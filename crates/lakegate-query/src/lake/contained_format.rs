//! The file format of a table, wrapped: reads the engine's format with checked Parquet footers and pages, and contains
//! each fault to its file.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_plan::ExecutionPlan;

use super::contained::Contained;
use super::parquet::{CheckedReaders, Verified, cached};
use crate::lake::Lake;

/// A file format with its faults contained.
#[derive(Debug)]
pub(super) struct ContainedFormat {
    format: Arc<dyn FileFormat>,
    table: Arc<str>,
    verified: Arc<Verified>,
}

impl ContainedFormat {
    /// Wraps the format of one table.
    #[expect(clippy::new_ret_no_self, reason = "the engine takes formats behind their trait alone")]
    pub(super) fn new(format: Arc<dyn FileFormat>, lake: &Lake, table: &str) -> Arc<dyn FileFormat> {
        Arc::new(Self { format, table: table.into(), verified: Arc::clone(&lake.verified) })
    }

    /// Puts checked footers into the metadata cache before the engine looks for them there.
    async fn look(&self, session: &dyn Session, store: &Arc<dyn ObjectStore>, objects: &[ObjectMeta]) -> Result<()> {
        if self.format.get_ext() != "parquet" {
            return Ok(());
        }
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        for object in objects {
            cached(cache.as_ref(), store.as_ref(), object).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl FileFormat for ContainedFormat {
    fn get_ext(&self) -> String {
        self.format.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.format.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.format.compression_type()
    }

    async fn infer_schema(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.look(session, store, objects).await?;
        self.format.infer_schema(session, store, objects).await
    }

    async fn infer_stats(
        &self,
        session: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        self.look(session, store, std::slice::from_ref(object)).await?;
        self.format.infer_stats(session, store, schema, object).await
    }

    async fn create_physical_plan(
        &self,
        session: &dyn Session,
        config: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source = Contained::within(config.file_source());
        let config = FileScanConfigBuilder::from(config).with_source(source).build();
        let plan = self.format.create_physical_plan(session, config).await?;
        let scan = plan.downcast_ref::<DataSourceExec>();
        let Some(scan) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>()) else {
            return internal_err!("a table that is not read as files");
        };
        let mut source = Arc::clone(scan.file_source());
        if let Some(parquet) = source.downcast_ref::<ParquetSource>() {
            let runtime = session.runtime_env();
            let store = runtime.object_store(&scan.object_store_url)?;
            let cache = runtime.cache_manager.get_file_metadata_cache();
            let readers = CheckedReaders::new(store, cache, Arc::clone(&self.verified), scan.file_schema());
            source = Arc::new(parquet.clone().with_parquet_file_reader_factory(Arc::new(readers)));
        }
        let source = Contained::new(source, Arc::clone(&self.table));
        Ok(DataSourceExec::from_data_source(FileScanConfigBuilder::from(scan.clone()).with_source(source).build()))
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        self.format.file_source(schema)
    }
}
