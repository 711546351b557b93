//! The limits of a query hold: its time, its share of memory, its rows, the size of its scans, and its turn.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use lakegate_core::error::{Code, Error};
use lakegate_core::project::OnMaxRows;
use tempfile::TempDir;

use super::{BatchStream, Embedded, Engine, Limited, Limits, Resources, Waiting, runtime};
use crate::govern::testing::{self, governed, principal, project_with};
use crate::plan::PlannedProject;

/// Longer than any machine needs for a response here.
const LONG: Duration = Duration::from_secs(300);

/// `n` holds the numbers below 600. `row` has ten row groups of a thousand ids each, of two owners in turn.
fn lake() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let numbers = (0..600).map(|n| format!("{n}\n")).collect::<String>();
    fs::write(folder.path().join("n.csv"), format!("n\n{numbers}")).unwrap();
    for name in ["row", "own"] {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        let owners: ArrayRef = Arc::new(StringArray::from_iter_values((0..10_000).map(|n| ["a", "b"][n % 2])));
        let batch = RecordBatch::try_from_iter([("id", ids), ("owner", owners)]).unwrap();
        let file = File::create(folder.path().join(format!("{name}.parquet"))).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1_000)).build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    folder
}

const CONFIG: &str = "[lake]\nlocation = \".\"\n\
    [tables.n]\nlocation = \"n.csv\"\nshared = true\n\
    [tables.row]\nlocation = \"row.parquet\"\nshared = true\n\
    [tables.own]\nlocation = \"own.parquet\"\nrow_filter = \"owner = principal('owner')\"\n";

async fn project(lake: &Path, sql: &str) -> PlannedProject {
    testing::project(lake, CONFIG, &[("e", sql)]).await
}

fn limits() -> Limits {
    Limits::until(Instant::now() + LONG)
}

async fn run(project: &PlannedProject, limits: Limits) -> Result<BatchStream, Error> {
    let plan = governed(project, &principal("owner:string=a"), "e", "{}").unwrap();
    Embedded.run(plan, limits).await?.settled().await
}

async fn count(mut rows: BatchStream) -> Result<usize, Error> {
    let mut count = 0;
    while let Some(batch) = rows.next().await? {
        count += batch.num_rows();
    }
    Ok(count)
}

async fn refusal(project: &PlannedProject, limits: Limits) -> Error {
    match run(project, limits).await {
        Ok(rows) => count(rows).await.unwrap_err(),
        Err(error) => error,
    }
}

