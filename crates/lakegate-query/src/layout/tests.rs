//! A rewritten table has the same rows, whatever their types, and does not change if the rewrite fails.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use tempfile::TempDir;

use super::{ClusterColumn, Rewrite, RewriteError, advise, rewrite};
use crate::govern::testing;
use crate::plan::PlannedProject;
use crate::publish::PublishError;

const PROJECT: &str = "
[lake]
location = \".\"
[tables.parcel]
location = \"parcel/\"
row_filter = \"client IN (principal('client'))\"
[tables.stop]
location = \"stop/\"
row_filter = \"parcel_id IN (SELECT id FROM parcel)\"
";

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Rows with every kind of value that is easily lost, not sorted by the client.
fn parcels(ids: std::ops::Range<i64>) -> Vec<(&'static str, ArrayRef)> {
    let ids = ids.collect::<Vec<_>>();
    let count = ids.len();
    let each = |every: i64| move |id: &i64| id % every != 0;
    let numbers = ids.iter().map(|id| match id % 5 {
        0 => None,
        1 => Some(f64::NAN),
        // -0.0 is read, and therefore written, as 0.0.
        2 => Some(0.0),
        3 => Some(f64::NEG_INFINITY),
        _ => Some(*id as f64 / 3.0),
    });
    let long = "ü".repeat(90);
    let texts = ids.iter().map(|id| each(7)(id).then(|| format!("{long}{}", id % 11)));
    let lists = ids.iter().map(|id| each(4)(id).then(|| vec![Some(*id as i32), None]));
    let amounts = ids.iter().map(|id| each(9)(id).then(|| i128::from(*id) * 1_000_000_007));
    let inner = Arc::new(Int64Array::from(ids.iter().map(|id| each(3)(id).then_some(*id)).collect::<Vec<_>>()));
    let structs = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), inner as ArrayRef)]);
    let words = ids.iter().map(|id| each(6)(id).then_some(["a", "b", "c"][(*id % 3) as usize]));
    vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "client",
            Arc::new(Int64Array::from(ids.iter().map(|id| each(13)(id).then_some(id * 7919 % 50)).collect::<Vec<_>>())),
        ),
        ("number", Arc::new(Float64Array::from(numbers.collect::<Vec<_>>()))),
        ("text", Arc::new(StringArray::from(texts.collect::<Vec<_>>()))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
        (
            "amount",
            Arc::new(Decimal128Array::from(amounts.collect::<Vec<_>>()).with_precision_and_scale(30, 4).unwrap()),
        ),
        ("inner", Arc::new(structs)),
        ("word", Arc::new(words.collect::<DictionaryArray<Int32Type>>())),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(
                    ids.iter().map(|id| each(8)(id).then_some(-id * 997)).collect::<Vec<_>>(),
                )
                .with_timezone("America/Bogota"),
            ),
        ),
        ("day", Arc::new(Date32Array::from(ids.iter().map(|id| Some(*id as i32 - 5_000)).collect::<Vec<_>>()))),
        ("bytes", Arc::new(BinaryArray::from_iter(ids.iter().map(|id| each(5)(id).then(|| id.to_be_bytes()))))),
        (
            "flag",
            Arc::new(BooleanArray::from((0..count).map(|at| (at % 3 != 0).then_some(at % 2 == 0)).collect::<Vec<_>>())),
        ),
    ]
}

fn lake() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in 0..3 {
        write(&folder.path().join(format!("parcel/{part}.parquet")), parcels(part * 700..(part + 1) * 700));
    }
    // Stops refer to a parcel, or to none.
    let ids = (0..4_000_i64).collect::<Vec<_>>();
    let parcel_ids = ids.iter().map(|id| (id % 17 != 0).then_some(id * 31 % 2_200)).collect::<Vec<_>>();
    let columns: Vec<(&str, ArrayRef)> =
        vec![("stop", Arc::new(Int64Array::from(ids))), ("parcel_id", Arc::new(Int64Array::from(parcel_ids)))];
    write(&folder.path().join("stop/a.parquet"), columns);
    folder
}

async fn open(folder: &TempDir) -> PlannedProject {
    testing::project(folder.path(), PROJECT, &[("e", "SELECT id FROM parcel")]).await
}

/// All rows of a table's files as text, in the order of the file names.
fn rows(folder: &Path, columns: &[&str]) -> Vec<String> {
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let options = FormatOptions::new().with_null("NULL");
            let chosen = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
            let chosen = chosen.iter().filter(|name| columns.is_empty() || columns.contains(&name.as_str()));
            let formats = chosen
                .map(|name| ArrayFormatter::try_new(batch.column_by_name(name).unwrap().as_ref(), &options).unwrap());
            let formats = formats.collect::<Vec<_>>();
            rows.extend(
                (0..batch.num_rows()).map(|row| {
                    formats.iter().map(|format| format.value(row).to_string()).collect::<Vec<_>>().join("|")
                }),
            );
        }
    }
    rows
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn asked(table: &str, by: &[&str]) -> Rewrite {
    let by = by.iter().map(|column| ClusterColumn::parse(column)).collect();
    Rewrite { table: table.to_owned(), by, row_group_rows: 500, bloom_filters: vec![] }
}

