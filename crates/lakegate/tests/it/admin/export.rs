//! Changes reach the audit log at least once, whichever process ends in between.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use lakegate::audit::AuditFolderSink;
use lakegate::clock;
use lakegate::store::{
    Access, Background, ChangeRecord, ChangeSink, NewPrincipal, SinkError, Store, StoreLocation, export_changes,
};
use serde_json::{Value as Json, json};

use crate::support::app::by;
use crate::support::binary::Project;
use crate::support::eventually::eventually_async;

/// A log in memory that can be made to fail.
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

    // A process ends between the log write and the export's record: the log has the change twice, with one id.
    add(&store, "p1").await;
    let changes = store.unexported_changes(10).await.unwrap();
    log.append(&changes).await.unwrap();
    assert_eq!(export_changes(&store, &log).await.unwrap(), 1);
    assert_eq!(log.principals(), ["p0", "p1", "p1"]);
    let kept = log.kept.lock().unwrap();
    assert_eq!(kept[1], kept[2]);
}

/// The changes in a project's audit log, in file order.
fn logged(project: &Project) -> Vec<Json> {
    let text = std::fs::read_to_string(project.path().join("audit/audit.ndjson")).unwrap_or_default();
    let records = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    records.filter(|record| record["kind"] == "change").collect()
}

/// The principals of these changes, with duplicates of a change removed.
fn changed(records: &[Json]) -> Vec<String> {
    let ids = records.iter().map(|record| record["id"].as_str().unwrap()).enumerate();
    let mut known = BTreeSet::new();
    let firsts = ids.filter(|(_, id)| known.insert(*id)).map(|(at, _)| &records[at]);
    firsts.map(|record| record["detail"]["principal"].as_str().unwrap().to_owned()).collect()
}

async fn serve(project: &Project) -> (Access, Background) {
    let location = StoreLocation::parse("sqlite:access.db", project.path()).unwrap();
    let store = Store::open(&location).await.unwrap();
    let sink: Arc<dyn ChangeSink> = Arc::new(AuditFolderSink(project.path().join("audit")));
    Access::start_with(store, Some(sink)).await.unwrap()
}

#[tokio::test]
async fn a_command_writes_its_change_into_the_audit_log_and_no_server_writes_it_again() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme"]);
    let records = logged(&project);
    assert_eq!(records.len(), 1, "{records:?}");
    let (access, background) = serve(&project).await;
    let change = access.store().change_log(10, None).await.unwrap().remove(0);
    assert!(change.actor.starts_with("cli:") && change.action == "principal.add", "{change:?}");
    assert_eq!(records[0]["id"], change.id.to_string());
    assert_eq!((&records[0]["actor"], &records[0]["action"]), (&json!(change.actor), &json!(change.action)));
    assert_eq!(records[0]["detail"], change.detail);
    background.shutdown().await;
    assert_eq!(logged(&project), records);
}

/// If a process cannot export its change, the next server does.
#[tokio::test]
async fn a_server_exports_what_others_left_and_what_they_do_meanwhile() {
    let project = Project::new();
    project.write("audit", "in the way");
    let ran = project.run(&["principal", "add", "left"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("the change is made") && ran.stderr.contains("kept for the next time"), "{ran:?}");
    std::fs::remove_file(project.path().join("audit")).unwrap();

    let (access, background) = serve(&project).await;
    let holds = async |expected: &[&str]| {
        eventually_async(&format!("{expected:?} in the log"), async || changed(&logged(&project)) == expected).await;
    };
    holds(&["left"]).await;
    assert_eq!(logged(&project).len(), 1);
    // The command writes the change itself, and the server may do so at the same moment.
    project.ok(&["principal", "add", "meanwhile"]);
    holds(&["left", "meanwhile"]).await;
    add(access.store(), "own").await;
    holds(&["left", "meanwhile", "own"]).await;
    // A change just before the shutdown is exported by it.
    add(access.store(), "last").await;
    background.shutdown().await;
    assert_eq!(changed(&logged(&project)), ["left", "meanwhile", "own", "last"]);
    assert!(access.store().unexported_changes(10).await.unwrap().is_empty());
}
