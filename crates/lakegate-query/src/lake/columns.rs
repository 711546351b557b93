//! Merges the columns of a table's Parquet files into one schema, or reports why the files do not fit together. Each
//! file is read once.
//!
//! `widening` decides which types widen to which. `text` finds the columns of text files.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::file::metadata::ParquetMetaData;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::pinned::plain;
use super::store::is_passing;
use super::text::MOST_COLUMNS;
use super::widening::widest;
use crate::plan::column_type_name;
use crate::uuids;

/// Number of files of one table that are read concurrently.
const AT_ONCE: usize = 16;

/// The merged schema, and the schema of each file in the order of the files.
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) of_files: Vec<SchemaRef>,
}

/// Why files cannot be read, as text with the file's path in the lake.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) text: String,
    /// Whether a retry may succeed.
    pub(super) is_passing: bool,
}

impl From<String> for Unreadable {
    fn from(text: String) -> Self {
        Self { text, is_passing: false }
    }
}

impl Unreadable {
    pub(super) fn of(self, object: &ObjectMeta) -> Self {
        Self { text: format!("`{}`: {}", plain(&object.location), self.text), ..self }
    }
}

/// Reads the columns of every file.
pub(super) async fn read(
    format: &Arc<dyn Format>,
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    is_remote: bool,
    objects: &[ObjectMeta],
    footers: &[Arc<ParquetMetaData>],
) -> Result<Columns, Unreadable> {
    let reading = objects.iter().map(|object| {
        let inferred = guarded(is_remote, format.infer_schema(session, store, std::slice::from_ref(object)));
        inferred.map(|inferred| inferred.map_err(|error| error.of(object))).boxed()
    });
    let of_files = in_order(reading.collect()).await?;
    let of_files = of_files.iter().zip(footers);
    let of_files = of_files.map(|(schema, footer): (&SchemaRef, _)| Arc::new(uuids::marked_by(footer, schema)));
    let of_files = of_files.collect::<Vec<_>>();
    let schema = together(&of_files, objects)?;
    Ok(Columns { schema: Arc::new(schema), of_files })
}

/// Runs the futures, `AT_ONCE` at a time, and returns their results in order, or the first failure.
pub(super) async fn in_order<T, E>(reading: Vec<BoxFuture<'_, Result<T, E>>>) -> Result<Vec<T>, E> {
    stream::iter(reading).buffered(AT_ONCE).try_collect().await
}

/// The columns of all files, in order of first appearance. Each has a type that holds the values of every file.
fn together(schemas: &[SchemaRef], objects: &[ObjectMeta]) -> Result<Schema, String> {
    let mut fields = Vec::<FieldRef>::new();
    for (at, (schema, object)) in schemas.iter().zip(objects).enumerate() {
        for field in schema.fields() {
            let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
                // A column that earlier files lack is NULL in them.
                let is_nullable = field.is_nullable() || at > 0;
                fields.push(Arc::new(field.as_ref().clone().with_nullable(is_nullable)));
                continue;
            };
            let is_nullable = known.is_nullable() || field.is_nullable();
            let Some(data_type) = widest(known.data_type(), field.data_type()) else {
                let error = types_differ(field, known);
                return Err(format!("`{}`: {error}", plain(&object.location)));
            };
            let merged = Field::new(field.name(), data_type, is_nullable);
            // A UUID column in one file does not make the bytes of another file UUIDs.
            *known = Arc::new(if uuids::is_uuid(known) { uuids::marked_as(field, merged) } else { merged });
        }
        for known in &mut fields {
            if !known.is_nullable() && schema.field_with_name(known.name()).is_err() {
                *known = Arc::new(known.as_ref().clone().with_nullable(true));
            }
        }
    }
    if fields.len() > MOST_COLUMNS {
        return Err(format!("there are {} columns in them, more than {MOST_COLUMNS} columns", fields.len()));
    }
    Ok(Schema::new(fields))
}

/// The statistics of a file in terms of the table's columns. A column with a narrower type in the file keeps only its
/// NULL count, and a column that the file lacks is NULL in every row.
pub(super) fn as_of_the_table(mut statistics: Statistics, of_file: &Schema, table: &Schema) -> Statistics {
    for (column, field) in statistics.column_statistics.iter_mut().zip(table.fields()) {
        match of_file.field_with_name(field.name()) {
            Ok(own) if own.data_type() == field.data_type() => {}
            Ok(_) => {
                let null_count = column.null_count;
                *column = ColumnStatistics { null_count, ..ColumnStatistics::new_unknown() };
            }
            Err(_) => {
                let null_count = match statistics.num_rows {
                    Precision::Exact(rows) => Precision::Exact(rows),
                    _ => Precision::Absent,
                };
                *column = ColumnStatistics { null_count, ..ColumnStatistics::new_unknown() };
            }
        }
    }
    statistics
}

/// Runs a future that reads a file. A panic counts as a broken file, because broken files make some readers panic.
pub(super) async fn guarded<T>(is_remote: bool, reading: impl Future<Output = Result<T>>) -> Result<T, Unreadable> {
    match AssertUnwindSafe(reading).catch_unwind().await {
        Ok(read) => read.map_err(|error| Unreadable {
            is_passing: is_passing(&error, is_remote),
            text: one_line(&error.find_root().strip_backtrace()),
        }),
        Err(_) => Err("it is broken".to_owned().into()),
    }
}

fn types_differ(field: &Field, before: &Field) -> String {
    let (here, there) = (column_type_name(field.data_type()), column_type_name(before.data_type()));
    let (here, there) = match here == there {
        true => (field.data_type().to_string(), before.data_type().to_string()),
        false => (here, there),
    };
    format!("column `{}` is of type {here}, and of type {there} in files before it", field.name())
}

/// The first line of an error, without the engine's layer prefixes.
pub(super) fn one_line(text: &str) -> String {
    let mut line = text.lines().next().unwrap_or_default().trim();
    for layer in [
        "Object Store error: ",
        "External: ",
        "External error: ",
        "Arrow error: ",
        "Parquet error: ",
        "Csv error: ",
        "Json error: ",
        "Schema error: ",
        "EOF: ",
    ] {
        line = line.strip_prefix(layer).unwrap_or(line);
    }
    line.trim_end_matches('.').to_owned()
}
