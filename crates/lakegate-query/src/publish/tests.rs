//! State of tables after successful and failed writes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use futures::TryStreamExt;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new_list("parts", Field::new_list_field(DataType::Int32, true), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let named = ids.clone().map(|id| (id % 3 != 0).then(|| format!("n{id}"))).collect::<StringArray>();
    let parts = ids.clone().map(|id| Some(vec![Some(id as i32), None]));
    let at = Int64Array::from_iter(ids.clone().map(|id| Some(id * 1_000_000)));
    let at = datafusion::arrow::compute::cast(&at, schema().field(3).data_type()).unwrap();
    let ids = Int64Array::from_iter(ids.map(Some));
    let parts = ListArray::from_iter_primitive::<Int32Type, _, _>(parts);
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(named), Arc::new(parts), at]).unwrap()
}

async fn begin(lake: &Path, location: &str, format: TableFormat) -> Result<Publication, PublishError> {
    Publication::begin(&Place::local(lake).unwrap(), location, Some(format)).await
}

fn staged(publication: &Publication, rows: &RecordBatch) -> StagedFile {
    let mut file = publication.create(&rows.schema(), &WriteOptions::default()).unwrap();
    let fitting = RecordBatch::try_new(SchemaRef::clone(file.schema()), rows.columns().to_vec());
    file.write(&fitting.or_else(|_| adapted(rows, file.schema())).unwrap()).unwrap();
    file.finish().unwrap()
}

async fn write(lake: &Path, location: &str, format: TableFormat, ids: std::ops::Range<i64>, change: Change) {
    let publication = begin(lake, location, format).await.unwrap();
    let file = staged(&publication, &batch(ids));
    publication.commit(vec![file], change).await.unwrap();
}

async fn ids(lake: &Path, location: &str, format: TableFormat) -> Vec<i64> {
    let publication = begin(lake, location, format).await.unwrap();
    let Some(schema) = publication.schema().await.unwrap() else { return Vec::new() };
    let batches = publication.rows(&schema).unwrap().try_collect::<Vec<_>>().await.unwrap();
    let of = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    let mut ids = batches.iter().flat_map(of).collect::<Vec<_>>();
    ids.sort_unstable();
    ids
}

fn visible(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn partial(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".partial")).count()
}

const FORMATS: [TableFormat; 3] = [TableFormat::Parquet, TableFormat::Delta, TableFormat::Iceberg];

#[tokio::test]
async fn rows_are_added_and_replaced_in_every_format() {
    for format in FORMATS {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "a/t", format, 0..3, Change::Append).await;
        assert_eq!(ids(lake, "a/t", format).await, [0, 1, 2], "{format:?}");
        write(lake, "a/t", format, 3..5, Change::Append).await;
        assert_eq!(ids(lake, "a/t", format).await, [0, 1, 2, 3, 4], "{format:?}");
        write(lake, "a/t", format, 7..9, Change::Replace).await;
        assert_eq!(ids(lake, "a/t", format).await, [7, 8], "{format:?}");
        write(lake, "a/t", format, 7..9, Change::Rewrite).await;
        write(lake, "a/t", format, 9..10, Change::Append).await;
        assert_eq!(ids(lake, "a/t", format).await, [7, 8, 9], "{format:?}");
        assert_eq!(partial(&lake.join("a")), 0, "{format:?}");
        // The format is detected from the files at the location.
        let publication = Publication::begin(&Place::local(lake).unwrap(), "a/t", None).await.unwrap();
        assert_eq!(publication.format(), format);
    }
}

#[tokio::test]
async fn columns_are_added_and_old_rows_have_null_in_them() {
    for format in [TableFormat::Delta, TableFormat::Iceberg] {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "t", format, 0..3, Change::Append).await;
        let publication = begin(lake, "t", format).await.unwrap();
        let mut fields = schema().fields().to_vec();
        fields.push(Arc::new(Field::new("new", DataType::Utf8, true)));
        let wider = Arc::new(Schema::new(fields));
        let file = staged(&publication, &adapted(&batch(3..4), &wider).unwrap());
        publication.commit(vec![file], Change::Append).await.unwrap();
        let publication = begin(lake, "t", format).await.unwrap();
        let schema = publication.schema().await.unwrap().unwrap();
        assert_eq!(schema.fields().len(), 5, "{format:?}");
        drop(publication);
        assert_eq!(ids(lake, "t", format).await, [0, 1, 2, 3], "{format:?}");
    }
}

#[tokio::test]
async fn a_writer_that_gives_up_leaves_nothing_behind() {
    for format in FORMATS {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "t", format, 0..3, Change::Append).await;
        let publication = begin(lake, "t", format).await.unwrap();
        let file = staged(&publication, &batch(3..5));
        assert_eq!(partial(lake), 1);
        drop((file, publication));
        assert_eq!(partial(lake), 0);
        assert_eq!(ids(lake, "t", format).await, [0, 1, 2], "{format:?}");
    }
}

#[tokio::test]
async fn what_a_dead_run_has_left_is_removed_and_of_other_tables_nothing() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    let id = "0123456789abcdef0123456789abcdef";
    let ours = lake.join(format!(".t.{id}.partial"));
    let other = lake.join(format!(".t.old.{id}.partial"));
    fs::create_dir(&ours).unwrap();
    fs::write(ours.join("x"), "x").unwrap();
    fs::write(&other, "x").unwrap();
    write(lake, "t", TableFormat::Parquet, 0..3, Change::Append).await;
    assert!(!ours.exists() && other.exists());
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let lake = tempfile::tempdir().unwrap();
    let first = begin(lake.path(), "t", TableFormat::Parquet).await.unwrap();
    let second = begin(lake.path(), "t", TableFormat::Parquet).await;
    assert!(matches!(second, Err(PublishError::Busy)), "{second:?}");
    begin(lake.path(), "other", TableFormat::Parquet).await.unwrap();
    drop(first);
    begin(lake.path(), "t", TableFormat::Parquet).await.unwrap();
}

