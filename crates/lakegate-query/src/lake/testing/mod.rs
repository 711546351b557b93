//! For tests: writes Parquet files and Delta tables by hand, opens table versions, and queries them.

pub(crate) mod footer;
pub(crate) mod iceberg;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::collect;
use lakegate_core::project::{LakeStore, Project, ProjectFiles};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::table::LakeTable;
use super::version::At;
use super::{Lake, TableFault};
use crate::govern::testing as governed;
use crate::plan::bare_session;

/// A column of a file: its name there, its field id (0 for none) and its values.
pub(crate) fn column(name: &str, id: i32, values: impl Array + 'static) -> (Field, ArrayRef) {
    let note = HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]);
    let field = Field::new(name, values.data_type().clone(), true);
    (if id > 0 { field.with_metadata(note) } else { field }, Arc::new(values))
}

/// Writes a Parquet file with `rows_a_group` rows in each row group; returns its size in bytes.
pub(crate) fn write_parquet(path: &Path, columns: Vec<(Field, ArrayRef)>, rows_a_group: usize) -> u64 {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_a_group)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    fs::metadata(path).unwrap().len()
}

/// A column of a Delta table: its name, its type, and its physical name and id.
pub(crate) type DeltaField<'a> = (&'a str, &'a str, Option<(&'a str, i32)>);

/// A Delta table `t` in a lake, with a log written by hand.
pub(crate) struct DeltaTable {
    pub(crate) lake: TempDir,
    next: u64,
}

impl DeltaTable {
    /// Creates a table with a schema of `(name, type, physical name and id)`.
    pub(crate) fn new(fields: &[DeltaField<'_>], partitions: &[&str], features: &[&str]) -> Self {
        let mut table = Self { lake: tempfile::tempdir().unwrap(), next: 0 };
        let protocol = match features {
            [] => json!({"minReaderVersion": 1, "minWriterVersion": 2}),
            _ => {
                json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features})
            }
        };
        table.commit(&[json!({"protocol": protocol}), Self::metadata(fields, partitions)]);
        table
    }

    /// The action that sets the table's columns.
    pub(crate) fn metadata(fields: &[DeltaField<'_>], partitions: &[&str]) -> Value {
        let mut mode = None;
        let each = fields.iter().map(|(name, data_type, physical)| {
            let metadata = match physical {
                Some((physical, id)) => {
                    mode = Some("name");
                    json!({"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": id})
                }
                None => json!({}),
            };
            json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
        });
        let schema = json!({"type": "struct", "fields": each.collect::<Vec<_>>()}).to_string();
        let configuration = mode.map_or(json!({}), |mode| json!({"delta.columnMapping.mode": mode}));
        json!({"metaData": {
            "id": "0", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": partitions, "configuration": configuration, "createdTime": 0,
        }})
    }

    /// Writes the next version; returns its number.
    pub(crate) fn commit(&mut self, actions: &[Value]) -> u64 {
        let path = self.lake.path().join(format!("t/_delta_log/{:020}.json", self.next));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let lines = actions.iter().map(|action| format!("{action}\n")).collect::<String>();
        fs::write(path, lines).unwrap();
        self.next += 1;
        self.next - 1
    }

    /// Writes a data file with two rows in each row group; returns the action that adds it.
    pub(crate) fn add(&self, name: &str, partitions: Value, columns: Vec<(Field, ArrayRef)>, deleted: &[u16]) -> Value {
        let size = write_parquet(&self.lake.path().join("t").join(name), columns, 2);
        let mut add = json!({
            "path": name, "partitionValues": partitions, "size": size, "modificationTime": 0, "dataChange": true,
        });
        if !deleted.is_empty() {
            let vector = deletion_vector(deleted);
            add["deletionVector"] = json!({
                "storageType": "i", "pathOrInlineDv": z85(&vector), "sizeInBytes": vector.len(), "cardinality": deleted.len(),
            });
        }
        json!({"add": add})
    }
}

/// A deletion vector as a log stores it inline.
fn deletion_vector(deleted: &[u16]) -> Vec<u8> {
    let mut bytes = 1_681_511_377_u32.to_le_bytes().to_vec();
    bytes.extend(roaring(deleted));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A 64-bit roaring bitmap of one container.
pub(crate) fn roaring(places: &[u16]) -> Vec<u8> {
    let mut bytes = 1_u64.to_le_bytes().to_vec();
    for word in [0_u32, 12346, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend((places.len() as u16 - 1).to_le_bytes());
    bytes.extend(16_u32.to_le_bytes());
    places.iter().for_each(|place| bytes.extend(place.to_le_bytes()));
    bytes
}

fn z85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut text = String::new();
    for word in bytes.chunks(4) {
        let mut value = u32::from_be_bytes(word.try_into().unwrap());
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[(value % 85) as usize];
            value /= 85;
        }
        text.push_str(std::str::from_utf8(&digits).unwrap());
    }
    text
}

/// Opens a version of the table `t` of a lake; `table` is its configuration.
pub(crate) async fn open(
    lake: &Path,
    table: &str,
    at: At,
    before: Option<&LakeTable>,
) -> Result<LakeTable, TableFault> {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\n{table}\n");
    let (project, findings) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
    assert!(findings.is_empty(), "{findings:?}");
    let lake = Lake::open(lake, ".", &LakeStore::default()).unwrap();
    let session = bare_session(&lake, Arc::new(RuntimeEnv::default())).unwrap();
    let other = LakeTable::open_at(&lake, &project.config.tables["t"], &session, before, at).await?;
    Ok(other.unwrap_or_else(|| before.unwrap().again()))
}

/// The rows of that version as sorted lines.
pub(crate) async fn rows_at(lake: &Path, table: &str, at: At) -> Result<Vec<String>, TableFault> {
    use datafusion::catalog::TableProvider;
    let opened = open(lake, table, at, None).await?;
    let lake = Lake::open(lake, ".", &LakeStore::default()).unwrap();
    let session = bare_session(&lake, Arc::new(RuntimeEnv::default())).unwrap();
    let plan = opened.scan(&session, None, &[], None).await.unwrap();
    let batches = collect(plan, session.task_ctx()).await.unwrap();
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let columns = columns.collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    Ok(lines)
}

/// The rows that a caller of tenant 1 gets from the table `t` under a row filter; checks that files and the resident
/// table agree.
pub(crate) async fn own(lake: &Path, table: &str, sql: &str) -> Vec<String> {
    let filter = "row_filter = \"tenant = principal('tenant')\"";
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\n{filter}\n{table}\n");
    let project =
        governed::try_project(lake, &config, &[("e", sql)]).await.unwrap_or_else(|faults| panic!("{faults:?}"));
    let who = governed::principal("tenant=1");
    let from_files = governed::rows(governed::governed(&project, &who, "e", "{}").unwrap()).await.unwrap();
    project.keep_hot(1 << 20).await.unwrap();
    let from_memory = governed::rows(governed::governed(&project, &who, "e", "{}").unwrap()).await.unwrap();
    assert_eq!(from_files, from_memory, "{sql}");
    from_files
}

/// The rows that any caller gets from the table `t` when it is shared.
pub(crate) async fn shared(lake: &Path, table: &str, sql: &str) -> Vec<String> {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\n{table}\n");
    let project =
        governed::try_project(lake, &config, &[("e", sql)]).await.unwrap_or_else(|faults| panic!("{faults:?}"));
    governed::rows(governed::governed(&project, &governed::principal(""), "e", "{}").unwrap()).await.unwrap()
}
