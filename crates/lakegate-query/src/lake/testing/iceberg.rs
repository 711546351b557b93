//! For tests: creates Iceberg tables. Writes metadata by hand and manifests with the `iceberg` crate.

use std::fs;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Field;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, ManifestFile, ManifestListWriter,
    ManifestWriterBuilder, PartitionSpec, Schema, Struct,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::write_parquet;

/// An Iceberg table `t` in a lake.
pub(crate) struct IcebergTable {
    pub(crate) lake: TempDir,
    format: u8,
    schema: Value,
    schemas: Vec<Value>,
    spec: Value,
    pub(crate) properties: Value,
    manifests: Vec<ManifestFile>,
    snapshots: Vec<Value>,
    log: Vec<Value>,
    version: u64,
}

/// A field of a schema.
pub(crate) fn field(id: i32, name: &str, data_type: &str) -> Value {
    json!({"id": id, "name": name, "required": false, "type": data_type})
}

impl IcebergTable {
    /// Creates an empty table with these columns, partitioned by these fields of a spec.
    pub(crate) fn new(format: u8, fields: &[Value], spec: Value) -> Self {
        let mut table = Self {
            lake: tempfile::tempdir().unwrap(),
            format,
            schema: Value::Null,
            schemas: Vec::new(),
            spec: json!({"spec-id": 0, "fields": spec}),
            properties: json!({}),
            manifests: Vec::new(),
            snapshots: Vec::new(),
            log: Vec::new(),
            version: 0,
        };
        table.change_columns(fields);
        table
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("file://{}/t/{name}", self.lake.path().canonicalize().unwrap().display())
    }

    /// Replaces the table's columns.
    pub(crate) fn change_columns(&mut self, fields: &[Value]) {
        self.schema = json!({"type": "struct", "schema-id": self.schemas.len(), "fields": fields});
        self.schemas.push(self.schema.clone());
        self.write_metadata();
    }

    /// Writes a Parquet file with two rows in each row group; returns a builder for its manifest entry.
    pub(crate) fn file(
        &self,
        name: &str,
        content: DataContentType,
        columns: Vec<(Field, ArrayRef)>,
    ) -> DataFileBuilder {
        let rows = columns[0].1.len() as u64;
        let size = write_parquet(&self.lake.path().join("t").join(name), columns, 2);
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(self.uri(name))
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(rows)
            .file_size_in_bytes(size);
        builder
    }

    /// A data file of an unpartitioned table.
    pub(crate) fn data(&self, name: &str, columns: Vec<(Field, ArrayRef)>) -> DataFile {
        self.file(name, DataContentType::Data, columns).build().unwrap()
    }

    /// Adds files in a new snapshot; returns its id.
    pub(crate) async fn commit(&mut self, files: Vec<DataFile>) -> i64 {
        let sequence = self.snapshots.len() as i64 + 1;
        let id = 1000 + sequence;
        let io = FileIO::new_with_fs();
        let schema = Arc::new(serde_json::from_value::<Schema>(self.schema.clone()).unwrap());
        let (data, deletes): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.content_type() == DataContentType::Data);
        for (kind, files) in [("data", data), ("deletes", deletes)] {
            if files.is_empty() {
                continue;
            }
            let output = io.new_output(self.uri(&format!("metadata/{sequence}-{kind}.avro"))).unwrap();
            let spec = serde_json::from_value::<PartitionSpec>(self.spec.clone()).unwrap();
            let builder = ManifestWriterBuilder::new(output, Some(id), Arc::clone(&schema), spec);
            let mut writer = match (self.format, kind) {
                (2, "data") => builder.build_v2_data(),
                (2, _) => builder.build_v2_deletes(),
                (_, "data") => builder.build_v3_data(),
                _ => builder.build_v3_deletes(),
            };
            for file in files {
                writer.add_file(file, sequence).unwrap();
            }
            self.manifests.push(writer.write_manifest_file().await.unwrap());
        }
        let list = self.uri(&format!("metadata/snap-{id}.avro"));
        let output = io.new_output(&list).unwrap().writer().await.unwrap();
        let mut writer = match self.format {
            2 => ManifestListWriter::v2(output, id, None, sequence),
            _ => ManifestListWriter::v3(output, id, None, sequence, Some(0)),
        };
        for manifest in &mut self.manifests {
            // A manifest of the previous commit gets that commit's sequence number.
            if manifest.added_snapshot_id != id && manifest.sequence_number < 0 {
                manifest.sequence_number = manifest.added_snapshot_id - 1000;
                manifest.min_sequence_number = manifest.sequence_number;
            }
        }
        writer.add_manifests(self.manifests.clone().into_iter()).unwrap();
        writer.close().await.unwrap();
        let mut snapshot = json!({
            "snapshot-id": id, "sequence-number": sequence, "timestamp-ms": id, "manifest-list": list,
            "summary": {"operation": "append"}, "schema-id": self.schemas.len() - 1,
        });
        if self.format > 2 {
            snapshot["first-row-id"] = json!(0);
            snapshot["added-rows"] = json!(0);
        }
        self.snapshots.push(snapshot);
        self.log.push(json!({"snapshot-id": id, "timestamp-ms": id}));
        self.write_metadata();
        id
    }

    pub(crate) fn metadata(&self) -> Value {
        let current = self.snapshots.last().map_or(json!(-1), |snapshot| snapshot["snapshot-id"].clone());
        let mut metadata = json!({
            "format-version": self.format, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": self.uri("").trim_end_matches('/'), "last-sequence-number": self.snapshots.len(),
            "last-updated-ms": 1000 + self.snapshots.len(), "last-column-id": 100, "schemas": self.schemas,
            "current-schema-id": self.schemas.len() - 1, "partition-specs": [self.spec], "default-spec-id": 0,
            "last-partition-id": 1000, "properties": self.properties, "current-snapshot-id": current,
            "snapshots": self.snapshots, "snapshot-log": self.log, "sort-orders": [{"order-id": 0, "fields": []}],
            "default-sort-order-id": 0, "refs": {},
        });
        if self.format > 2 {
            metadata["next-row-id"] = json!(100);
        }
        if !self.snapshots.is_empty() {
            metadata["refs"] = json!({"main": {"snapshot-id": current, "type": "branch"}});
        }
        metadata
    }

    pub(crate) fn write_metadata(&mut self) {
        let folder = self.lake.path().join("t/metadata");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{:05}-x.metadata.json", self.version)), self.metadata().to_string()).unwrap();
        self.version += 1;
    }
}