/// Other writers ignore our lock: a replacement is then refused, and an append follows their commit.
#[tokio::test]
async fn a_change_by_somebody_else_is_not_lost() {
    for format in FORMATS {
        let lake = tempfile::tempdir().unwrap();
        let lake = lake.path();
        write(lake, "t", format, 0..3, Change::Append).await;
        let lock = lake.join(".t.lock");
        for (change, expected) in [(Change::Replace, None), (Change::Append, Some(()))] {
            let ours = begin(lake, "t", format).await.unwrap();
            let file = staged(&ours, &batch(20..21));
            // Simulate a writer that does not take the lock.
            fs::rename(&lock, lake.join(".moved")).unwrap();
            let moved = fs::rename(file.path(), lake.join(".kept"));
            write(lake, "t", format, 10..11, Change::Append).await;
            moved.and_then(|()| fs::rename(lake.join(".kept"), file.path())).unwrap();
            let committed = ours.commit(vec![file], change).await;
            match expected {
                Some(()) if format != TableFormat::Parquet => assert!(committed.is_ok(), "{format:?} {committed:?}"),
                _ => assert!(matches!(committed, Err(PublishError::Conflict)), "{format:?} {committed:?}"),
            }
        }
        let expected: &[i64] = match format {
            TableFormat::Parquet => &[0, 1, 2, 10, 10],
            _ => &[0, 1, 2, 10, 10, 20],
        };
        assert_eq!(ids(lake, "t", format).await, expected, "{format:?}");
    }
}

#[tokio::test]
async fn a_single_file_and_a_glob_are_replaced_by_one_file() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    write(lake, "t.parquet", TableFormat::Parquet, 0..3, Change::Replace).await;
    assert!(!begin(lake, "t.parquet", TableFormat::Parquet).await.unwrap().can_append());
    // Resolve as a reader does, also by the name without its extension.
    assert!(!begin(lake, "t/", TableFormat::Parquet).await.unwrap().can_append());
    write(lake, "t.parquet", TableFormat::Parquet, 5..6, Change::Replace).await;
    assert_eq!(ids(lake, "t", TableFormat::Parquet).await, [5]);
    assert_eq!(visible(lake), ["t.parquet"]);

    write(lake, "u*.parquet", TableFormat::Parquet, 0..3, Change::Append).await;
    write(lake, "u*.parquet", TableFormat::Parquet, 5..6, Change::Replace).await;
    assert_eq!(ids(lake, "u*.parquet", TableFormat::Parquet).await, [5]);
    write(lake, "u*.parquet", TableFormat::Parquet, 6..7, Change::Append).await;
    assert_eq!(ids(lake, "u*.parquet", TableFormat::Parquet).await, [5, 6]);
    let publication = begin(lake, "u*.parquet", TableFormat::Parquet).await.unwrap();
    let file = staged(&publication, &batch(0..1));
    let refused = publication.commit(vec![file], Change::Replace).await.unwrap_err().to_string();
    assert!(refused.contains("declare a folder of its own"), "{refused}");
}

#[tokio::test]
async fn a_folder_with_other_things_in_it_is_not_thrown_away() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    write(lake, "t", TableFormat::Parquet, 0..3, Change::Append).await;
    write(lake, "t", TableFormat::Parquet, 3..4, Change::Append).await;
    fs::write(lake.join("t/notes.txt"), "mine").unwrap();
    let publication = begin(lake, "t", TableFormat::Parquet).await.unwrap();
    let file = staged(&publication, &batch(0..1));
    let refused = publication.commit(vec![file], Change::Replace).await.unwrap_err().to_string();
    assert!(refused.contains("`t/notes.txt`"), "{refused}");
    assert_eq!(ids(lake, "t", TableFormat::Parquet).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_can_not_be_written_here_is_refused() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    let said = |result: Result<Publication, PublishError>| result.unwrap_err().to_string();
    let refused = said(begin(lake, "../t", TableFormat::Parquet).await);
    assert!(refused.contains("leads out of the lake"), "{refused}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/tmp", lake.join("away")).unwrap();
        let refused = said(begin(lake, "away/t", TableFormat::Parquet).await);
        assert!(refused.contains("leads out of the lake"), "{refused}");
    }
    write(lake, "d", TableFormat::Delta, 0..1, Change::Append).await;
    let refused = said(begin(lake, "d", TableFormat::Parquet).await);
    assert!(refused.contains("there is a table of the format `delta`"), "{refused}");
    write(lake, "p", TableFormat::Parquet, 0..1, Change::Append).await;
    let refused = said(begin(lake, "p", TableFormat::Delta).await);
    assert!(refused.contains("not a delta table"), "{refused}");
    fs::create_dir_all(lake.join("c/metadata")).unwrap();
    fs::write(lake.join("c/metadata/00001-a.metadata.json"), "{}").unwrap();
    let refused = said(begin(lake, "c", TableFormat::Iceberg).await);
    assert!(refused.contains("kept by a catalog"), "{refused}");
}
