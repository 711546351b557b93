//! A lake in an object store: equal responses to those from a folder, and responses while the store fails. No wrong
//! rows are served, and the server needs no restart.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::Duration;

use lakegate::clock;
use lakegate::project;
use lakegate::reload::refresh;
use lakegate::sample::{Sample, write_project, write_rows};
use lakegate_query::lake::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use serde_json::json;

use crate::http::answers::hold_against_the_oracle;
use crate::support::app::{NOTHING_IN_MEMORY, TestApp, append, by, write_files};
use crate::support::binary::Project;
use crate::support::eventually::eventually_async;
use crate::support::object_store::{BUCKET, Fault, KEY, ObjectStore, SECRET};

const TABLES: &str = r#"
[tables.sale]
location = "sale/"
row_filter = "client_id IN (principal('client_id'))"
[tables.city]
location = "city.csv"
shared = true
[cache]
results_mb = 0
[reload]
project_seconds = 0
tables_seconds = 0
"#;

fn query(sql: &str) -> String {
    format!("/*---\nsummary = \"s\"\n---*/\n{sql}")
}

/// Writes a Parquet file of sales.
fn write_sales(path: &Path, sales: &[(i64, i64)]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let columns = [Column::new("id", ColumnKind::Integer), Column::new("client_id", ColumnKind::Integer)];
    let mut writer = TableWriter::create(path, &columns, &WriteOptions::default()).unwrap();
    let (ids, clients) = sales.iter().map(|(id, client)| (Some(*id), Some(*client))).unzip();
    writer.write(vec![ColumnData::Integer(ids), ColumnData::Integer(clients)]).unwrap();
    writer.finish().unwrap();
}

/// A store with two tables, and the folder of a project over it.
async fn shop() -> (ObjectStore, tempfile::TempDir) {
    let store = ObjectStore::start().await;
    write_sales(&store.bucket().join("lake/sale/a.parquet"), &[(1, 1), (2, 1), (3, 2)]);
    write_files(&store.bucket(), &[("lake/city.csv", "id,name\n1,Bogota\n")]);
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{}{TABLES}{NOTHING_IN_MEMORY}", store.lake(folder.path(), "lake"));
    let sales = query("SELECT id FROM sale ORDER BY id");
    let cities = query("SELECT name FROM city");
    write_files(
        folder.path(),
        &[("lakegate.toml", &config), ("endpoints/sales.sql", &sales), ("endpoints/cities.sql", &cities)],
    );
    (store, folder)
}

#[tokio::test]
async fn the_sample_has_the_same_answers_from_an_object_store() {
    let store = ObjectStore::start().await;
    let sample = Sample::new(11, 0.004).unwrap();
    let rows = sample.rows();
    let folder = tempfile::tempdir().unwrap();
    write_project(folder.path()).unwrap();
    write_rows(&rows, &store.bucket().join("a/lake")).unwrap();
    let config = std::fs::read_to_string(folder.path().join("lakegate.toml")).unwrap();
    let lake = store.lake(folder.path(), "a/lake/");
    let config = config.replace("[lake]\nlocation = \"lake/\"\n", &lake);
    std::fs::write(folder.path().join("lakegate.toml"), config).unwrap();
    append(folder.path(), NOTHING_IN_MEMORY);
    hold_against_the_oracle(&TestApp::serve(folder).await, &sample, &rows).await;
}

/// A request reads only the ranges that it needs. Listings and footers are cached.
#[tokio::test]
async fn a_request_lists_nothing_and_reads_no_footer() {
    let (store, folder) = shop().await;
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    store.requests();
    for modified in ["", "?limit=2"] {
        assert_eq!(app.get(&acme, &format!("/api/sales{modified}")).await.rows().len(), 2);
        let requests = store.requests();
        let size = std::fs::metadata(store.bucket().join("lake/sale/a.parquet")).unwrap().len();
        assert!(!requests.is_empty(), "nothing is kept in memory");
        for request in requests {
            let (_, range) = request.split_once("bytes=").unwrap_or_else(|| panic!("{request}"));
            let end = range.split_once('-').unwrap().1.parse::<u64>().unwrap();
            assert!(request.starts_with("GET ") && end + 8 < size, "{request} of {size} bytes");
        }
    }
}