/// Waits until a cancelled query has freed its memory, which it does at its next yield.
async fn free(project: &PlannedProject) {
    while project.memory_reserved() > 0 || project.spilled() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Each query does far more work than a test can wait for, in one operator; a test that does not end has failed.
const ENDLESS: [&str; 7] = [
    // Compares rows without end and finds none, so there is no batch to yield after.
    "SELECT count(*) AS c FROM (SELECT a.n * 600 + b.n AS x FROM n AS a CROSS JOIN n AS b) AS l \
     JOIN (SELECT a.n * 600 + b.n AS y FROM n AS a CROSS JOIN n AS b) AS r ON l.x + r.y < 0",
    "SELECT count(*) AS c FROM (SELECT a.n % 2 AS k, a.n * 600 + b.n AS x FROM n AS a CROSS JOIN n AS b) AS l \
     JOIN (SELECT a.n % 2 AS k, a.n * 600 + b.n AS y FROM n AS a CROSS JOIN n AS b) AS r ON l.k = r.k AND l.x + r.y < 0",
    // Sorts, also on disk.
    "SELECT a.n FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d ORDER BY a.n + b.n * c.n DESC",
    "SELECT max(a.n + b.n + c.n + d.n) AS m FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d",
    "SELECT a.n FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d WHERE a.n + b.n + c.n + d.n < 0",
    "SELECT max(a.n) AS m FROM n AS a JOIN n AS b ON a.n < b.n + 1000 JOIN n AS c ON b.n < c.n + 1000 JOIN n AS d ON c.n < d.n + 1000",
    "SELECT a.n FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d ORDER BY a.n + b.n * c.n DESC LIMIT 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_computes_ends_at_its_time_limit_and_when_its_caller_leaves() {
    let lake = lake();
    for in_memory in [false, true] {
        for sql in ENDLESS {
            let project = project(lake.path(), sql).await;
            if in_memory {
                project.keep_hot(1 << 30).await.unwrap();
            }
            let engine = Limited::new(Embedded, 1, Waiting { all: 1, each: 1 });
            let plan = || governed(&project, &principal("owner:string=a"), "e", "{}").unwrap();
            let soon = Limits::until(Instant::now() + Duration::from_millis(100));
            let rows = engine.run(plan(), soon).await.unwrap();
            assert_eq!(count(rows).await.unwrap_err().code, Code::EngineTimedOut, "{sql}");
            // Its place is free; otherwise the next query would wait for it.
            let mut rows = engine.run(plan(), limits()).await.unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(50), rows.next()).await.is_err(), "{sql}");
            drop(rows);
            let last = engine.run(plan(), limits()).await.unwrap();
            drop(last);
            while project.memory_reserved() > 0 || engine.load().running > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test]
async fn time_in_the_queue_counts() {
    let lake = lake();
    let project = project(lake.path(), "SELECT n FROM n").await;
    let engine = Limited::new(Embedded, 1, Waiting { all: 9, each: 9 });
    let plan = || governed(&project, &principal("owner:string=a"), "e", "{}").unwrap();
    let running = engine.run(plan(), limits()).await.unwrap();
    let soon = Limits::until(Instant::now() + Duration::from_millis(20));
    assert_eq!(engine.run(plan(), soon).await.unwrap_err().code, Code::EngineTimedOut);
    assert_eq!((engine.load().running, engine.load().waiting), (1, 0));
    // A query whose rows are all read is over without being dropped.
    let mut running = running;
    while running.next().await.unwrap().is_some() {}
    while engine.load().running > 0 {
        tokio::task::yield_now().await;
    }
}

const BIG_SORT: &str = "SELECT a.n * 1000 + b.n AS x, 'a text that makes every row longer than it would be without it' AS text \
     FROM n AS a CROSS JOIN n AS b ORDER BY x % 1000, x";
const BIG_JOIN: &str = "SELECT count(*) AS c FROM (SELECT a.n * 1000 + b.n AS x FROM n AS a CROSS JOIN n AS b) AS l \
     JOIN (SELECT a.n * 1000 + b.n AS x FROM n AS a CROSS JOIN n AS b) AS r ON l.x = r.x";

#[tokio::test]
async fn a_sort_over_its_share_goes_to_disk_and_a_join_is_refused() {
    let lake = lake();
    let share = Limits { memory_bytes: Some(4 << 20), ..limits() };
    let sorting = project(lake.path(), BIG_SORT).await;
    let rows = run(&sorting, share.clone()).await.unwrap();
    assert_eq!(count(rows).await.unwrap(), 360_000);
    // Without disk, the share is too small for the sort.
    let no_disk = Resources { memory_bytes: 1 << 28, spill_bytes: 0, spill_folder: None };
    let without = project_with(lake.path(), CONFIG, &[("e", BIG_SORT)], runtime(&no_disk).unwrap()).await.unwrap();
    assert_eq!(refusal(&without, share.clone()).await.code, Code::EngineMemoryExceeded);

    let joining = project(lake.path(), BIG_JOIN).await;
    let error = refusal(&joining, share.clone()).await;
    assert_eq!(error.code, Code::EngineMemoryExceeded, "{error:?}");
    // The same query succeeds with a larger share.
    let rows = run(&joining, Limits { memory_bytes: Some(1 << 27), ..limits() }).await.unwrap();
    assert_eq!(count(rows).await.unwrap(), 1);
    for project in [sorting, without, joining] {
        free(&project).await;
    }
}

#[tokio::test]
async fn what_is_put_aside_on_disk_is_bounded() {
    let (lake, spill) = (lake(), tempfile::tempdir().unwrap());
    let resources =
        Resources { memory_bytes: 1 << 28, spill_bytes: 1 << 20, spill_folder: Some(spill.path().to_owned()) };
    let project = project_with(lake.path(), CONFIG, &[("e", BIG_SORT)], runtime(&resources).unwrap()).await.unwrap();
    let error = refusal(&project, Limits { memory_bytes: Some(4 << 20), ..limits() }).await;
    assert_eq!(error.code, Code::EngineMemoryExceeded, "{error:?}");
    free(&project).await;
    drop(project);
    // The folder is removed by its last user, which may be a task that is still being dropped.
    while fs::read_dir(spill.path()).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn memory_that_others_have_is_no_fault_of_the_query() {
    let lake = lake();
    let little = Resources { memory_bytes: 4 << 20, spill_bytes: 0, spill_folder: None };
    let project = project_with(lake.path(), CONFIG, &[("e", BIG_JOIN)], runtime(&little).unwrap()).await.unwrap();
    let error = refusal(&project, Limits { memory_bytes: Some(1 << 27), ..limits() }).await;
    assert_eq!(error.code, Code::EngineOverloaded, "{error:?}");
}

#[tokio::test]
async fn an_answer_is_cut_after_exactly_so_many_rows_and_only_where_there_are_more() {
    let lake = lake();
    let project = project(lake.path(), "SELECT id FROM row").await;
    for (most, rows, is_truncated) in
        [(1, 1, true), (8_192, 8_192, true), (9_999, 9_999, true), (10_000, 10_000, false), (10_001, 10_000, false)]
    {
        let cut = Limits { max_rows: Some(most), on_max_rows: OnMaxRows::Truncate, ..limits() };
        let stream = run(&project, cut).await.unwrap();
        assert_eq!(stream.is_truncated(), is_truncated, "{most}");
        assert_eq!(count(stream).await.unwrap(), rows, "{most}");
        let refused = Limits { max_rows: Some(most), ..limits() };
        let stream = run(&project, refused).await.unwrap();
        match is_truncated {
            true => assert_eq!(count(stream).await.unwrap_err().code, Code::ResultTooLarge),
            false => assert_eq!(count(stream).await.unwrap(), rows),
        }
    }
    // Rows that are held until the number of rows is known come out of the query's share.
    let (max_rows, on_max_rows, memory_bytes) = (Some(9_999), OnMaxRows::Truncate, Some(10_000));
    let small = Limits { max_rows, on_max_rows, memory_bytes, ..limits() };
    assert_eq!(refusal(&project, small).await.code, Code::EngineMemoryExceeded);
    // A stream that was not settled is not truncated silently.
    let cut = Limits { max_rows: Some(5), on_max_rows: OnMaxRows::Truncate, ..limits() };
    let plan = governed(&project, &principal("owner:string=a"), "e", "{}").unwrap();
    let stream = Embedded.run(plan, cut).await.unwrap();
    assert_eq!(count(stream).await.unwrap_err().code, Code::ResultTooLarge);
    free(&project).await;
}

#[tokio::test]
async fn what_a_query_would_read_is_judged_by_what_is_left_after_pruning() {
    let lake = lake();
    let few = Limits { max_scan_rows: Some(1_000), ..limits() };
    for (sql, rows) in [
        ("SELECT id FROM row WHERE id < 900", Ok(900)),
        ("SELECT id FROM row WHERE id < 1900", Err("the query would read about 2000 rows, and 1000 rows are the most")),
        ("SELECT id FROM row", Err("the query would read about 10000 rows, and 1000 rows are the most")),
        ("SELECT a.id FROM row AS a JOIN row AS b ON a.id = b.id WHERE a.id < 900 AND b.id < 900", Err("2000 rows")),
        // A refusal does not report the number of rows of a governed table.
        ("SELECT id FROM own WHERE id < 900", Ok(450)),
        ("SELECT id FROM own", Err("the query would read more than 1000 rows, which is the most that is allowed")),
        ("SELECT own.id FROM own JOIN row ON own.id = row.id", Err("would read more than 1000 rows, which")),
    ] {
        let project = project(lake.path(), sql).await;
        match rows {
            Ok(rows) => assert_eq!(count(run(&project, few.clone()).await.unwrap()).await.unwrap(), rows, "{sql}"),
            Err(said) => {
                let error = run(&project, few.clone()).await.unwrap_err();
                assert_eq!(error.code, Code::ScanTooLarge, "{sql}");
                assert!(error.detail.contains(said), "{sql}: {}", error.detail);
            }
        }
    }
}

#[tokio::test]
async fn only_the_columns_that_are_read_count() {
    let lake = lake();
    let project = project(lake.path(), "SELECT id FROM row").await;
    // A decoded copy takes eight bytes for an id.
    project.keep_hot(1 << 30).await.unwrap();
    let within = Limits { max_scan_bytes: Some(1 << 20), ..limits() };
    assert_eq!(count(run(&project, within).await.unwrap()).await.unwrap(), 10_000);
    let over = Limits { max_scan_rows: Some(9_999), ..limits() };
    assert_eq!(run(&project, over).await.unwrap_err().code, Code::ScanTooLarge);
}
