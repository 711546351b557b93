//! Changes reach the audit log at least once, whatever ends in between.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use lakegate::clock;
use lakegate::store::{
    Access, ChangeRecord, ChangeSink, NewPrincipal, SinkError, Store, StoreLocation, export_changes,
};

use crate::app::by;
use crate::binary::Project;

/// A log in memory, which can be broken.
#[derive(Debug, Default)]
struct Log {
    kept: Mutex<Vec<ChangeRecord>>,
    broken: AtomicBool,
}

impl ChangeSink for Log {
    fn append<'a>(&'a self, changes: &'a [ChangeRecord]) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err("the disk is full".into());
            }
            self.kept.lock().unwrap().extend_from_slice(changes);
            Ok(())
        }
        .boxed()
    }
}

impl Log {
    fn principals(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.iter().map(|change| change.detail["principal"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for the background to write something down.
    async fn holds(&self, expected: &[&str]) {
        let start = Instant::now();
        while self.principals() != expected {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?} and not {expected:?}", self.principals());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn add(store: &Store, name: &str) {
    by(store)
        .add_principal(NewPrincipal { name: name.to_owned(), ..NewPrincipal::default() }, clock::now())
        .await
        .unwrap();
}

fn folder() -> (tempfile::TempDir, StoreLocation) {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::parse("sqlite:access.db", folder.path()).unwrap();
    (folder, location)
}

#[tokio::test]
async fn an_export_hands_out_each_change_in_order_and_once() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let log = Log::default();
    for number in 0..3 {
        add(&store, &format!("p{number}")).await;
    }
    assert_eq!(export_changes(&store, &log).await.unwrap(), 3);
    assert_eq!(export_changes(&store, &log).await.unwrap(), 0);
    add(&store, "p3").await;
    assert_eq!(export_changes(&store, &log).await.unwrap(), 1);
    assert_eq!(log.principals(), ["p0", "p1", "p2", "p3"]);
    let ids: Vec<i64> = log.kept.lock().unwrap().iter().map(|change| change.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[tokio::test]
async fn what_the_log_does_not_take_stays_to_be_exported() {
    let (_folder, location) = folder();
    let store = Store::open(&location).await.unwrap();
    let log = Log::default();
    log.broken.store(true, Ordering::SeqCst);
    add(&store, "p0").await;
    let error = export_changes(&store, &log).await.unwrap_err().to_string();
    assert!(error.contains("kept for the next time"), "{error}");
    // Another process, later.
    store.close().await;
    let store = Store::open(&location).await.unwrap();
    log.broken.store(false, Ordering::SeqCst);
    assert_eq!(export_changes(&store, &log).await.unwrap(), 1);

    // A process that ended between the log and the note: it is in the log twice, with the same id.
    add(&store, "p1").await;
    let changes = store.unexported_changes(10).await.unwrap();
    log.append(&changes).await.unwrap();
    assert_eq!(export_changes(&store, &log).await.unwrap(), 1);
    assert_eq!(log.principals(), ["p0", "p1", "p1"]);
    let kept = log.kept.lock().unwrap();
    assert_eq!(kept[1], kept[2]);
}

/// The process that made a change is gone before anything was exported; the next server does it.
#[tokio::test]
async fn a_server_exports_what_others_left_and_what_they_do_meanwhile() {
    let project = Project::new();
    project.ok(&["principal", "add", "left"]);
    let location = StoreLocation::parse("sqlite:access.db", project.path()).unwrap();
    let log = Arc::new(Log::default());
    let sink: Arc<dyn ChangeSink> = Arc::<Log>::clone(&log);
    let store = Store::open(&location).await.unwrap();
    let (access, background) = Access::start_with(store, Some(sink)).await.unwrap();
    log.holds(&["left"]).await;
    project.ok(&["principal", "add", "meanwhile"]);
    log.holds(&["left", "meanwhile"]).await;
    add(access.store(), "own").await;
    log.holds(&["left", "meanwhile", "own"]).await;
    // A change just before the end goes out with it.
    add(access.store(), "last").await;
    background.shutdown().await;
    assert_eq!(log.principals(), ["left", "meanwhile", "own", "last"]);
    assert!(access.store().unexported_changes(10).await.unwrap().is_empty());
}
