//! Tests that pages partition a result: whatever the types of its columns, every row is on exactly one page.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float16Array, Float32Array, Float64Array,
    Int64Array, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use lakegate_core::access::Terms;
use lakegate_core::catalog::RawArguments;
use tempfile::TempDir;

use super::testing;
use crate::plan::PlannedProject;

const ROWS: usize = 41;
const CONFIG: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t/\"\nshared = true\n";

/// Repeated values in no particular order.
fn drawn<T: Copy>(salt: usize, values: &[Option<T>]) -> Vec<Option<T>> {
    (0..ROWS).map(|row| values[(row * 7 + row * row / 3 + salt) % values.len()]).collect()
}

/// Columns of all types, by name.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let nan = f64::from_bits(0xfff8_0000_0000_0001);
    let floats =
        [Some(0.0), Some(-0.0), None, Some(f64::NAN), Some(nan), Some(1.5), Some(-1.5), Some(f64::NEG_INFINITY)];
    let float64 = Float64Array::from(drawn(0, &floats));
    let small = floats.map(|value| value.map(|value| value as f32));
    let float32 = Float32Array::from(drawn(1, &small));
    let float16 = cast(&float32, &DataType::Float16).unwrap();
    let text = [None, Some(""), Some("a"), Some("A"), Some("ä"), Some("a\u{0}b"), Some("\u{10ffff}"), Some("aa")];
    let text = StringArray::from(drawn(2, &text));
    let bytes: [Option<&[u8]>; 6] = [None, Some(b""), Some(b"\0"), Some(b"\xff"), Some(b"\0\0"), Some(b"\xff\0")];
    let moments = drawn(3, &[None, Some(0), Some(-1), Some(i64::MAX / 1_000), Some(1_664_582_400_000_000)]);
    let zoned = TimestampMicrosecondArray::from(moments.clone()).with_timezone("Europe/Madrid");
    let decimal = Decimal128Array::from(drawn(4, &[None, Some(0), Some(-1), Some(10_i128.pow(37)), Some(12)]));
    vec![
        ("id", Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|at| at * 31 % ROWS as i64)))),
        ("f64", Arc::new(float64)),
        ("f32", Arc::new(float32)),
        ("f16", Arc::new(float16.as_any().downcast_ref::<Float16Array>().unwrap().clone())),
        ("txt", Arc::new(text)),
        ("bin", Arc::new(BinaryArray::from(drawn(5, &bytes)))),
        ("yes", Arc::new(BooleanArray::from(drawn(6, &[None, Some(true), Some(false)])))),
        ("day", Arc::new(Date32Array::from(drawn(7, &[None, Some(0), Some(-800_000), Some(2_932_896)])))),
        ("at", Arc::new(TimestampMicrosecondArray::from(moments))),
        ("zoned", Arc::new(zoned)),
        ("clock", Arc::new(Time64MicrosecondArray::from(drawn(8, &[None, Some(0), Some(86_399_999_999)])))),
        ("dec", Arc::new(decimal.with_precision_and_scale(38, 3).unwrap())),
        ("tiny", Arc::new(UInt8Array::from(drawn(9, &[None, Some(0), Some(255)])))),
    ]
}

/// Expressions over these columns, for types that are easier to write in SQL.
const MADE: &[(&str, &str)] = &[
    ("list", "CASE WHEN id % 5 = 0 THEN NULL WHEN id % 5 = 1 THEN make_array() ELSE make_array(f64, NULL, f64) END"),
    ("words", "make_array(txt, CASE WHEN id % 3 = 0 THEN txt END)"),
    ("st", "CASE WHEN id % 5 = 0 THEN NULL ELSE named_struct('a', NULLIF(id % 4, 0), 'x', f64) END"),
    ("deep", "make_array(named_struct('l', make_array(f32, NULL), 'b', yes), NULL)"),
    ("map", "map(make_array('k', 'l'), make_array(f64, CASE WHEN yes THEN f64 END))"),
    ("dict", "arrow_cast(txt, 'Dictionary(Int32, Utf8)')"),
    ("dictf", "arrow_cast(f64, 'Dictionary(Int32, Float64)')"),
    ("fixed", "arrow_cast(make_array(f32, f32), 'FixedSizeList(2, Float32)')"),
    (
        "iv",
        "CASE id % 4 WHEN 0 THEN INTERVAL '1 month' WHEN 1 THEN INTERVAL '30 days' WHEN 2 THEN INTERVAL '-1 second' END",
    ),
    ("lapse", "at - to_timestamp_micros(0)"),
    ("nothing", "NULL"),
    ("flat", "CASE WHEN yes THEN 1 ELSE 1 END"),
];

fn write(folder: &Path) {
    std::fs::create_dir(folder.join("t")).unwrap();
    let columns = columns();
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let rows =
        RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    for (file, start) in (0..ROWS).step_by(20).enumerate() {
        let part = rows.slice(start, 20.min(ROWS - start));
        testing::write_parquet(&folder.join(format!("t/{file}.parquet")), &schema, &testing::one_by_one(&[part]));
    }
}

