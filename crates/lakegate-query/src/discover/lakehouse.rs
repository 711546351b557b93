//! Reads the columns of Delta and Iceberg tables from their metadata. The tables themselves are read in `lake`.

use datafusion::object_store::ObjectMeta;
use datafusion::object_store::ObjectStoreExt;
use lakegate_core::discover::{ColumnClass, FoundColumn, FoundTable};
use serde_json::Value;

use super::grouping::Candidate;
use super::walk::Lakehouse;
use crate::lake::Lake;

/// Size limit of a metadata file, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// Delta commits that are searched for the columns, from the newest one backwards.
const MOST_COMMITS: usize = 100;

pub(super) async fn table(lake: &Lake, folder: Lakehouse) -> Candidate {
    let location = if folder.path.is_empty() { ".".to_owned() } else { format!("{}/", folder.path) };
    let mut table =
        FoundTable { location, format: folder.format.to_owned(), needs_format_key: true, ..FoundTable::default() };
    let found = match folder.format {
        "delta" => delta(lake, &folder.metadata).await,
        _ => iceberg(lake, &folder.metadata, &mut table.rows).await,
    };
    match found {
        Some(columns) => table.columns = columns,
        None => {
            table.notes.push("its columns were not found in its metadata; `check` reads it as it is served".to_owned())
        }
    }
    Candidate { table, ..Candidate::default() }
}

async fn read(lake: &Lake, object: &ObjectMeta) -> Option<String> {
    if object.size > MOST_BYTES {
        return None;
    }
    let bytes = lake.store().get(&object.location).await.ok()?.bytes().await.ok()?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// The columns from the newest commit that has a `metaData` action.
async fn delta(lake: &Lake, log: &[ObjectMeta]) -> Option<Vec<FoundColumn>> {
    let mut commits = log.iter().filter(|object| object.location.as_ref().ends_with(".json")).collect::<Vec<_>>();
    commits.sort_by(|one, other| other.location.cmp(&one.location));
    for commit in commits.into_iter().take(MOST_COMMITS) {
        let text = read(lake, commit).await?;
        let actions = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let metadata =
            actions.filter_map(|action| action.pointer("/metaData/schemaString")?.as_str().map(str::to_owned));
        if let Some(schema) = metadata.reduce(|_, last| last) {
            let schema = serde_json::from_str::<Value>(&schema).ok()?;
            return columns(schema.get("fields")?);
        }
    }
    None
}

/// The columns from the newest metadata file. Sets `rows` to the row count of its current snapshot.
async fn iceberg(lake: &Lake, metadata: &[ObjectMeta], rows: &mut Option<u64>) -> Option<Vec<FoundColumn>> {
    let files = metadata.iter().filter(|object| object.location.as_ref().ends_with(".metadata.json"));
    let last = files.max_by_key(|object| (object.last_modified, object.location.clone()))?;
    let read = serde_json::from_str::<Value>(&read(lake, last).await?).ok()?;
    let current = read.get("current-schema-id");
    let schema = match read.get("schemas").and_then(Value::as_array) {
        Some(schemas) => schemas.iter().find(|schema| schema.get("schema-id") == current)?,
        None => read.get("schema")?,
    };
    let snapshot = read.get("current-snapshot-id");
    let snapshots = read.get("snapshots").and_then(Value::as_array);
    let snapshot = snapshots.and_then(|all| all.iter().find(|each| each.get("snapshot-id") == snapshot));
    let summary = |key: &str| snapshot?.pointer(&format!("/summary/{key}"))?.as_str()?.parse::<u64>().ok();
    // `total-records` still counts rows that delete files remove.
    if summary("total-delete-files").unwrap_or(0) == 0 {
        *rows = summary("total-records");
    }
    columns(schema.get("fields")?)
}

fn columns(fields: &Value) -> Option<Vec<FoundColumn>> {
    let column = |field: &Value| {
        let data_type = field.get("type")?;
        let type_name = data_type.as_str().or_else(|| data_type.get("type")?.as_str()).unwrap_or("struct").to_owned();
        let kind = match type_name.as_str() {
            "int" | "integer" | "long" | "short" | "byte" => ColumnClass::Integer,
            "string" | "uuid" => ColumnClass::Text,
            name if name.starts_with("timestamp") || name == "date" => ColumnClass::Time,
            _ => ColumnClass::Other,
        };
        Some(FoundColumn { name: field.get("name")?.as_str()?.to_owned(), type_name, kind, sample: None, range: None })
    };
    fields.as_array()?.iter().map(column).collect()
}
