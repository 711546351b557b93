//! The columns of a table's files: read from every file once, or why the files do not fit together.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use futures::FutureExt;
use lakegate_core::project::FileFormat;

use super::pinned::plain;
use crate::plan::column_type_name;

/// The columns of all files together. The fault is told in words, with the file's path in the lake.
pub(super) async fn read(
    format: &Arc<dyn Format>,
    kind: FileFormat,
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    objects: &[ObjectMeta],
) -> Result<SchemaRef, String> {
    // Parquet names its columns in every file, and the engine reads them by name.
    if kind == FileFormat::Parquet
        && let Ok(schema) = guarded(format.infer_schema(session, store, objects)).await
    {
        return Ok(schema);
    }
    let mut schemas = Vec::<SchemaRef>::with_capacity(objects.len());
    for object in objects {
        let inferred = guarded(format.infer_schema(session, store, std::slice::from_ref(object))).await;
        let schema = inferred.map_err(|error| format!("`{}`: {error}", plain(&object.location)))?;
        if let Some(first) = schemas.first() {
            if kind == FileFormat::Csv && names(first) != names(&schema) {
                // The engine reads CSV by place: other columns would come under these names, also in a row filter.
                let (first, other) = (names(first).join(","), names(&schema).join(","));
                return Err(format!(
                    "`{}` has the columns `{other}`, and the files before it `{first}`",
                    plain(&object.location)
                ));
            }
            types_fit(&schemas, &schema).map_err(|error| format!("`{}`: {error}", plain(&object.location)))?;
        }
        schemas.push(schema);
    }
    let merged = Schema::try_merge(schemas.iter().map(|schema| schema.as_ref().clone()));
    merged.map(Arc::new).map_err(|error| one_line(&error.to_string()))
}

/// Runs what reads a file. A broken one makes some readers panic; then it is broken all the same.
pub(super) async fn guarded<T>(reading: impl Future<Output = Result<T>>) -> Result<T, String> {
    match AssertUnwindSafe(reading).catch_unwind().await {
        Ok(read) => read.map_err(|error| one_line(&error.find_root().strip_backtrace())),
        Err(_) => Err("it is broken".to_owned()),
    }
}

fn names(schema: &Schema) -> Vec<&str> {
    schema.fields().iter().map(|field| field.name().as_str()).collect()
}

fn types_fit(before: &[SchemaRef], schema: &Schema) -> Result<(), String> {
    for field in schema.fields() {
        let other = before.iter().find_map(|other| {
            let other = other.field_with_name(field.name()).ok()?;
            let fits = Schema::try_merge([Schema::new(vec![other.clone()]), Schema::new(vec![field.as_ref().clone()])]);
            fits.is_err().then(|| other.data_type())
        });
        if let Some(other) = other {
            let (here, there) = (column_type_name(field.data_type()), column_type_name(other));
            let (here, there) =
                if here == there { (field.data_type().to_string(), other.to_string()) } else { (here, there) };
            return Err(format!("column `{}` is of type {here}, and of type {there} in files before it", field.name()));
        }
    }
    Ok(())
}

/// The first line, without the engine's names of its layers.
fn one_line(text: &str) -> String {
    let mut line = text.lines().next().unwrap_or_default().trim();
    for layer in ["External: ", "Arrow error: ", "Parquet error: ", "Csv error: ", "Schema error: ", "EOF: "] {
        line = line.strip_prefix(layer).unwrap_or(line);
    }
    line.trim_end_matches('.').to_owned()
}
