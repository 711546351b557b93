//! Delta and Iceberg tables in an object store, from their creation to a served table that changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use serde_json::json;

use crate::support::app::{Answer, NOTHING_IN_MEMORY, TestApp, write_files};
use crate::support::binary::Project;
use crate::support::object_store::{Fault, KEY, ObjectStore, SECRET};

fn ids(answer: &Answer) -> Vec<i64> {
    answer.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// A store, and a project over it whose table does not exist yet.
async fn shop(format: &str) -> (ObjectStore, Arc<Project>) {
    let store = ObjectStore::start().await;
    let project = Project::new();
    let config = format!(
        "{}[tables.sale]\nlocation = \"sale/\"\nformat = \"{format}\"\n\
         row_filter = \"client_id IN (principal('client_id'))\"\n{NOTHING_IN_MEMORY}\n\
         [cache]\nresults_mb = 0\n[reload]\nproject_seconds = 0\ntables_seconds = 0\n",
        store.lake(project.path(), "some/lake")
    );
    project.write("lakegate.toml", config);
    let sales = "/*---\nsummary = \"s\"\nas_of = true\n---*/\nSELECT id, product FROM sale ORDER BY id";
    project.write("endpoints/sales.sql", sales);
    (store, Arc::new(project))
}

async fn ingest(project: &Arc<Project>, rows: &str, more: &'static [&'static str]) {
    project.write("sales.csv", format!("id,client_id,product\n{rows}"));
    let project = Arc::clone(project);
    let run = move || project.run(&[&["ingest", "--table", "sale", "--from", "sales.csv"][..], more].concat());
    let ran = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Serves the project in this process.
async fn serve(store: &ObjectStore, project: &Project) -> TestApp {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(project.path().join(name)).unwrap();
    let (config, sales) = (read("lakegate.toml"), read("endpoints/sales.sql"));
    store.lake(folder.path(), "some/lake");
    write_files(folder.path(), &[("lakegate.toml", &config), ("endpoints/sales.sql", &sales)]);
    TestApp::serve(folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_served_with_their_past_and_their_faults() {
    for format in ["delta", "iceberg"] {
        let (store, project) = shop(format).await;
        ingest(&project, "1,1,tea\n2,2,milk\n3,1,rice\n", &[]).await;
        let app = serve(&store, &project).await;
        let acme = app.admit_with("acme", "*", &[json!({})]).await;
        let get = async |query: &str| app.get(&acme, &format!("/api/sales{query}")).await;
        let first = get("").await;
        assert_eq!(ids(&first), [1, 3], "{format}");
        let then = first.headers["lakegate-as-of"].to_str().unwrap().to_owned();
        let page = get("?page_size=1").await;
        let next = page.headers["lakegate-next-cursor"].to_str().unwrap().to_owned();

        // The location of the data is cached, so a request reads only ranges of data files.
        store.requests();
        assert_eq!(ids(&get("?limit=5").await), [1, 3]);
        let requests = store.requests();
        let is_data = |request: &String| request.starts_with("GET ") && request.contains(".parquet bytes=");
        assert!(!requests.is_empty() && requests.iter().all(is_data), "{format}: {requests:?}");

        ingest(&project, "3,2,rice\n4,1,salt\n", &["--mode", "upsert", "--key", "id"]).await;
        assert_eq!(ids(&get("").await), [1, 3], "{format}: what is served is one version");
        lakegate::reload::refresh(&app.app).await.unwrap();
        assert_eq!(ids(&get("").await), [1, 4], "{format}");
        assert_eq!(ids(&get(&format!("?as_of={then}")).await), [1, 3], "{format}");
        assert_eq!(ids(&get(&format!("?page_size=1&cursor={next}")).await), [3], "{format}");

        // Without the log, the table is still served. Without the data, requests get a 503, and recover later.
        for (fault, path) in [(Fault::Busy, "_delta_log"), (Fault::Cut, "metadata"), (Fault::Denied, "list-type")] {
            store.fail(fault, path, usize::MAX);
            let _ = lakegate::reload::refresh(&app.app).await;
            assert_eq!(ids(&get("").await), [1, 4], "{format}: {fault:?} {path}");
        }
        for fault in [Fault::Busy, Fault::Cut, Fault::Torn, Fault::Short, Fault::Denied] {
            store.fail(fault, ".parquet", usize::MAX);
            for query in ["".to_owned(), format!("?as_of={then}")] {
                let away = get(&query).await;
                assert_eq!(away.problem(), (503, "lake_unavailable".to_owned()), "{format}: {fault:?} {query}");
                assert!(away.headers.contains_key("retry-after"));
                assert!(
                    !away.text().contains(SECRET) && !away.text().contains(KEY) && !away.text().contains("some/lake")
                );
            }
            store.mend();
            assert_eq!(ids(&get("").await), [1, 4], "{format}: after {fault:?}");
        }
    }
}

/// Metadata that points to another bucket, or outside of the lake, is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_leads_out_of_the_lake_is_not_followed() {
    let (store, project) = shop("iceberg").await;
    ingest(&project, "1,1,tea\n", &[]).await;
    let metadata = store.bucket().join("some/lake/sale/metadata");
    let newest = metadata.join("v1.metadata.json");
    let text = std::fs::read_to_string(&newest).unwrap();
    for elsewhere in [
        "s3://lake-bucket/some/other/",
        "s3://other-bucket/some/lake/",
        "file:///some/lake/",
        "s3://lake-bucket/some/lake/../x/",
    ] {
        std::fs::write(&newest, text.replace("s3://lake-bucket/some/lake/", elsewhere)).unwrap();
        let run = {
            let project = Arc::clone(&project);
            move || project.run(&["check"]).stdout
        };
        let said = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(said.contains("outside the lake"), "{elsewhere}: {said}");
    }
}
