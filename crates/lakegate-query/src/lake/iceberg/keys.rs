//! Applies equality deletes: reads the key columns of the data files they may match once, and records the positions of
//! the deleted rows. NULL equals NULL.

use std::collections::{BTreeMap, HashMap, HashSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use iceberg::spec::TableMetadata;

use super::super::TableFault;
use super::super::columns::guarded;
use super::super::data_file::{DataFile, Frame, Reader};
use super::super::deletes::{Deleted, DeletedRows};
use super::super::mapping::{Column, NamedIds};
use super::super::place;
use super::manifests::{Entry, file_name};
use super::schema;

/// Adds the positions of the rows that match equality deletes. `files` are those of `data`, in the same order.
pub(super) async fn resolve(
    reader: &Reader<'_>,
    metadata: &TableMetadata,
    named_ids: &NamedIds,
    deletes: &[&Entry],
    data: &[Entry],
    files: &[DataFile],
    rows: &mut DeletedRows,
) -> Result<(), TableFault> {
    let mut by_ids = BTreeMap::<Vec<i32>, Vec<&Entry>>::new();
    for entry in deletes {
        let mut ids = entry.data_file().equality_ids().unwrap_or_default();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            let name = file_name(entry.data_file().file_path());
            return Err(TableFault::new(format!("`{name}` deletes rows by values, and does not say of which columns")));
        }
        by_ids.entry(ids).or_default().push(entry);
    }
    for (ids, deletes) in by_ids {
        let columns = ids.iter().map(|id| key_column(metadata, *id)).collect::<Result<Vec<_>, _>>()?;
        let fields = columns.iter().map(|column| SortField::new(column.field.data_type().clone())).collect();
        let converter = RowConverter::new(fields)
            .map_err(|error| TableFault::new("rows are deleted by values that cannot be compared").source(error))?;
        let keys_of = async |file: &DataFile, entry: &Entry| {
            let constants = schema::constants(metadata, entry, &columns)?;
            let file = DataFile { path: file.path.clone(), constants, deleted: Deleted::default() };
            batches(reader, &columns, named_ids, file).await
        };
        let uncompared = |error: datafusion::arrow::error::ArrowError| {
            TableFault::new("deleted rows cannot be compared").source(error)
        };
        let mut deleted = Vec::with_capacity(deletes.len());
        for entry in &deletes {
            let path = place::below(reader.lake, entry.data_file().file_path())?;
            // A delete file stores its keys itself, whatever its partition.
            let file = DataFile { path, constants: HashMap::new(), deleted: Deleted::default() };
            let mut keys = HashSet::<OwnedRow>::new();
            for batch in batches(reader, &columns, named_ids, file).await? {
                let converted = converter.convert_columns(batch.columns()).map_err(uncompared)?;
                keys.extend(converted.iter().map(|row| row.owned()));
            }
            deleted.push(keys);
        }
        for (entry, file) in data.iter().zip(files) {
            let applies = |delete: &&Entry| {
                let spec = metadata.partition_spec_by_id(delete.spec_id);
                let is_global = spec.is_some_and(|spec| spec.is_unpartitioned());
                let is_beside =
                    delete.spec_id == entry.spec_id && delete.data_file().partition() == entry.data_file().partition();
                entry.sequence < delete.sequence && (is_global || is_beside)
            };
            let applying = deletes.iter().zip(&deleted).filter(|(delete, _)| applies(delete));
            let applying = applying.map(|(_, keys)| keys).collect::<Vec<_>>();
            if applying.is_empty() {
                continue;
            }
            let mut first = 0;
            for batch in keys_of(file, entry).await? {
                let converted = converter.convert_columns(batch.columns()).map_err(uncompared)?;
                let found = converted.iter().enumerate().filter(|(_, row)| {
                    let row = row.owned();
                    applying.iter().any(|keys| keys.contains(&row))
                });
                rows.add(&file.path, found.map(|(row, _)| first + row as u64).collect::<Vec<_>>());
                first += batch.num_rows() as u64;
            }
        }
    }
    Ok(())
}

/// A column that rows are deleted by. The table may no longer have it.
fn key_column(metadata: &TableMetadata, id: i32) -> Result<Column, TableFault> {
    let mut schemas = metadata.schemas_iter().collect::<Vec<_>>();
    schemas.sort_by_key(|schema| (schema.schema_id() == metadata.current_schema_id(), schema.schema_id()));
    let found = schemas.iter().rev().find_map(|schema| schema.as_struct().fields().iter().find(|field| field.id == id));
    let field = found.ok_or_else(|| {
        TableFault::new(format!("rows are deleted by the field {id}, which is within another or not known"))
            .help("let the table's writer apply its deletes: rewrite its data files")
    })?;
    let column = schema::column(field, true)?;
    let data_type = column.field.data_type();
    if data_type.is_floating() || data_type.is_nested() {
        return Err(TableFault::new(format!(
            "rows are deleted by the column `{}`, whose values are not equal for all",
            field.name
        ))
        .help("let the table's writer apply its deletes: rewrite its data files"));
    }
    Ok(column)
}

/// Reads these columns of all rows of a file, in file order.
pub(super) async fn batches(
    reader: &Reader<'_>,
    columns: &[Column],
    named_ids: &NamedIds,
    file: DataFile,
) -> Result<Vec<RecordBatch>, TableFault> {
    let path = file.path.clone();
    // Two columns may have the same name if one is of an older schema, so they are renamed by index.
    let renamed = columns.iter().enumerate().map(|(at, column)| {
        let field = column.field.as_ref().clone().with_name(format!("key{at}"));
        Column { field: field.into(), ..column.clone() }
    });
    let renamed = renamed.collect::<Vec<_>>();
    let frame = Frame { table: "", columns: &renamed, named_ids, declaration: "", snapshot: None, newest: None };
    let version = reader.version(frame, vec![file]).await?;
    let read = async {
        let plan = version.scan(reader.lake.url(), reader.session, None, None, version.statistics.clone()).await?;
        let mut stream = execute_stream(plan, reader.session.task_ctx())?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await.transpose()? {
            batches.push(batch);
        }
        Ok(batches)
    };
    guarded(reader.lake.is_remote(), read).await.map_err(|error| {
        TableFault::new(format!("`{path}` cannot be read as Parquet: {}", error.text)).passing(error.is_passing)
    })
}
