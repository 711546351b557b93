//! Tables of files as they lie: Parquet, CSV and NDJSON, found by a location, with hive partitions.
//!
//! Where the files are is `location`'s business, what their columns are is `columns`'s.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Result as DataFusionResult, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_plan::execute_stream;
use futures::{FutureExt, StreamExt};
use lakegate_core::project::{FileFormat, Table, suggest_or_list};
use lakegate_core::value::ScalarType;

use super::location::{self, Look, TableFile, TableFiles};
use super::text::{self, engine_format};
use super::version::{Opened, TableVersion, summary};
use super::{Lake, TableFault, columns, footers, literals, meant, parquet, pinned};
use crate::govern::fingerprint::Fingerprint;
use crate::plan::column_type_name;

/// Finds and reads what is needed once: listing, schema, footers.
pub(super) async fn open(
    lake: &Lake,
    table: &Table,
    session: &dyn Session,
    before: Option<&TableVersion>,
    declaration: &str,
) -> Result<Opened, TableFault> {
    let found = location::find(lake, table, Look::Whole).await?;
    let digest = digest_of(&found, declaration);
    if before.is_some_and(|before| before.digest == digest) {
        return Ok(Opened::Same);
    }
    let format = engine_format(found.format, found.compression, &table.text);
    let (store, is_remote) = (&lake.store, lake.is_remote());
    // From here on every file is read as it was listed, or not at all.
    let pinned = found.files.iter().map(|file| pinned::pin(&file.object)).collect::<Result<Vec<_>, _>>();
    let objects = pinned.map_err(|error| TableFault::new("its files can not be read safely").source(error))?;
    let unreadable = |error: columns::Unreadable| {
        let (kind, text) = (found.format.extension(), error.text);
        TableFault::new(format!("the files at `{}` can not be read as {kind}: {text}", table.location))
            .help("check that all files are complete and have the same columns")
            .passing(error.is_passing)
    };
    let checks = objects.iter().map(|object| match found.format {
        FileFormat::Parquet => footers::check(session, store, is_remote, object).map(|read| read.map(drop)).boxed(),
        format => text::check(store, is_remote, object, format, found.compression, &table.text).boxed(),
    });
    columns::in_order(checks.collect()).await.map_err(unreadable)?;
    let columns = columns::read(&format, found.format, session, store, is_remote, &objects).await;
    let columns::Columns { schema: file_schema, of_files } = columns.map_err(unreadable)?;
    let partition_fields = found
        .partition_columns
        .iter()
        .map(|name| Arc::new(Field::new(name, partition_type(table, name), true)))
        .collect::<Vec<_>>();
    for field in &partition_fields {
        if file_schema.field_with_name(field.name()).is_ok() {
            let message = format!("`{}` is a column of the files and a partition folder", field.name());
            return Err(TableFault::new(message).help("rename the folders, or leave the column out of the files"));
        }
    }
    if let Some(name) = table.partitions.keys().find(|name| !found.partition_columns.contains(name)) {
        let help = match found.partition_columns.is_empty() {
            true => "there are no folders `name=value` there; remove it".to_owned(),
            false => suggest_or_list(name, found.partition_columns.iter().map(String::as_str)),
        };
        let message = format!("there is no partition column `{name}` at `{}`", table.location);
        return Err(TableFault::new(message).help(help));
    }
    let schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(partition_fields).build();
    let reading = objects.iter().zip(&of_files).map(|(object, of_file)| {
        let (format, file_schema) = (&format, &file_schema);
        let read = async move {
            let read = format.infer_stats(session, store, Arc::clone(file_schema), object);
            let read = columns::guarded(is_remote, read).await.map_err(|error| error.of(object))?;
            Ok(columns::as_of_the_table(read, of_file, file_schema))
        };
        read.boxed()
    });
    let statistics = columns::in_order(reading.collect()).await.map_err(unreadable)?;
    let mut files = Vec::with_capacity(found.files.len());
    let listed = found.files.into_iter().zip(objects).zip(statistics);
    let has_decimals = found.format == FileFormat::Parquet
        && file_schema.fields().iter().any(|field| meant::has_decimals(field.data_type()));
    for ((TableFile { partition_values, .. }, object), statistics) in listed {
        let mut file = PartitionedFile::from(object);
        file.partition_values = partition_values
            .into_iter()
            .zip(schema.table_partition_cols())
            .map(|(value, field)| partition_value(value, field))
            .collect::<Result<Vec<_>, _>>()?;
        if has_decimals {
            let read = parquet::noted(session, store, &file.object_meta);
            file.arrow_schema = Some(columns::guarded(is_remote, read).await.map_err(unreadable)?);
        }
        files.push(file.with_statistics(Arc::new(statistics)));
    }
    let mut version = TableVersion {
        statistics: summary(&files, schema.table_schema())?,
        format,
        schema,
        files: FileGroup::new(files),
        mapping: None,
        digest,
        snapshot: None,
        newest: None,
        known: Arc::default(),
    };
    if found.format == FileFormat::Csv {
        let read = literals::with_codes_as_text(version, lake, session);
        version = columns::guarded(is_remote, read).await.map_err(unreadable)?;
        version.statistics = summary(version.files.files(), version.schema.table_schema())?;
    }
    if found.format != FileFormat::Parquet {
        let read = columns::guarded(is_remote, read_through(&version, lake, session)).await;
        let (rows, inexact) = read.map_err(unreadable)?;
        version = with_rows(version, rows);
        if let Some(column) = inexact {
            let message = format!(
                "column `{column}` at `{}` has whole numbers of 16 digits and more among others: two of them may become one",
                table.location
            );
            return Err(TableFault::new(message).help("write them as text, or ingest the files"));
        }
    }
    Ok(Opened::Other(Box::new(version)))
}