#[tokio::test]
async fn the_same_rows_come_back_whatever_their_types() {
    let folder = lake();
    let before = rows(&folder.path().join("parcel"), &[]);
    let project = open(&folder).await;
    let asked = Rewrite { bloom_filters: vec!["text".to_owned()], ..asked("parcel", &["client", "at"]) };
    let published = rewrite(&project, &asked, &|_, _, _| {}).await.unwrap();
    assert_eq!(published.rows, 2_100);
    let after = rows(&folder.path().join("parcel"), &[]);
    assert_eq!(sorted(before), sorted(after));

    // Sorted with NULLs last, with page index and Bloom filters.
    let clients = rows(&folder.path().join("parcel"), &["client"]);
    let numbers = clients.iter().map(|client| client.parse().unwrap_or(i64::MAX)).collect::<Vec<_>>();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let file = fs::read_dir(folder.path().join("parcel")).unwrap().next().unwrap().unwrap().path();
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let groups = reader.metadata().row_groups();
    assert_eq!(groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [500, 500, 500, 500, 100]);
    let sorting = groups[0].sorting_columns().unwrap();
    assert_eq!(sorting.len(), 2);
    assert!(groups.iter().all(|group| group.columns().iter().all(|column| column.offset_index_offset().is_some())));
    let text = groups[0].columns().iter().find(|column| column.column_path().string() == "text").unwrap();
    assert!(text.bloom_filter_offset().is_some());

    // A request now reads little, and the advice reports it.
    let again = open(&folder).await;
    let advice = advise(&again, Some("parcel"), &|_, _, _| {}).await.unwrap();
    assert_eq!(advice[0].sorted, Some(1.0));
}

#[tokio::test]
async fn an_order_by_numbers_with_nan_is_not_noted_in_the_file() {
    let folder = lake();
    let before = rows(&folder.path().join("parcel"), &[]);
    rewrite(&open(&folder).await, &asked("parcel", &["number"]), &|_, _, _| {}).await.unwrap();
    assert_eq!(sorted(before), sorted(rows(&folder.path().join("parcel"), &[])));
    let file = fs::read_dir(folder.path().join("parcel")).unwrap().next().unwrap().unwrap().path();
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    assert!(reader.metadata().row_group(0).sorting_columns().is_none());
}

#[tokio::test]
async fn a_child_is_put_in_the_order_of_its_parent_and_keeps_rows_without_one() {
    let folder = lake();
    let project = open(&folder).await;
    let advice = advise(&project, Some("stop"), &|_, _, _| {}).await.unwrap();
    let by = advice[0].cluster_by.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(by, ["parcel.client", "parcel_id"]);
    let before = rows(&folder.path().join("stop"), &[]);
    rewrite(&project, &asked("stop", &["parcel.client", "parcel_id"]), &|_, _, _| {}).await.unwrap();
    let after = rows(&folder.path().join("stop"), &[]);
    assert_eq!(sorted(before), sorted(after));
    let parcels = rows(&folder.path().join("parcel"), &["id", "client"]);
    let clients = parcels.iter().map(|row| row.split_once('|').unwrap()).collect::<std::collections::HashMap<_, _>>();
    let order = rows(&folder.path().join("stop"), &["parcel_id"]);
    let order = order.iter().map(|parcel| clients.get(parcel.as_str()).and_then(|client| client.parse::<i64>().ok()));
    let order = order.map(|client| client.unwrap_or(i64::MAX)).collect::<Vec<_>>();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn a_table_that_somebody_changes_meanwhile_is_left_alone() {
    let folder = lake();
    let project = open(&folder).await;
    write(&folder.path().join("parcel/late.parquet"), parcels(9_000..9_010));
    let refused = rewrite(&project, &asked("parcel", &["client"]), &|_, _, _| {}).await;
    assert!(matches!(refused, Err(RewriteError::Publish(PublishError::Conflict))), "{refused:?}");
    assert_eq!(rows(&folder.path().join("parcel"), &[]).len(), 2_110);

    // A change during the rewrite is detected too.
    let project = open(&folder).await;
    let late = folder.path().join("parcel/later.parquet");
    let refused = rewrite(&project, &asked("parcel", &["client"]), &|what, _, _| {
        if what == "rows written" && !late.exists() {
            write(&late, parcels(10_000..10_010));
        }
    })
    .await;
    assert!(matches!(refused, Err(RewriteError::Publish(PublishError::Conflict))), "{refused:?}");
    assert_eq!(rows(&folder.path().join("parcel"), &[]).len(), 2_120);
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".partial")));
}

#[tokio::test]
async fn columns_that_are_not_there_or_have_no_order_are_refused() {
    let folder = lake();
    let project = open(&folder).await;
    for (by, told) in [
        (["clinet"], "did you mean `client`?"),
        (["list"], "have no order"),
        (["stop.stop"], "does not lead to `stop`"),
        (["inner"], "have no order"),
    ] {
        let refused = rewrite(&project, &asked("parcel", &by), &|_, _, _| {}).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
    assert_eq!(rows(&folder.path().join("parcel"), &[]).len(), 2_100);
}
