//! UUIDs end to end: compared with arguments and attributes, shown with hyphens, and written to Parquet as UUIDs again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::basic::LogicalType;
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use lakegate_core::access::Terms;
use lakegate_core::catalog::RawArguments;
use lakegate_core::format::{Format, Representation};
use lakegate_core::project::Formats;
use serde_json::json;

use super::testing::column;
use super::testing::iceberg::{IcebergTable, field};
use crate::encode::encoder;
use crate::engine::{Embedded, Engine, Limits};
use crate::govern::{MaskKey, testing};
use crate::plan::{ColumnKind, PlannedProject};
use crate::uuids;

const ONE: &str = "00000000-0000-4000-8000-0000000000a1";
const TWO: &str = "00000000-0000-4000-8000-0000000000a2";

fn bytes(text: &str) -> Vec<u8> {
    text.parse::<uuid::Uuid>().unwrap().as_bytes().to_vec()
}

fn uuid_column() -> FixedSizeBinaryArray {
    let values = [Some(bytes(ONE)), Some(bytes(TWO)), None].into_iter();
    FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap()
}

/// A Parquet file with UUIDs as other writers store them.
fn parquet() -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        uuids::marked(Field::new("u", DataType::FixedSizeBinary(16), true)),
        Field::new("b", DataType::FixedSizeBinary(16), true),
    ]));
    let n = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    let columns = vec![n, Arc::new(uuid_column()), Arc::new(uuid_column())];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let mut file = encoder(&Representation::plain(Format::Parquet), &schema, &Formats::default()).unwrap();
    let start = file.write(&rows).unwrap().to_vec();
    [start, file.finish().unwrap().to_vec()].concat()
}

async fn answer(
    project: &PlannedProject,
    who: &str,
    endpoint: &str,
    query: &[(&str, &str)],
    format: Format,
) -> Vec<u8> {
    let mut raw = RawArguments::default();
    raw.add_query(query.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))).unwrap();
    let who = testing::principal(who);
    let plan = testing::governed_call(project, &who, endpoint, raw, Terms::default()).unwrap();
    let mut encoder = encoder(&Representation::plain(format), plan.schema(), &Formats::default()).unwrap();
    let mut rows = Embedded.run(plan, Limits::until(Instant::now() + Duration::from_secs(60))).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        bytes.extend_from_slice(&encoder.write(&batch).unwrap());
    }
    bytes.extend_from_slice(&encoder.finish().unwrap());
    bytes
}

async fn text(project: &PlannedProject, who: &str, endpoint: &str, query: &[(&str, &str)], format: Format) -> String {
    String::from_utf8(answer(project, who, endpoint, query, format).await).unwrap()
}

const ENDPOINTS: &[(&str, &str)] = &[
    ("all", "SELECT n, u FROM t ORDER BY n"),
    ("bytes", "SELECT b FROM t WHERE n = 1"),
    ("one", "/*---\nsummary = \"s\"\n[params.u]\ntype = \"uuid\"\n---*/\nSELECT n FROM t WHERE u = $u"),
    (
        "any",
        "/*---\nsummary = \"s\"\n[params.us]\ntype = \"uuid[]\"\n---*/\nSELECT n FROM t WHERE u IN ($us) ORDER BY n",
    ),
    ("grouped", "WITH x AS (SELECT u AS v FROM t UNION ALL SELECT u FROM t) SELECT DISTINCT v FROM x ORDER BY v"),
];

async fn check(project: &PlannedProject, is_warm: bool) {
    let json = async |who: &str, endpoint: &str, query: &[(&str, &str)]| {
        serde_json::from_str::<serde_json::Value>(&text(project, who, endpoint, query, Format::Json).await).unwrap()
    };
    let all = "us:uuid[]=00000000-0000-4000-8000-0000000000a1,00000000-0000-4000-8000-0000000000a2";
    assert_eq!(json(all, "all", &[]).await, json!([{"n": 1, "u": ONE}, {"n": 2, "u": TWO}]), "warm: {is_warm}");
    assert_eq!(json(&format!("us:uuid={TWO}"), "all", &[]).await, json!([{"n": 2, "u": TWO}]));
    assert_eq!(json(all, "one", &[("u", ONE)]).await, json!([{"n": 1}]));
    assert_eq!(json(all, "one", &[("u", "00000000-0000-4000-8000-0000000000ff")]).await, json!([]));
    assert_eq!(json(all, "any", &[("us", TWO), ("us", ONE)]).await, json!([{"n": 1}, {"n": 2}]));
    assert_eq!(json(all, "grouped", &[]).await, json!([{"v": ONE}, {"v": TWO}]));
    assert_eq!(text(project, all, "all", &[], Format::Csv).await, format!("n,u\r\n1,{ONE}\r\n2,{TWO}\r\n"));
    let file = answer(project, all, "all", &[], Format::Parquet).await;
    let file = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
    let column = file.metadata().file_metadata().schema_descr().column(1);
    assert_eq!(column.logical_type_ref(), Some(&LogicalType::Uuid));
    let schema = project.find("all").unwrap().columns();
    assert_eq!((schema[1].type_name.as_str(), &schema[1].kind), ("uuid", &ColumnKind::Uuid));
}

const CONFIG: &str =
    "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\nrow_filter = \"u IN (principal('us'))\"\n";

#[tokio::test]
async fn a_column_of_uuids_is_compared_and_shown_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.parquet"), parquet()).unwrap();
    let project = testing::project(folder.path(), CONFIG, ENDPOINTS).await;
    check(&project, false).await;
    project.keep_hot(1 << 28).await.unwrap();
    project.warm().await;
    check(&project, true).await;
    // A column without the UUID annotation is bytes.
    let hexadecimal = text(&project, &format!("us:uuid={ONE}"), "bytes", &[], Format::Json).await;
    assert_eq!(hexadecimal, format!("[{{\"b\":\"{}\"}}]", ONE.replace('-', "")));
    assert_eq!(project.find("bytes").unwrap().columns()[0].kind, ColumnKind::Binary);
}

#[tokio::test]
async fn a_hash_of_uuids_is_uuids() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.parquet"), parquet()).unwrap();
    let config = format!("{CONFIG}[tables.t.columns.u]\nmask = \"hash\"\n[masking]\nkey = \"env:K\"\n");
    let project = testing::project(folder.path(), &config, &[ENDPOINTS[0]]).await;
    project.set_mask_key(MaskKey::new("0123456789 0123456789 0123456789").unwrap());
    let json = text(&project, &format!("us:uuid={ONE}"), "all", &[], Format::Json).await;
    let rows = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let pseudonym = rows[0]["u"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    assert_eq!((rows.as_array().unwrap().len(), pseudonym.get_version_num()), (1, 8));
    assert_ne!(pseudonym.to_string(), ONE);
}

#[tokio::test]
async fn a_column_of_icebergs_type_is_the_same() {
    let mut table = IcebergTable::new(2, &[field(1, "n", "long"), field(2, "u", "uuid")], json!([]));
    let columns = vec![column("n", 1, Int64Array::from(vec![1, 2, 3])), column("u", 2, uuid_column())];
    let file = table.data("a.parquet", columns);
    table.commit(vec![file]).await;
    let config = CONFIG.replace("location = \"t.parquet\"", "location = \"t\"\nformat = \"iceberg\"");
    let endpoints = ENDPOINTS.iter().filter(|(name, _)| *name != "bytes").copied().collect::<Vec<_>>();
    let project = testing::project(table.lake.path(), &config, &endpoints).await;
    check(&project, false).await;
    project.keep_hot(1 << 28).await.unwrap();
    check(&project, true).await;
}
