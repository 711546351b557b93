//! Serves text files to DataFusion scans as a `FileSource`: whole files, record by record.
//!
//! A file is never split into byte ranges, because only parsing from the start shows where a record begins.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_datafusion_err, not_impl_err};
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::ProjectionExprs;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, PhysicalExpr};
use futures::stream::{StreamExt, try_unfold};

use super::Layout;
use super::build::Column;
use super::declared::Declared;
use super::fault::{TextFault, Unread};
use super::rows::Rows;
use crate::floats::canonical_array;

/// Rows per batch, unless DataFusion sets another number.
const BATCH_ROWS: usize = 8_192;

/// DataFusion's file format for a table's text files.
#[derive(Debug)]
pub(crate) struct TextFormat {
    pub(super) layout: Arc<Layout>,
}

#[async_trait]
impl Format for TextFormat {
    fn get_ext(&self) -> String {
        self.layout.format.extension().to_owned()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        use datafusion::common::GetExt;
        Ok(format!("{}{}", self.get_ext(), compression.get_ext()))
    }

    /// [`Rows`] decompresses the bytes, so DataFusion must not.
    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    async fn infer_schema(&self, _: &dyn Session, _: &Arc<dyn ObjectStore>, _: &[ObjectMeta]) -> Result<SchemaRef> {
        not_impl_err!("columns of text files are found where the table is opened")
    }

    async fn infer_stats(
        &self,
        _: &dyn Session,
        _: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        _: &ObjectMeta,
    ) -> Result<Statistics> {
        Ok(Statistics::new_unknown(&schema))
    }

    async fn create_physical_plan(&self, _: &dyn Session, config: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(DataSourceExec::from_data_source(config))
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(TextSource {
            layout: Arc::clone(&self.layout),
            projection: SplitProjection::unprojected(&table_schema),
            table_schema,
            batch_rows: BATCH_ROWS,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

#[derive(Clone)]
struct TextSource {
    layout: Arc<Layout>,
    table_schema: TableSchema,
    projection: SplitProjection,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl FileSource for TextSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        _: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let file_schema = self.table_schema.file_schema();
        let schema = Arc::new(file_schema.project(&self.projection.file_indices)?);
        let (layout, batch_rows) = (Arc::clone(&self.layout), self.batch_rows);
        let opener = Arc::new(TextOpener { layout, schema, batch_rows, store });
        ProjectionOpener::try_new(self.projection.clone(), opener, file_schema)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table_schema
    }

    fn with_batch_size(&self, batch_rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows, ..self.clone() })
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.table_schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        self.layout.format.extension()
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn fmt_extra(&self, _: DisplayFormatType, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(self.projection.source.iter(), visit)
    }
}

/// Opens files and reads the columns of `schema`.
struct TextOpener {
    layout: Arc<Layout>,
    schema: SchemaRef,
    batch_rows: usize,
    store: Arc<dyn ObjectStore>,
}

impl FileOpener for TextOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        if file.range.is_some() {
            return Err(internal_datafusion_err!("a text file is read as a whole"));
        }
        let (layout, schema) = (Arc::clone(&self.layout), Arc::clone(&self.schema));
        let (batch_rows, store) = (self.batch_rows, Arc::clone(&self.store));
        Ok(Box::pin(async move {
            let rows = Rows::open(&store, &file.object_meta, &layout).await?;
            let scan = Scan::new(rows, &layout, schema, batch_rows)?;
            let batches = try_unfold(scan, |mut scan| async move {
                Ok::<_, DataFusionError>(scan.next().await?.map(|batch| (batch, scan)))
            });
            Ok(batches.boxed())
        }))
    }
}

/// Reads some columns of a file as record batches.
pub(super) struct Scan {
    rows: Rows,
    declared: Declared,
    schema: SchemaRef,
    columns: Vec<ScanColumn>,
    batch_rows: usize,
}

struct ScanColumn {
    name: String,
    column: Column,
    from: From,
}

/// The source of a column's values.
#[derive(Clone, Copy)]
enum From {
    /// This index among the values of the declared columns.
    Declared(usize),
    /// This index in the row.
    Place(usize),
    /// No source: the file lacks the column.
    Nowhere,
}

/// A batch ends once its text reaches this many bytes, however few its rows are.
const MOST_OF_BATCH: usize = 8 << 20;

impl Scan {
    pub(super) fn new(rows: Rows, layout: &Layout, schema: SchemaRef, batch_rows: usize) -> Result<Self> {
        let is_wanted = |name: &str| schema.column_with_name(name).is_some();
        let declared = Declared::new(&layout.text, rows.columns(), is_wanted);
        let columns = schema.fields().iter().enumerate().map(|(at, field)| {
            let name = field.name().clone();
            let from = match (declared.place(&name), rows.columns()) {
                (Some(place), _) => From::Declared(place),
                (None, None) if rows.is_csv() => From::Nowhere,
                (None, None) => From::Place(at),
                (None, Some(columns)) => match columns.iter().position(|column| *column == name) {
                    Some(place) => From::Place(place),
                    None => return Err(Unread::from(TextFault::new(format!("there is no column `{name}`"))).into()),
                },
            };
            Ok(ScanColumn { name, column: Column::new(field.data_type())?, from })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Self { rows, declared, columns, schema, batch_rows })
    }

    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut count = 0;
        let mut bytes = 0;
        while count < self.batch_rows && bytes < MOST_OF_BATCH && self.rows.advance().await? {
            let line = self.rows.line();
            bytes += self.rows.bytes();
            let Some((row, mut values)) = self.declared.take(&self.rows).map_err(Unread::from)? else { continue };
            for ScanColumn { name, column, from } in &mut self.columns {
                let fits = match *from {
                    From::Declared(place) => column.declared(values[place].take()),
                    From::Place(place) => match row.cell(place) {
                        Some(text) => column.cell(text),
                        None => column.json(row.member(name, place)),
                    },
                    From::Nowhere => {
                        column.null();
                        Ok(())
                    }
                };
                fits.map_err(|_| {
                    let what = "it is of another type than all values were when the table was opened";
                    Unread::from(TextFault::at(line, what).in_column(name.as_str()))
                })?;
            }
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(|column| canonical_array(&column.column.finish()?));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?))
    }
}
