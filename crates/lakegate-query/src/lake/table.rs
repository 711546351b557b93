//! A table of the lake as DataFusion reads it: files found once, schema and statistics read once.
//!
//! A `LakeTable` gives all rows; who sees which of them is `govern`'s business, which knows governed scans by this type.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result as DataFusionResult, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat as DataFusionFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use lakegate_core::project::{FileFormat, Table};
use lakegate_core::value::ScalarType;

use super::location::{self, TableFile};
use super::{Lake, TableFault};

/// One version of a table: its files, schema and statistics as they were when it was opened.
#[derive(Debug)]
pub struct LakeTable {
    name: String,
    store_url: ObjectStoreUrl,
    format: Arc<dyn DataFusionFormat>,
    schema: TableSchema,
    files: FileGroup,
    statistics: Statistics,
}

impl LakeTable {
    /// Finds and reads what is needed once: listing, schema, footers.
    pub(crate) async fn open(lake: &Lake, table: &Table, session: &dyn Session) -> Result<Self, TableFault> {
        let found = location::find(lake, table).await?;
        let format = data_fusion_format(found.format);
        let objects = found.files.iter().map(|file| file.object.clone()).collect::<Vec<_>>();
        let unreadable = |error| {
            TableFault::new(format!("the files at `{}` can not be read as {}", table.location, found.format.extension()))
                .help("check that they are complete and that all have the same columns")
                .source(error)
        };
        let file_schema = format.infer_schema(session, &lake.store, &objects).await.map_err(unreadable)?;
        let partition_fields = found
            .partition_columns
            .iter()
            .map(|name| Arc::new(Field::new(name, partition_type(table, name), true)))
            .collect::<Vec<_>>();
        for field in &partition_fields {
            if file_schema.field_with_name(field.name()).is_ok() {
                return Err(TableFault::new(format!("`{}` is a column of the files and a partition folder", field.name())));
            }
        }
        if let Some(name) = table.partitions.keys().find(|name| !found.partition_columns.contains(name)) {
            return Err(TableFault::new(format!("there is no partition column `{name}` at `{}`", table.location)));
        }
        let schema = TableSchema::new(Arc::clone(&file_schema), partition_fields);
        let mut files = Vec::with_capacity(found.files.len());
        for TableFile { object, partition_values } in found.files {
            let statistics =
                format.infer_stats(session, &lake.store, Arc::clone(&file_schema), &object).await.map_err(unreadable)?;
            let mut file = PartitionedFile::from(object);
            file.partition_values = partition_values
                .into_iter()
                .zip(schema.table_partition_cols())
                .map(|(value, field)| partition_value(value, field))
                .collect::<Result<Vec<_>, _>>()?;
            files.push(file.with_statistics(Arc::new(statistics)));
        }
        let statistics = summary(&files, schema.table_schema())?;
        Ok(Self {
            name: table.name.clone(),
            store_url: lake.url.clone(),
            format,
            schema,
            files: FileGroup::new(files),
            statistics,
        })
    }

    /// The table's name in the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of rows, when the files tell.
    pub fn rows(&self) -> Option<usize> {
        match self.statistics.num_rows {
            Precision::Exact(rows) => Some(rows),
            _ => None,
        }
    }

    /// How many files it has.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters are not looked at here: the physical optimiser moves those that stand above the scan into it, and
    /// only those that governance lets stand there.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(vec![self.files.clone()])
            .with_statistics(self.statistics.clone())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(session, config).await
    }
}

fn data_fusion_format(format: FileFormat) -> Arc<dyn DataFusionFormat> {
    match format {
        FileFormat::Parquet => Arc::new(ParquetFormat::default()),
        // The whole file is looked at, so that no row further down can be of another type than the column.
        FileFormat::Csv => Arc::new(CsvFormat::default().with_has_header(true).with_schema_infer_max_rec(usize::MAX)),
    }
}

fn partition_type(table: &Table, column: &str) -> DataType {
    match table.partitions.get(column) {
        Some(ScalarType::Integer) => DataType::Int64,
        Some(ScalarType::Date) => DataType::Date32,
        _ => DataType::Utf8,
    }
}

fn partition_value(value: Option<String>, field: &Field) -> Result<ScalarValue, TableFault> {
    let Some(text) = value else {
        return ScalarValue::try_from(field.data_type()).map_err(|error| TableFault::new("a partition has no type").source(error));
    };
    ScalarValue::try_from_string(text.clone(), field.data_type()).map_err(|error| {
        TableFault::new(format!("the partition folder `{}={text}` is not of the declared type", field.name())).source(error)
    })
}

/// The statistics of all files together.
fn summary(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics, TableFault> {
    let each = files.iter().filter_map(|file| file.statistics.as_deref());
    Statistics::try_merge_iter(each, schema).map_err(|error| TableFault::new("the files' statistics do not fit together").source(error))
}

/// The lake table behind a scan.
pub(crate) fn lake_table(provider: &dyn Any) -> Option<&LakeTable> {
    provider.downcast_ref()
}