/// Whether the files are those of this version.
pub(super) async fn is_current(
    lake: &Lake,
    table: &Table,
    version: &TableVersion,
    declaration: &str,
) -> Result<bool, TableFault> {
    Ok(digest_of(&location::find(lake, table, Look::Again).await?, declaration) == version.digest)
}

/// Whether there are files, whatever is in them.
pub(super) async fn is_there(lake: &Lake, table: &Table) -> Result<(), TableFault> {
    location::find(lake, table, Look::Again).await.map(drop)
}

/// Reads every row once. Text files are only known to be readable when they were read: a row that is not would fail
/// the queries of all callers, whosever it is. Gives the number of rows, and the name of a column whose numbers may not be
/// those of the text.
async fn read_through(
    version: &TableVersion,
    lake: &Lake,
    session: &dyn Session,
) -> DataFusionResult<(usize, Option<String>)> {
    let plan = version.scan(lake.url(), session, None, None, version.statistics.clone()).await?;
    let mut rows = execute_stream(plan, session.task_ctx())?;
    let (mut count, mut inexact) = (0, None);
    while let Some(batch) = rows.next().await.transpose()? {
        count += batch.num_rows();
        inexact = inexact.or_else(|| literals::inexact(&batch));
    }
    Ok((count, inexact))
}

/// The version with the number of its rows, for estimates: text files are read whole, so it does not matter in which of
/// them they are.
fn with_rows(mut version: TableVersion, rows: usize) -> TableVersion {
    version.statistics.num_rows = Precision::Inexact(rows);
    let of_each = rows.div_ceil(version.files.len().max(1));
    let files = version.files.files().iter().cloned().map(|file| {
        let known = file.statistics.as_deref().cloned();
        let mut statistics = known.unwrap_or_else(|| Statistics::new_unknown(version.schema.file_schema()));
        statistics.num_rows = Precision::Inexact(of_each);
        file.with_statistics(Arc::new(statistics))
    });
    version.files = FileGroup::new(files.collect());
    version
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
        return ScalarValue::try_from(field.data_type())
            .map_err(|error| TableFault::new("a partition has no type").source(error));
    };
    ScalarValue::try_from_string(text.clone(), field.data_type()).map_err(|_| {
        let (name, declared) = (field.name(), column_type_name(field.data_type()));
        TableFault::new(format!("the partition folder `{name}={text}` is not of the declared type {declared}"))
            .help(format!("correct the folder, or `{name}` under `partitions`"))
    })
}

/// A version is of its files, and of how the project says that they are read.
fn digest_of(found: &TableFiles, declaration: &str) -> [u8; 32] {
    let mut version = Fingerprint::new("lakegate table version v1");
    version.text(declaration);
    version.text(found.format.extension());
    version.text(found.compression.name());
    for file in &found.files {
        let object = &file.object;
        version.text(&object.location);
        version.text(object.size);
        version.text(object.last_modified.timestamp_micros());
        version.text(format_args!("{:?} {:?}", object.e_tag, object.version));
    }
    version.bytes()
}
