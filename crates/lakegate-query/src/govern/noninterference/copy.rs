//! Writes lakes: the whole one, and the copy that has only a caller's rows with masked values. Does not use DataFusion
//! for either.

use std::path::Path;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use lakegate_core::project::{MaskSpec, Project, ProjectFiles};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::super::mask::{Mask, MaskKey, MaskRule};
use super::check::Plain;
use super::world::{Kind, Row};

pub(super) const KEY: &str = "a key of masks for tests, and only for tests";

/// The lake of all tables with these rows.
pub(super) fn lake(tables: &[Plain], rows: &[Vec<Row>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (table, rows) in tables.iter().zip(rows) {
        write(folder.path(), table, batch(table, rows));
    }
    folder
}

/// The lake of the visible rows, masked.
pub(super) fn own_lake(tables: &[Plain], visible: &[Vec<bool>], masks: &[Vec<(String, String)>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for ((table, visible), masks) in tables.iter().zip(visible).zip(masks) {
        let own = table.rows.iter().zip(visible).filter(|(_, sees)| **sees).map(|(row, _)| row.clone());
        let own = batch(table, &own.collect::<Vec<_>>());
        write(folder.path(), table, masked(&own, masks));
    }
    folder
}

/// Parses the masks of columns from TOML.
fn specs(masks: &[(String, String)]) -> Vec<(Vec<String>, MaskSpec)> {
    let columns = masks.iter().map(|(column, mask)| format!("[tables.t.columns.{}]\nmask = {mask}\n", json!(column)));
    let config = format!(
        "[lake]\nlocation = \".\"\n[masking]\nkey = \"env:K\"\n[tables.t]\nlocation = \"t\"\nshared = true\n{}",
        columns.collect::<String>()
    );
    let (project, findings) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
    assert!(findings.is_empty(), "{findings:?}");
    let table = &project.config.tables["t"];
    let of_rule = |rule| project.config.masks(rule).next().unwrap().1.clone();
    table.columns.iter().map(|rule| (rule.name.split('.').map(str::to_owned).collect(), of_rule(rule))).collect()
}

fn masked(batch: &RecordBatch, masks: &[(String, String)]) -> RecordBatch {
    let key = Arc::new(MaskKey::new(KEY).unwrap());
    let specs = specs(masks);
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, array)| {
        let of_column = specs.iter().filter(|(path, _)| path[0] == *field.name());
        let rules = of_column.map(|(path, spec)| MaskRule { path: &path[1..], spec, or_null: false });
        let rules = rules.collect::<Vec<_>>();
        match rules.is_empty() {
            true => Arc::clone(array),
            false => Mask::compile(&rules, field.data_type(), Some(&key)).unwrap().apply(array),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

fn write(folder: &Path, table: &Plain, batch: RecordBatch) {
    let files = table.files.min(batch.num_rows()).max(1);
    let each = batch.num_rows().div_ceil(files).max(1);
    for at in 0..files {
        let start = (at * each).min(batch.num_rows());
        let part = batch.slice(start, each.min(batch.num_rows() - start));
        let path = match files {
            1 => folder.join(format!("{}.parquet", table.name)),
            _ => {
                std::fs::create_dir_all(folder.join(&table.name)).unwrap();
                folder.join(&table.name).join(format!("part-{at}.parquet"))
            }
        };
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(table.group)).build();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&part).unwrap();
        writer.close().unwrap();
    }
}

fn batch(table: &Plain, rows: &[Row]) -> RecordBatch {
    let arrays = table.columns.iter().enumerate().map(|(at, (name, kind))| {
        let values = rows.iter().map(|row| &row[at]).collect::<Vec<_>>();
        (Field::new(name, data_type(*kind), true), array(*kind, &values))
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = arrays.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn data_type(kind: Kind) -> DataType {
    array(kind, &[]).data_type().clone()
}

fn array(kind: Kind, values: &[&Json]) -> ArrayRef {
    let values = values.iter();
    match kind {
        Kind::Key | Kind::Int => Arc::new(values.map(|value| value.as_i64()).collect::<Int64Array>()),
        Kind::Text => Arc::new(values.map(|value| value.as_str()).collect::<StringArray>()),
        Kind::Bool => Arc::new(values.map(|value| value.as_bool()).collect::<BooleanArray>()),
        Kind::Float => Arc::new(values.map(|value| value.as_f64()).collect::<Float64Array>()),
        Kind::Date => {
            let days = |text: &str| {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
                (date - NaiveDate::default()).num_days() as i32
            };
            Arc::new(values.map(|value| value.as_str().map(days)).collect::<Date32Array>())
        }
        Kind::Time => {
            let micros = |text: &str| {
                NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").unwrap().and_utc().timestamp_micros()
            };
            Arc::new(values.map(|value| value.as_str().map(micros)).collect::<TimestampMicrosecondArray>())
        }
        Kind::Dec => {
            let cents = values.map(|value| value.as_i64().map(i128::from)).collect::<Decimal128Array>();
            Arc::new(cents.with_precision_and_scale(10, 2).unwrap())
        }
        Kind::Texts => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for value in values {
                match value.as_array() {
                    None => lists.append_null(),
                    Some(items) => lists.append_value(items.iter().map(Json::as_str)),
                }
            }
            Arc::new(lists.finish())
        }
        Kind::Buyer => {
            let values = values.collect::<Vec<_>>();
            let email = values.iter().map(|value| value["email"].as_str()).collect::<StringArray>();
            let cid = values.iter().map(|value| value["cid"].as_i64()).collect::<Int64Array>();
            let fields = vec![Field::new("email", DataType::Utf8, true), Field::new("cid", DataType::Int64, true)];
            let nulls = values.iter().map(|value| !value.is_null()).collect::<NullBuffer>();
            let arrays: Vec<ArrayRef> = vec![Arc::new(email), Arc::new(cid)];
            Arc::new(StructArray::try_new_with_length(fields.into(), arrays, Some(nulls), values.len()).unwrap())
        }
    }
}