async fn project() -> (TempDir, PlannedProject, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let plain = columns().into_iter().map(|(name, _)| (name, name));
    let all = plain.chain(MADE.iter().copied()).collect::<Vec<_>>();
    let whole = all.iter().map(|(name, sql)| format!("{sql} AS \"{name}\"")).collect::<Vec<_>>().join(", ");
    let mut endpoints = vec![("all".to_owned(), format!("SELECT {whole} FROM t"))];
    for (name, sql) in &all {
        endpoints.push((format!("only_{name}"), format!("SELECT {sql} AS c FROM t")));
        endpoints.push((format!("with_{name}"), format!("SELECT id, {sql} AS c FROM t")));
        endpoints.push((format!("by_{name}"), format!("SELECT id % 9 AS n, {sql} AS c FROM t ORDER BY {sql} DESC, n")));
        endpoints.push((format!("each_{name}"), format!("SELECT {sql} AS c, count(*) AS n FROM t GROUP BY {sql}")));
    }
    // Maps have no equality, so they cannot be grouped.
    endpoints.retain(|(name, _)| name != "each_map");
    let named = endpoints.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect::<Vec<_>>();
    let project = testing::project(folder.path(), CONFIG, &named).await;
    (folder, project, endpoints.into_iter().map(|(name, _)| name).collect())
}

async fn part(project: &PlannedProject, endpoint: &str, query: &[(&str, String)]) -> Vec<String> {
    let mut raw = RawArguments::default();
    raw.add_query(query.iter().map(|(name, text)| ((*name).to_owned(), text.clone()))).unwrap();
    let who = testing::principal("");
    let plan = testing::governed_call(project, &who, endpoint, raw, Terms::default());
    let rows = testing::rows(plan.unwrap_or_else(|error| panic!("{endpoint} {query:?}: {error:?}"))).await;
    rows.unwrap_or_else(|error| panic!("{endpoint} {query:?}: {error:?}"))
}

async fn pages(project: &PlannedProject, endpoint: &str, order: Option<&str>, size: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for page in 0.. {
        let mut query = vec![("limit", size.to_string()), ("offset", (page * size).to_string())];
        query.extend(order.map(|order| ("order", order.to_owned())));
        let more = part(project, endpoint, &query).await;
        let is_last = more.len() < size;
        rows.extend(more);
        if is_last {
            break;
        }
    }
    rows
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn every_row_of_an_answer_is_on_one_page() {
    let (_folder, project, endpoints) = project().await;
    for is_warm in [false, true] {
        if is_warm {
            project.keep_hot(1 << 28).await.unwrap();
            project.warm().await;
        }
        for endpoint in &endpoints {
            let orders: &[Option<&str>] = match endpoint.split('_').next() {
                Some("all") => &[None, Some("f64"), Some("map.desc")],
                Some("with") => &[None, Some("c"), Some("c.desc")],
                Some("by") => &[None],
                // From files, the other endpoints take the same path.
                _ if !is_warm => &[],
                _ => &[None],
            };
            let whole = sorted(part(&project, endpoint, &[]).await);
            for order in orders {
                let size = if order.is_none() { 11 } else { 16 };
                let paged = pages(&project, endpoint, *order, size).await;
                assert_eq!(sorted(paged), whole, "{endpoint} by {order:?} in pages of {size}, warm: {is_warm}");
            }
        }
    }
}

#[tokio::test]
async fn the_two_zeros_are_one_number_in_an_order_and_every_nan_is_above_all_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("t")).unwrap();
    let values = [0.0, -0.0, f64::NAN, 2.0, -f64::NAN, f64::INFINITY, -1.0];
    let rows = (0..42_i64).map(|id| (id, values[(id * id % 7) as usize])).collect::<Vec<_>>();
    let ids = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef;
    let x = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.1))) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", ids), ("x", x)]).unwrap();
    testing::write_parquet(&folder.path().join("t/a.parquet"), &batch.schema(), &testing::one_by_one(&[batch]));

    let sql = "SELECT id FROM t ORDER BY x, id LIMIT 30";
    let project = testing::project(folder.path(), CONFIG, &[("first", sql)]).await;
    let mut wanted = rows;
    let rank = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
    wanted.sort_by(|one, other| {
        let by_number = rank(one.1).partial_cmp(&rank(other.1)).unwrap();
        by_number.then(one.1.is_nan().cmp(&other.1.is_nan())).then(one.0.cmp(&other.0))
    });
    let wanted = wanted.iter().take(30).map(|row| row.0.to_string()).collect::<Vec<_>>();
    assert_eq!(part(&project, "first", &[]).await, wanted);
    assert_eq!(pages(&project, "first", None, 4).await, wanted);
}
