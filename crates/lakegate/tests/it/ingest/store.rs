//! `lakegate ingest` into an object store: each format, changes that are not atomic there, and a store that fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use crate::support::binary::{Project, Ran};
use crate::support::object_store::{Fault, ObjectStore};

const TABLE: &str = "[tables.item]\nlocation = \"item/\"\nshared = true\n";

async fn project() -> (ObjectStore, Arc<Project>) {
    let store = ObjectStore::start().await;
    let project = Project::new();
    project.write("lakegate.toml", format!("{}{TABLE}", store.lake(project.path(), "some/lake")));
    project.write("a.csv", "id,text\n1,a\n2,b\n3,\n");
    (store, Arc::new(project))
}

/// Runs the binary on another thread, while this process serves the object store.
async fn ingest(project: &Arc<Project>, more: &[&str]) -> Ran {
    let project = Arc::clone(project);
    let more = more.iter().map(ToString::to_string).collect::<Vec<_>>();
    let run = move || {
        let more = more.iter().map(String::as_str).collect::<Vec<_>>();
        project.run(&[&["ingest", "--table", "item", "--from", "a.csv"][..], &more].concat())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn data_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let entries = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".parquet"));
    entries.count()
}

const UPSERT: [&str; 4] = ["--mode", "upsert", "--key", "id"];

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_an_object_store_are_written_in_every_format() {
    for format in ["parquet", "delta", "iceberg"] {
        let (_store, project) = project().await;
        for (more, told) in [
            (&["--into", format][..], "3 rows ingested into `item` from 1 file"),
            (&["--mode", "replace"], "3 rows ingested into `item` from 1 file"),
            (&UPSERT, "3 rows ingested into `item` from 1 file, in the place of 3 rows"),
            (&[], "3 rows ingested into `item` from 1 file"),
        ] {
            let ran = ingest(&project, more).await;
            assert_eq!(ran.code, Some(0), "{format} {more:?}: {ran:?}");
            assert!(ran.stdout.starts_with(told), "{format} {more:?}: {}", ran.stdout);
        }
        let ran = ingest(&project, &UPSERT).await;
        if format == "parquet" {
            // Two objects cannot be replaced atomically.
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains("make it a Delta or Iceberg table"), "{}", ran.stderr);
        } else {
            assert!(ran.stdout.contains("in the place of 6 rows"), "{format}: {ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_keeps_its_table() {
    let (store, project) = project().await;
    assert_eq!(ingest(&project, &[]).await.code, Some(0));
    let folder = store.bucket().join("some/lake/item");
    assert_eq!(data_files(&folder), 1);
    store.fail(Fault::Denied, "part-", 1_000);
    let ran = ingest(&project, &[]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("nothing is ingested into `item`"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(crate::support::object_store::SECRET), "{}", ran.stderr);
    store.mend();
    assert_eq!(data_files(&folder), 1);
    assert_eq!(ingest(&project, &[]).await.code, Some(0));
    assert_eq!(data_files(&folder), 2);
}