/// With a policy on a partition column, no file of another partition is requested.
#[tokio::test]
async fn partitions_of_others_are_not_read() {
    let (store, folder) = shop().await;
    for client in 1..=3 {
        write_sales(
            &store.bucket().join(format!("lake/visit/owner={client}/a.parquet")),
            &[(client, 0), (client + 10, 0)],
        );
    }
    let columns = "[tables.visit]\nlocation = \"visit/\"\nrow_filter = \"owner IN (principal('client_id'))\"\n\
                   [tables.visit.partitions]\nowner = \"integer\"\n";
    append(folder.path(), columns);
    write_files(folder.path(), &[("endpoints/visits.sql", &query("SELECT id, owner FROM visit ORDER BY id"))]);
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    store.requests();
    assert_eq!(app.get(&acme, "/api/visits").await.text(), r#"[{"id":1,"owner":1},{"id":11,"owner":1}]"#);
    let requests = store.requests();
    assert!(
        !requests.is_empty()
            && requests.iter().all(|request| request.contains("owner%3D1") || request.contains("owner=1")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_stays_is_a_503_for_that_table_alone() {
    let (store, folder) = shop().await;
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    let good = r#"[{"id":1},{"id":2}]"#;
    for (fault, always) in [
        (Fault::Busy, true),
        (Fault::Cut, true),
        (Fault::Torn, true),
        (Fault::Short, false),
        (Fault::Slow(Duration::from_secs(4)), false),
        (Fault::Denied, false),
    ] {
        if always {
            store.fail(fault, "/sale/", 1);
            assert_eq!(app.get(&acme, "/api/sales").await.text(), good, "{fault:?}, once");
        }
        store.fail(fault, "/sale/", usize::MAX);
        let away = app.get(&acme, "/api/sales").await;
        assert_eq!(away.problem(), (503, "lake_unavailable".to_owned()), "{fault:?}");
        assert!(away.headers.contains_key("retry-after"), "{fault:?}");
        let told = away.text();
        assert!(!told.contains(SECRET) && !told.contains(KEY) && !told.contains(BUCKET), "{told}");
        assert_eq!(app.get(&acme, "/api/cities").await.text(), r#"[{"name":"Bogota"}]"#);
        store.mend();
        assert_eq!(app.get(&acme, "/api/sales").await.text(), good, "after {fault:?}");
    }
}

/// Text is decompressed while it streams, so a failure surfaces in the decompressor.
#[tokio::test]
async fn packed_text_whose_end_does_not_come_is_a_503() {
    // Two gzipped lines: `{"id":1}` and `{"id":2}`.
    const LINES: [u8; 34] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 76, 81, 178, 50, 172, 229, 170, 6, 51, 140, 106, 185, 0, 6, 44,
        165, 4, 18, 0, 0, 0,
    ];
    let (store, folder) = shop().await;
    std::fs::write(store.bucket().join("lake/line.ndjson.gz"), LINES).unwrap();
    append(folder.path(), "[tables.line]\nlocation = \"line.ndjson.gz\"\nshared = true\n");
    write_files(folder.path(), &[("endpoints/lines.sql", &query("SELECT id FROM line ORDER BY id"))]);
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    for fault in [Fault::Short, Fault::Torn, Fault::Busy, Fault::Cut] {
        store.fail(fault, "/line", usize::MAX);
        let away = app.get(&acme, "/api/lines").await;
        assert_eq!(away.problem(), (503, "lake_unavailable".to_owned()), "{fault:?}");
        store.mend();
        assert_eq!(app.get(&acme, "/api/lines").await.text(), r#"[{"id":1},{"id":2}]"#, "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_goes_and_comes_back_is_served_again_without_a_restart() {
    let (mut store, folder) = shop().await;
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    let before = app.get(&acme, "/api/sales").await;
    store.go_away().await;
    for path in ["/api/sales", "/api/cities"] {
        assert_eq!(app.get(&acme, path).await.problem(), (503, "lake_unavailable".to_owned()));
    }
    let ready = app.get(&acme, "/health/ready").await;
    assert_eq!(ready.json()["errors"], json!([{ "code": "lake_unavailable", "detail": "the lake cannot be reached" }]));
    // A failed listing does not drop tables that are being served.
    refresh(&app.app).await.unwrap_err();
    store.come_back().await;
    assert_eq!(app.get(&acme, "/api/sales").await.text(), before.text());
    assert_eq!(app.get(&acme, "/health/ready").await.status, 200);
    refresh(&app.app).await.unwrap();
    assert!(app.app.reloads.state().tables_fault.is_none());
}

/// The server starts, reports an unavailable table to callers with access, and serves it once it is readable.
#[tokio::test]
async fn a_server_starts_while_a_table_can_not_be_read() {
    let (store, folder) = shop().await;
    store.fail(Fault::Busy, "sale", usize::MAX);
    let said = project::load(folder.path(), None).await.unwrap_err().to_string();
    assert!(said.contains("lakegate.toml:") && said.contains("table `sale`"), "{said}");
    assert!(!said.contains(SECRET) && !said.contains(KEY), "{said}");
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    let other = app.admit_with("other", "cities", &[json!({})]).await;
    let away = app.get(&acme, "/api/sales").await;
    assert_eq!(away.problem(), (503, "lake_unavailable".to_owned()));
    assert!(away.headers.contains_key("retry-after"));
    // Callers without a grant get their usual errors.
    assert_eq!(app.get(&other, "/api/sales").await.problem(), (403, "access_not_granted".to_owned()));
    assert_eq!(app.get("nobody", "/api/sales").await.status, 401);
    assert_eq!(app.get(&acme, "/api/cities").await.text(), r#"[{"name":"Bogota"}]"#);
    let ready = app.get(&acme, "/health/ready").await;
    assert_eq!(ready.json(), json!({ "status": "ready", "warnings": ["tables_away"] }));
    refresh(&app.app).await.unwrap_err();
    store.mend();
    refresh(&app.app).await.unwrap();
    assert_eq!(app.get(&acme, "/api/sales").await.text(), r#"[{"id":1},{"id":2}]"#);
    assert_eq!(app.get(&acme, "/health/ready").await.json(), json!({ "status": "ready" }));
}

/// This store ignores `If-Match`. A file with rows of one client only is replaced by a file of the same size with rows
/// of another client: with the old statistics, all rows would be returned.
#[tokio::test]
async fn a_file_that_was_replaced_is_never_read_by_what_was_known_of_the_old_one() {
    let (store, folder) = shop().await;
    let file = store.bucket().join("lake/sale/a.parquet");
    write_sales(&file, &[(1, 1), (2, 1)]);
    let app = TestApp::serve(folder).await;
    let one = app.admit_with("one", "*", &[json!({})]).await;
    assert_eq!(app.get(&one, "/api/sales").await.text(), r#"[{"id":1},{"id":2}]"#);
    write_sales(&file, &[(7, 1), (8, 2)]);
    assert_eq!(app.get(&one, "/api/sales").await.text(), r#"[{"id":7}]"#, "met, looked for and read anew");
    write_sales(&file, &[(7, 2), (8, 2)]);
    // A response that is not cached.
    assert_eq!(app.get(&one, "/api/sales?limit=5").await.text(), "[]");
}

/// A retried request is authorised again, so it notices a right that ended while it waited.
#[tokio::test]
async fn who_is_disabled_while_a_request_waits_for_other_tables_gets_nothing() {
    let (store, folder) = shop().await;
    let app = TestApp::serve(folder).await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    // A refresh that never finishes keeps other requests waiting.
    let mut looking = Box::pin(refresh(&app.app));
    assert!(futures::poll!(&mut looking).is_pending());
    write_sales(&store.bucket().join("lake/sale/a.parquet"), &[(7, 1)]);
    store.requests();
    let (waited, ()) = tokio::join!(app.get(&token, "/api/sales"), async {
        // The request was authorised before it reads the file. It finds another file there, and waits.
        eventually_async("the request reads the file", async || {
            store.requests().iter().any(|line| line.starts_with("GET") && line.contains("a.parquet"))
        })
        .await;
        by(&app.store).disable_principal("acme", clock::now()).await.unwrap();
        drop(looking);
    });
    assert_eq!(waited.problem(), (401, "access_principal_disabled".to_owned()));
    let records = crate::audit::records::records(&app).await;
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&record["decision"], &record["status"]), (&json!("denied"), &json!(401)));
    assert_eq!((&record["principal"], &record["endpoint"]), (&json!("acme"), &json!("sales")));
    assert!(["grants", "arguments", "policy"].iter().all(|found| record.get(found).is_none()), "{record}");
}

/// A table that can be refreshed is, whatever the state of other tables.
#[tokio::test]
async fn one_table_that_is_away_or_broken_does_not_keep_others_as_they_were() {
    let (store, folder) = shop().await;
    let app = TestApp::serve(folder).await;
    let acme = app.admit_with("acme", "*", &[json!({})]).await;
    let cities = async |name: &str| {
        write_files(&store.bucket(), &[("lake/city.csv", &format!("id,name\n1,{name}\n"))]);
        let refreshed = refresh(&app.app).await;
        assert_eq!(app.get(&acme, "/api/cities").await.text(), format!("[{{\"name\":\"{name}\"}}]"));
        refreshed
    };
    store.fail(Fault::Busy, "sale", usize::MAX);
    let said = cities("Cali").await.unwrap_err().to_string();
    assert!(said.contains("`sale` cannot be listed"), "{said}");
    store.mend();
    assert_eq!(app.get(&acme, "/api/sales").await.rows().len(), 2);
    // A file that becomes corrupt while it is served.
    let file = store.bucket().join("lake/sale/a.parquet");
    let good = std::fs::read(&file).unwrap();
    for broken in [&good[..good.len() / 2], b"nothing".as_slice()] {
        std::fs::write(&file, broken).unwrap();
        assert_eq!(app.get(&acme, "/api/sales").await.problem(), (503, "lake_unavailable".to_owned()));
        let said = cities("Pasto").await.unwrap_err().to_string();
        assert!(said.contains("table `sale`") && said.contains("cannot be read as parquet"), "{said}");
        assert_eq!(app.get(&acme, "/api/sales").await.problem(), (503, "lake_unavailable".to_owned()));
        let ready = app.get(&acme, "/health/ready").await;
        assert_eq!(ready.json(), json!({ "status": "ready", "warnings": ["tables_not_refreshed"] }));
    }
    std::fs::write(&file, good).unwrap();
    cities("Tunja").await.unwrap();
    assert_eq!(app.get(&acme, "/api/sales").await.rows().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_shown_and_logged_nowhere() {
    let store = ObjectStore::start().await;
    let project = Project::new();
    let lake = store.lake(project.path(), "lake");
    let wrong = lake.replace("file:store.secret", "env:STORE_SECRET_OF_THIS_TEST");
    let table = "[tables.t]\nlocation = \"t.csv\"\nshared = true\n";
    for (lake, said) in [
        (format!("{lake}{table}"), "there is nothing at `t.csv`"),
        (format!("{wrong}{table}"), "STORE_SECRET_OF_THIS_TEST"),
        (format!("{}{table}", lake.replace("file:store.secret", SECRET)), "must say where it is kept"),
        (format!("{}{table}", lake.replace("s3://", &format!("s3://{KEY}:{SECRET}@"))), "has credentials in it"),
    ] {
        project.write("lakegate.toml", lake);
        project.write("endpoints/e.sql", query("SELECT 1 AS one FROM t"));
        let (checked, config) = tokio::task::block_in_place(|| (project.run(&["check"]), project.run(&["config"])));
        let all = format!("{checked:?}{config:?}");
        assert!(all.contains(said), "{all}");
        assert_ne!(checked.code, Some(0));
        assert!(!all.contains(SECRET) && !all.contains(KEY), "{all}");
    }
}
