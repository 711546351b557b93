//! Checks partition columns that some writers also store inside the files: every row must have the value of its folder.
//!
//! A folder's value prunes files and feeds row filters, so a row with another value would belong to another caller. The
//! check does not trust statistics: it reads the rows, once per version of a file.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::file_format::FileFormat as Format;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::Lake;
use super::columns::{Unreadable, guarded};
use super::parquet::Verified;
use super::version::TableVersion;

/// The type of a partition column that the files also store, when the project declares none. `None` for nested types.
pub(super) fn type_in_files(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, value) => type_in_files(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Some(DataType::Utf8),
        other if other.is_nested() => None,
        other => Some(other.clone()),
    }
}

/// The schema without the named columns.
pub(super) fn without(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| !names.contains(field.name())).map(Arc::clone);
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}

/// Reads those columns of a file that are also partition columns, and compares every row with the folder's value.
pub(super) async fn check(
    lake: &Lake,
    session: &dyn Session,
    format: &Arc<dyn Format>,
    object: &ObjectMeta,
    of_file: &SchemaRef,
    partitions: &[(&Field, &ScalarValue)],
) -> std::result::Result<(), Unreadable> {
    let known = Verified::part(object, format_args!("{partitions:?}").to_string());
    if lake.verified.has(known) {
        return Ok(());
    }
    let of_both =
        partitions.iter().filter_map(|(field, value)| Some((of_file.index_of(field.name()).ok()?, *field, *value)));
    let of_both = of_both.collect::<Vec<_>>();
    let places = of_both.iter().map(|(place, ..)| *place).collect::<Vec<_>>();
    let reading = async {
        let schema = TableSchema::from(Arc::clone(of_file));
        let unknown = Statistics::new_unknown(of_file);
        // Without statistics, because the engine would replace a column with the constant that they claim.
        let file = PartitionedFile::from(object.clone());
        let version = TableVersion {
            format: Arc::clone(format),
            schema,
            files: FileGroup::new(vec![file]),
            statistics: unknown.clone(),
            mapping: None,
            digest: [0; 32],
            snapshot: None,
            newest: None,
            known: Arc::default(),
            restrictions: None,
        };
        let plan = version.scan(lake.url(), session, Some(&places), None, unknown).await?;
        let mut rows = execute_stream(plan, session.task_ctx())?;
        while let Some(batch) = rows.next().await.transpose()? {
            for (column, (_, field, value)) in batch.columns().iter().zip(&of_both) {
                if !agrees(column, value)? {
                    return Ok(Some(field.name().clone()));
                }
            }
        }
        Ok(None)
    };
    match guarded(lake.is_remote(), reading).await.map_err(|error| error.of(object))? {
        None => {
            lake.verified.add(known);
            Ok(())
        }
        Some(name) => {
            let text = format!("its rows have another `{name}` than its folder says");
            Err(Unreadable::from(text).of(object))
        }
    }
}

/// Whether every row has this value.
fn agrees(column: &ArrayRef, value: &ScalarValue) -> Result<bool> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    // A value that does not cast to the folder's type differs from the folder's value.
    let Ok(as_folder) = cast_with_options(column, &value.data_type(), &options) else { return Ok(false) };
    let same = not_distinct(&as_folder, &value.to_scalar()?)?;
    if same.true_count() != column.len() {
        return Ok(false);
    }
    // A value that loses something in the folder's type also differs, such as 1.9 read as 1.
    if column.data_type().is_string() {
        return Ok(true);
    }
    let Ok(back) = cast_with_options(&as_folder, column.data_type(), &options) else { return Ok(false) };
    Ok(not_distinct(&back, column)?.true_count() == column.len())
}
