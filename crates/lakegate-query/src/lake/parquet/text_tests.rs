//! Tests that strings in Parquet files are UTF-8 or a fault, whatever declares them as strings; the decoder validates
//! only annotated columns.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{BinaryArray, DictionaryArray, Int8Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema};
use datafusion::parquet::data_type::{ByteArray, ByteArrayType};
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use lakegate_core::error::{Code, Error};
use serde_json::json;

use crate::govern::testing;
use crate::lake::testing::DeltaTable;

const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\n";

/// Writes a file with one column `v`, and optionally the writer's Arrow schema.
fn write(path: &Path, annotation: &str, noted: Option<Schema>, values: &[&[u8]]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = Arc::new(parse_message_type(&format!("message m {{ required binary v {annotation}; }}")).unwrap());
    let note = noted.map(|noted| vec![KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&noted))]);
    let properties = Arc::new(WriterProperties::builder().set_key_value_metadata(note).build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values = values.iter().map(|value| ByteArray::from(value.to_vec())).collect::<Vec<_>>();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

async fn ask(lake: &Path, config: &str, sql: &str) -> [Result<Vec<String>, Error>; 2] {
    testing::both_ways(lake, config, sql).await
}

fn text_schema(data_type: DataType) -> Schema {
    Schema::new(vec![Field::new("v", data_type, false)])
}

const LATIN: &[&[u8]] = &[b"good", b"Jos\xe9"];

#[tokio::test]
async fn bytes_that_are_not_utf8_are_no_text_whatever_says_so() {
    let noted = [Some(DataType::Utf8), Some(DataType::Utf8View), Some(DataType::LargeUtf8), None];
    for (annotation, noted) in [("(JSON)", None), ("(ENUM)", None), ("(UTF8)", None), ("(STRING)", None)]
        .into_iter()
        .chain(noted.into_iter().flatten().map(|noted| ("", Some(text_schema(noted)))))
    {
        let lake = tempfile::tempdir().unwrap();
        write(&lake.path().join("t/1.parquet"), annotation, noted.clone(), LATIN);
        for sql in ["SELECT upper(v) AS v FROM t", "SELECT v FROM t", "SELECT count(*) AS n FROM t WHERE v LIKE '%x%'"]
        {
            for answer in ask(lake.path(), CONFIG, sql).await {
                let error = answer.expect_err(annotation);
                assert_eq!(error.code, Code::LakeUnavailable, "{annotation} {noted:?} {sql}: {error:?}");
            }
        }
        let sound = tempfile::tempdir().unwrap();
        write(&sound.path().join("t/1.parquet"), annotation, noted, &["José".as_bytes()]);
        for answer in ask(sound.path(), CONFIG, "SELECT upper(v) AS v FROM t").await {
            assert_eq!(answer.unwrap(), ["JOSÉ"], "{annotation}");
        }
    }
}

/// As old writers of Hive and Spark do it: the table declares a string, the file bytes.
#[tokio::test]
async fn text_of_a_table_is_looked_at_where_its_file_says_bytes() {
    for (value, wanted) in [("José".as_bytes(), Some("JOSÉ")), (b"Jos\xe9", None)] {
        let mut table = DeltaTable::new(&[("v", "string", None)], &[], &[]);
        let column = Field::new("v", DataType::Binary, true);
        let first = table.add("1.parquet", json!({}), vec![(column, Arc::new(BinaryArray::from(vec![value])))], &[]);
        table.commit(&[first]);
        let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nformat = \"delta\"\nshared = true\n";
        for answer in ask(table.lake.path(), config, "SELECT upper(v) AS v FROM t").await {
            match wanted {
                Some(wanted) => assert_eq!(answer.unwrap(), [wanted]),
                None => assert_eq!(answer.unwrap_err().code, Code::LakeUnavailable),
            }
        }
    }
}

/// Some tool removed a column from the file and kept the Arrow schema.
#[tokio::test]
async fn a_note_that_does_not_fit_its_columns_is_left_out() {
    let lake = tempfile::tempdir().unwrap();
    let fields = ["a", "v"].map(|name| Field::new(name, DataType::Utf8, true));
    write(&lake.path().join("t/1.parquet"), "(UTF8)", Some(Schema::new(fields.to_vec())), &[b"x"]);
    for answer in ask(lake.path(), CONFIG, "SELECT v FROM t").await {
        assert_eq!(answer.unwrap(), ["x"]);
    }
}

/// 8-bit keys, as pandas writes categories: two files together have more values than there are keys.
#[tokio::test]
async fn dictionaries_of_small_keys_are_taken_apart() {
    let lake = tempfile::tempdir().unwrap();
    std::fs::create_dir(lake.path().join("t")).unwrap();
    for file in 0..2 {
        let values = (0..100).map(|at| Some(format!("value {file} {at:02}"))).collect::<StringArray>();
        let column = DictionaryArray::new(Int8Array::from_iter_values(0..100), Arc::new(values));
        let rows = RecordBatch::try_from_iter([("v", Arc::new(column) as _)]).unwrap();
        testing::write_parquet(&lake.path().join(format!("t/{file}.parquet")), &rows.schema(), &[rows]);
    }
    for (sql, wanted) in [
        ("SELECT count(*) AS n FROM (SELECT DISTINCT v FROM t) AS q", "200"),
        ("SELECT max(v) AS v FROM t WHERE v <> 'x'", "value 1 99"),
        ("SELECT count(*) AS n FROM (SELECT v, count(*) AS n FROM t GROUP BY v ORDER BY v) AS q", "200"),
    ] {
        for answer in ask(lake.path(), CONFIG, sql).await {
            assert_eq!(answer.unwrap(), [wanted], "{sql}");
        }
    }
}
