//! Opens tables of plain Parquet, CSV and NDJSON files, found by their location, with hive partitions.
//!
//! `location` finds the files, and `columns` their columns.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::table_schema::TableSchema;
use futures::FutureExt;
use lakegate_core::project::{FileFormat, Table, suggest_or_list};
use lakegate_core::value::ScalarType;

use super::contained_format::ContainedFormat;
use super::location::{self, Look, TableFiles};
use super::parquet_format::{self, Parquet};
use super::version::{Opened, TableVersion, summary};
use super::{Lake, TableFault, agreement, columns, footers, meant, pinned, text};
use crate::floats::canonical_scalar;
use crate::govern::fingerprint::Fingerprint;
use crate::plan::column_type_name;

/// Reads everything that is needed once: listing, schema and footers.
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
    let (store, is_remote) = (&lake.store, lake.is_remote());
    // From here on, every read returns the listed version of a file or fails.
    let pinned = found.files.iter().map(|file| pinned::pin(&file.object)).collect::<Result<Vec<_>, _>>();
    let objects = pinned.map_err(|error| TableFault::new("its files cannot be read safely").source(error))?;
    let unreadable = |error: columns::Unreadable| {
        let (kind, text) = (found.format.extension(), error.text);
        TableFault::new(format!("the files at `{}` cannot be read as {kind}: {text}", table.location))
            .help("check that all files are complete and have the same columns")
            .passing(error.is_passing)
    };
    let mut rows = None;
    let (format, columns): (Arc<dyn Format>, _) = match found.format {
        FileFormat::Parquet => {
            let checks = objects.iter();
            let checks = checks.map(|object| footers::check(session, store, is_remote, object).boxed());
            let footers = columns::in_order(checks.collect()).await.map_err(unreadable)?;
            let format = ContainedFormat::new(Arc::new(Parquet::default()), lake, &table.name);
            let columns = columns::read(&format, session, store, is_remote, &objects, &footers).await;
            (format, columns.map_err(unreadable)?)
        }
        kind => {
            let read = text::read(store, is_remote, &objects, kind, found.compression, &table.text);
            let read = read.await.map_err(unreadable)?;
            if !read.skipped.is_nothing() {
                let text::Skipped { values, rows, files } = read.skipped;
                tracing::warn!(
                    table = table.name,
                    rejected_rows = rows,
                    null_values = values,
                    empty_files = files,
                    "files of the table are not served as they are written"
                );
            }
            rows = Some(read.rows);
            let of_files = vec![Arc::clone(&read.schema); objects.len()];
            (read.format, columns::Columns { schema: read.schema, of_files })
        }
    };
    let columns::Columns { schema: file_schema, of_files } = columns;
    let mut partition_fields = Vec::with_capacity(found.partition_columns.len());
    for name in &found.partition_columns {
        let data_type = match file_schema.field_with_name(name) {
            Err(_) => partition_type(table, name).unwrap_or(DataType::Utf8),
            Ok(field) => type_of_both(table, found.format, field)?,
        };
        partition_fields.push(Arc::new(Field::new(name, data_type, true)));
    }
    if let Some(name) = table.partitions.keys().find(|name| !found.partition_columns.contains(name)) {
        let help = match found.partition_columns.is_empty() {
            true => "there are no folders `name=value` there; remove it".to_owned(),
            false => suggest_or_list(name, found.partition_columns.iter().map(String::as_str)),
        };
        let message = format!("there is no partition column `{name}` at `{}`", table.location);
        return Err(TableFault::new(message).help(help));
    }
    // The folder's value is the column's value; the check below compares it with the rows.
    let file_schema = agreement::without(&file_schema, &found.partition_columns);
    let schema = TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(partition_fields).build();
    let values = found.files.iter().map(|file| {
        let pairs = file.partition_values.iter().zip(schema.table_partition_cols());
        pairs.map(|(value, field)| partition_value(table, value.clone(), field)).collect::<Result<Vec<_>, _>>()
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let comparing = objects.iter().zip(&of_files).zip(&values).filter_map(|((object, of_file), values)| {
        let of_both = schema.table_partition_cols().iter().map(AsRef::as_ref).zip(values);
        let of_both = of_both.filter(|(field, _)| of_file.index_of(field.name()).is_ok()).collect::<Vec<_>>();
        let format = &format;
        (!of_both.is_empty())
            .then(|| async move { agreement::check(lake, session, format, object, of_file, &of_both).await }.boxed())
    });
    columns::in_order(comparing.collect()).await.map_err(unreadable)?;
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
    let is_mended = found.format == FileFormat::Parquet
        && file_schema.fields().iter().any(|field| meant::is_looked_at(field.data_type()));
    for ((values, object), statistics) in values.into_iter().zip(objects).zip(statistics) {
        let mut file = PartitionedFile::from(object);
        file.partition_values = values;
        if is_mended {
            let read = parquet_format::noted(session, store, &file.object_meta);
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
        restrictions: None,
    };
    if let Some(rows) = rows {
        version = with_rows(version, &rows);
    }
    Ok(Opened::Other(Box::new(version)))
}

/// Whether the files in the lake are still those of this version.
pub(super) async fn is_current(
    lake: &Lake,
    table: &Table,
    version: &TableVersion,
    declaration: &str,
) -> Result<bool, TableFault> {
    Ok(digest_of(&location::find(lake, table, Look::Again).await?, declaration) == version.digest)
}

/// The digest of the files that the lake has now, without reading them.
pub(super) async fn newest(lake: &Lake, table: &Table, declaration: &str) -> Result<String, TableFault> {
    let digest = digest_of(&location::find(lake, table, Look::Again).await?, declaration);
    Ok(HEXLOWER.encode(&digest))
}

/// Adds the number of rows and bytes of each text file, as estimates.
fn with_rows(mut version: TableVersion, rows: &[(usize, usize)]) -> TableVersion {
    version.statistics.num_rows = Precision::Inexact(rows.iter().map(|(rows, _)| rows).sum());
    version.statistics.total_byte_size = Precision::Inexact(rows.iter().map(|(_, bytes)| bytes).sum());
    let files = version.files.files().iter().cloned().zip(rows).map(|(file, (rows, bytes))| {
        let known = file.statistics.as_deref().cloned();
        let mut statistics = known.unwrap_or_else(|| Statistics::new_unknown(version.schema.file_schema()));
        statistics.num_rows = Precision::Inexact(*rows);
        statistics.total_byte_size = Precision::Inexact(*bytes);
        file.with_statistics(Arc::new(statistics))
    });
    version.files = FileGroup::new(files.collect());
    version
}

/// The declared type of a partition column.
fn partition_type(table: &Table, column: &str) -> Option<DataType> {
    Some(match table.partitions.get(column)? {
        ScalarType::Integer => DataType::Int64,
        ScalarType::Date => DataType::Date32,
        _ => DataType::Utf8,
    })
}

/// The type of a partition column that the files also store.
fn type_of_both(table: &Table, format: FileFormat, field: &Field) -> Result<DataType, TableFault> {
    let name = field.name();
    // The engine reads CSV by position, so it cannot leave out a column.
    let in_files = agreement::type_in_files(field.data_type()).filter(|_| format != FileFormat::Csv);
    let in_files = in_files.ok_or_else(|| {
        TableFault::new(format!("`{name}` is a column of the files and a partition folder"))
            .help("rename the folders, or leave the column out of the files")
    })?;
    Ok(partition_type(table, name).unwrap_or(in_files))
}

fn partition_value(table: &Table, value: Option<String>, field: &Field) -> Result<ScalarValue, TableFault> {
    let Some(text) = value else {
        return ScalarValue::try_from(field.data_type())
            .map_err(|error| TableFault::new("a partition has no type").source(error));
    };
    ScalarValue::try_from_string(text.clone(), field.data_type()).and_then(canonical_scalar).map_err(|_| {
        let (name, of_type) = (field.name(), column_type_name(field.data_type()));
        match table.partitions.contains_key(name) {
            true => {
                TableFault::new(format!("the partition folder `{name}={text}` is not of the declared type {of_type}"))
                    .help(format!("correct the folder, or `{name}` under `partitions`"))
            }
            false => TableFault::new(format!(
                "the partition folder `{name}={text}` is not of the type {of_type}, which the column has in the files"
            ))
            .help("correct the folder, or leave the column out of the files"),
        }
    })
}

/// The digest covers the files and the declaration of how to read them.
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
