//! Changes while the server runs: an edited project, and a lake with other files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lakegate::reload::{refresh, reload};
use lakegate::sample::Sample;
use lakegate::sample::write_rows;
use serde_json::{Value as Json, json};

use crate::http::answers::{client_ids, compare};
use crate::serve::process::{serve, shop};
use crate::support::app::{NOTHING_IN_MEMORY, TestApp, append, write_files};
use crate::support::eventually::{StopOnDrop, eventually};
use crate::support::oracle::{Caller, answer};

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
row_filter = "client_id IN (principal('client_id'))"
"#;

const SALES: &str = "id,client_id,product\n1,1,pen\n2,1,ink\n3,2,cap\n";
const ENDPOINT: &str = "/*---\nsummary = \"Sales\"\n---*/\nSELECT id, product FROM sale ORDER BY id";

async fn app(config: &str) -> TestApp {
    let files = [("lakegate.toml", config), ("lake/sale.csv", SALES), ("endpoints/sales.sql", ENDPOINT)];
    TestApp::project(&files).await
}

fn write(app: &TestApp, path: &str, text: &str) {
    write_files(app.folder.path(), &[(path, text)]);
}

#[tokio::test]
async fn a_new_project_is_served_whole() {
    let app = app(CONFIG).await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    write(&app, "endpoints/ids.sql", &ENDPOINT.replace("id, product", "id"));
    write(&app, "endpoints/sales.sql", &ENDPOINT.replace("id, product", "product"));
    assert_eq!(app.get(&token, "/api/ids").await.status, 404);
    reload(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/ids").await.text(), r#"[{"id":1},{"id":2}]"#);
    assert_eq!(app.get(&token, "/api/sales").await.text(), r#"[{"product":"pen"},{"product":"ink"}]"#);
    std::fs::remove_file(app.folder.path().join("endpoints/sales.sql")).unwrap();
    reload(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/sales").await.problem(), (404, "endpoint_unknown".to_owned()));
    let state = app.app.reloads.state();
    assert_eq!((state.projects, state.failures, state.project_fault.is_none()), (2, 0, true));
}

#[tokio::test]
async fn a_project_with_a_fault_changes_nothing_and_is_told() {
    let app = app(CONFIG).await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let before = app.get(&token, "/api/sales").await.text().to_owned();
    let good = (CONFIG.to_owned(), ENDPOINT.to_owned());
    let unfiltered = CONFIG.lines().filter(|line| !line.starts_with("row_filter")).collect::<Vec<_>>().join("\n");
    for (config, endpoint, told) in [
        // An edit never removes the policy of a governed table.
        (unfiltered, good.1.clone(), "neither `row_filter` nor `shared`"),
        (good.0.clone(), ENDPOINT.replace("product", "prodct"), "endpoints/sales.sql:4:12"),
        (good.0.clone(), String::new(), "there is no front matter"),
        (String::new(), good.1.clone(), "there is no [lake] section"),
        (good.0.replace("sale.csv", "gone.csv"), good.1.clone(), "there is nothing at `gone.csv`"),
    ] {
        write(&app, "lakegate.toml", &config);
        write(&app, "endpoints/sales.sql", &endpoint);
        let error = reload(&app.app).await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(app.get(&token, "/api/sales").await.text(), before);
        let state = app.app.reloads.state();
        assert!(state.project_fault.unwrap().text.contains(told));
        assert_eq!(state.projects, 0);
    }
    write(&app, "lakegate.toml", &good.0);
    write(&app, "endpoints/sales.sql", &good.1);
    reload(&app.app).await.unwrap();
    let state = app.app.reloads.state();
    assert_eq!((state.projects, state.failures, state.project_fault.is_none()), (1, 5, true));
}

#[tokio::test]
async fn a_policy_that_was_changed_counts_from_then_on() {
    let app = app(CONFIG).await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let before = app.get(&token, "/api/sales").await;
    write(
        &app,
        "lakegate.toml",
        &CONFIG.replace("client_id IN (principal('client_id'))", "client_id IN (principal('client_id')) AND id > 1"),
    );
    reload(&app.app).await.unwrap();
    let after = app.get(&token, "/api/sales").await;
    assert_eq!(after.text(), r#"[{"id":2,"product":"ink"}]"#);
    assert_ne!(after.headers["etag"], before.headers["etag"]);
    write(&app, "lakegate.toml", &format!("{CONFIG}[tables.sale.columns.product]\nmask = \"redact\"\n"));
    reload(&app.app).await.unwrap();
    assert!(!app.get(&token, "/api/sales").await.text().contains("ink"));
}

/// The response of the old project is read while the new project is served.
#[tokio::test]
async fn a_request_ends_with_the_project_that_it_began_with() {
    let mut sales = "id,client_id,product\n".to_owned();
    (0..40_000).for_each(|id| sales.push_str(&format!("{id},1,product number {id}\n")));
    for memory in ["", NOTHING_IN_MEMORY] {
        let app = app(&format!("{CONFIG}{memory}")).await;
        write(&app, "lake/sale.csv", &sales);
        refresh(&app.app).await.unwrap();
        let token = app.admit_with("acme", "*", &[json!({})]).await;
        let request = Request::get("/api/sales").header("token", &token).body(Body::empty()).unwrap();
        let response = app.respond(request).await;
        assert_eq!(response.status(), 200);
        write(&app, "endpoints/sales.sql", &ENDPOINT.replace("id, product", "id"));
        write(&app, "lakegate.toml", &CONFIG.replace("IN (principal('client_id'))", "= -1"));
        reload(&app.app).await.unwrap();
        assert_eq!(app.get(&token, "/api/sales").await.text(), "[]");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let rows = serde_json::from_slice::<Vec<Json>>(&body).unwrap();
        assert_eq!(rows.len(), 40_000);
        assert!(rows.iter().enumerate().all(|(at, row)| row["product"] == format!("product number {at}")));
    }
}

#[tokio::test]
async fn other_files_of_a_table_are_served_without_a_restart() {
    for config in [CONFIG.to_owned(), format!("{CONFIG}{NOTHING_IN_MEMORY}")] {
        let app = app(&config).await;
        let token = app.admit_with("acme", "*", &[json!({})]).await;
        refresh(&app.app).await.unwrap();
        assert_eq!(app.app.reloads.state().tables, 0);
        write(&app, "lake/sale.csv", "id,client_id,product\n7,1,new\n8,2,foreign\n");
        refresh(&app.app).await.unwrap();
        assert_eq!(app.get(&token, "/api/sales").await.text(), r#"[{"id":7,"product":"new"}]"#);

        // A table that cannot be served leaves its previous version in place, if that is resident.
        write(&app, "lake/sale.csv", "id,client_id\n7,1\n");
        assert!(refresh(&app.app).await.unwrap_err().to_string().contains("product"));
        if config == CONFIG {
            assert_eq!(app.get(&token, "/api/sales").await.text(), r#"[{"id":7,"product":"new"}]"#);
        }
        assert!(app.app.reloads.state().tables_fault.is_some());
        write(&app, "lake/sale.csv", SALES);
        refresh(&app.app).await.unwrap();
        assert_eq!(app.get(&token, "/api/sales").await.rows().len(), 2);
        let state = app.app.reloads.state();
        assert_eq!((state.tables, state.failures, state.tables_fault.is_none()), (2, 1, true));
    }
}

/// The row filter of orders uses their trackcodes. Owners are precomputed, and updated when a trackcode changes.
#[tokio::test]
async fn rows_follow_their_parent_to_another_caller() {
    let sample = Sample::new(3, 0.02).unwrap();
    let mut rows = sample.rows();
    let (one, other) = (sample.client_by_rank(0).id, sample.client_by_rank(1).id);
    for from_files in [false, true] {
        let app = if from_files { TestApp::logistics_from_files(&rows).await } else { TestApp::logistics(&rows).await };
        let mut callers = Vec::new();
        for id in [one, other] {
            let token = app.admit(&format!("client{id}"), "client", &[("client_id", client_ids(&[id]))]).await;
            callers.push((token, Caller::Clients([id].into())));
        }
        let range = "start_datetime=1970-01-01&end_datetime=2100-01-01";
        let (start, end) = (0, 4_102_444_800_000_000);
        let mut seen = Vec::new();
        for _ in 0..2 {
            for (token, caller) in &callers {
                for endpoint in ["count_orders_by_range", "all_orders_by_range"] {
                    let got = app.get(token, &format!("/api/{endpoint}?{range}")).await.rows();
                    let wanted = answer(endpoint, &rows, caller, start, end).into_iter().map(Json::Object).collect();
                    compare(endpoint, got.clone(), wanted, false);
                    seen.push(got);
                }
            }
            for trackcode in &mut rows.trackcodes {
                if trackcode.client_id == Some(one) {
                    trackcode.client_id = Some(other);
                } else if trackcode.client_id == Some(other) {
                    trackcode.client_id = Some(one);
                }
            }
            write_rows(&rows, &app.folder.path().join("lake")).unwrap();
            refresh(&app.app).await.unwrap();
            assert!(app.app.reloads.state().tables > 0);
        }
        assert_ne!(seen[0], seen[4], "the rows did not change hands");
    }
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("shop/endpoints/best_products.sql");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_server_sees_edits_by_itself_and_at_once_when_told() {
    let (project, token) = shop();
    let server = serve(&project, &[]);
    let column = |name: &str| server.get("/api/best_products", &token).rows()[0].get(name).is_some();
    assert!(column("product"));
    edit(project.path(), "AS product,", "AS product, 1 AS article,");
    eventually("the edit is served", || column("article"));
    server.stop();

    append(&project.path().join("shop"), "\n[reload]\nproject_seconds = 0\ntables_seconds = 0\n");
    let server = serve(&project, &[]);
    let column = |name: &str| server.get("/api/best_products", &token).rows()[0].get(name).is_some();
    edit(project.path(), "1 AS article", "1 AS thing");
    assert!(column("article"));
    #[cfg(unix)]
    {
        let sale = project.path().join("shop/lake/sale.csv");
        let rows = std::fs::read_to_string(&sale).unwrap();
        // Remove all rows of the caller.
        let others = rows.lines().filter(|line| line.split(',').nth(1) != Some("1")).collect::<Vec<_>>().join("\n");
        std::fs::write(&sale, others + "\n").unwrap();
        server.signal("HUP");
        eventually("the signal reloads the table", || server.get("/api/best_products", &token).text() == "[]");
    }
    server.stop();
}

/// A server uses a replaced key by itself, and keeps the previous one while the file is unusable.
#[test]
fn a_replaced_key_of_masks_is_used() {
    let (project, token) = shop();
    let folder = project.path().join("shop");
    let key = |text: &str| std::fs::write(folder.join("mask.key"), text).unwrap();
    key("the first key, which is long enough for masks");
    append(&folder, "\n[masking]\nkey = \"file:mask.key\"\n[tables.product.columns.name]\nmask = \"hash\"\n");
    let server = serve(&project, &[]);
    let shown = || server.get("/api/best_products", &token).text();
    let first = shown();
    key("another key, which is also long enough for masks");
    eventually("the new key is used", || shown() != first);
    let second = shown();
    let log = server.follow();
    key("short");
    eventually("the fault is logged", || log.lock().unwrap().contains("the one before stays"));
    assert_eq!(shown(), second);
    server.stop();
}

/// Each response is complete, and comes from one project: with the old column or with the new one.
#[cfg(unix)]
#[test]
fn no_request_fails_while_projects_and_tables_are_replaced() {
    let (project, token) = shop();
    append(&project.path().join("shop"), "\n[cache]\nresults_mb = 0\n");
    edit(project.path(), "AS product,", "AS product, 0 AS round,");
    let server = serve(&project, &[]);
    let first = server.get("/api/best_products", &token).rows();
    let is_over = AtomicBool::new(false);
    let callers = std::thread::scope(|scope| {
        let call = || {
            let (mut calls, mut rounds) = (0, BTreeSet::new());
            while !is_over.load(Ordering::Relaxed) {
                let rows = server.get("/api/best_products", &token).rows();
                let round = &rows[0]["round"];
                assert!(rows.len() == first.len() && rows.iter().all(|row| row["round"] == *round), "{rows:?}");
                rounds.insert(round.as_i64().unwrap());
                calls += 1;
            }
            (calls, rounds)
        };
        let callers = (0..4).map(|_| scope.spawn(call)).collect::<Vec<_>>();
        let stop = StopOnDrop(&is_over);
        let product = project.path().join("shop/lake/product.csv");
        for round in 1..=15 {
            edit(project.path(), &format!("{} AS round", round - 1), &format!("{round} AS round"));
            // Replace the table's file atomically.
            let rows = std::fs::read_to_string(&product).unwrap();
            let new = project.path().join("product.new");
            std::fs::write(&new, format!("{rows}{},thing {round},1.50\n", 1_000 + round)).unwrap();
            std::fs::rename(new, &product).unwrap();
            server.signal("HUP");
            eventually("the round is served", || server.get("/api/best_products", &token).rows()[0]["round"] == round);
        }
        drop(stop);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    for (calls, rounds) in callers {
        assert!(calls > 15 && rounds.len() > 3, "{calls} calls in the rounds {rounds:?}");
    }
    server.stop();
}

const PARCELS: &str = "\
[lake]
location = \"lake\"
[tables.parcel]
location = \"parcel.csv\"
row_filter = \"client_id IN (principal('client_id'))\"
[tables.item]
location = \"item.csv\"
row_filter = \"parcel_id IN (SELECT id FROM parcel)\"
";

/// Row owners are precomputed and not part of the plan, so a changed owner column must invalidate cached responses.
#[tokio::test]
async fn an_answer_is_not_kept_when_rows_belong_to_others_by_another_column() {
    for (from, to, ids) in [
        ("client_id IN", "payer_id IN", "[{\"id\":2}]"),
        ("parcel_id IN (SELECT id", "parcel_id IN (SELECT old_id", "[{\"id\":2}]"),
        ("\"parcel_id IN", "\"return_id IN", "[{\"id\":2}]"),
    ] {
        let app = TestApp::project(&[
            ("lakegate.toml", PARCELS),
            ("lake/parcel.csv", "id,old_id,client_id,payer_id\n10,20,1,2\n20,10,2,1\n"),
            ("lake/item.csv", "id,parcel_id,return_id\n1,10,20\n2,20,10\n"),
            ("endpoints/items.sql", "/*---\nsummary = \"Items\"\n---*/\nSELECT id FROM item ORDER BY id"),
        ])
        .await;
        let token = app.admit_with("acme", "*", &[json!({})]).await;
        let before = app.get(&token, "/api/items").await;
        assert_eq!(before.text(), "[{\"id\":1}]");
        write(&app, "lakegate.toml", &PARCELS.replace(from, to));
        reload(&app.app).await.unwrap();
        let after = app.get(&token, "/api/items").await;
        assert_eq!(after.text(), ids, "{to}");
        assert_ne!(after.headers["etag"], before.headers["etag"]);
    }
}

#[tokio::test]
async fn less_memory_for_hot_tables_holds_from_the_next_reload_on() {
    let config = |mb: u32| {
        format!("{CONFIG}[tables.other]\nlocation = \"other.csv\"\nshared = true\n[server]\ncache_limit_mb = {mb}\n")
    };
    let mut sales = SALES.to_owned();
    (0..200_000).for_each(|id| sales.push_str(&format!("{id},1,product number {id}\n")));
    let app = TestApp::project(&[
        ("lakegate.toml", &config(100)),
        ("lake/sale.csv", SALES),
        ("lake/other.csv", &sales),
        ("endpoints/sales.sql", ENDPOINT),
        (
            "endpoints/others.sql",
            "/*---\nsummary = \"s\"\ncache_seconds = 0\n---*/\nSELECT count(product) AS n FROM other",
        ),
    ])
    .await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let kept = || app.app.served().project.hot_bytes();
    assert_eq!(kept(), 0, "nothing is kept before somebody asks");
    assert_eq!(app.get(&token, "/api/others").await.text(), "[{\"n\":200003}]");
    let whole = kept();
    assert!(whole > 4 << 20, "{whole}");
    for (mb, most) in [(8, 8 << 20), (0, 0)] {
        write(&app, "lakegate.toml", &config(mb));
        reload(&app.app).await.unwrap();
        assert_eq!(app.get(&token, "/api/sales").await.rows().len(), 2);
        assert_eq!(app.get(&token, "/api/others").await.text(), "[{\"n\":200003}]");
        assert!(kept() <= most, "{} in {mb} MB", kept());
    }
    write(&app, "lakegate.toml", &config(100));
    reload(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/others").await.text(), "[{\"n\":200003}]");
    assert_eq!(kept(), whole);
}

#[tokio::test]
async fn a_column_of_partitions_that_is_read_otherwise_makes_another_answer() {
    let config = |kind: &str| {
        format!(
            "[lake]\nlocation = \"lake\"\n[tables.day]\nlocation = \"day/\"\nshared = true\n[tables.day.partitions]\nday = \"{kind}\"\n"
        )
    };
    let app = TestApp::project(&[
        ("lakegate.toml", &config("string")),
        ("lake/day/day=01/x.csv", "id\n1\n"),
        ("endpoints/days.sql", "/*---\nsummary = \"Days\"\n---*/\nSELECT day FROM day"),
    ])
    .await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    assert_eq!(app.get(&token, "/api/days").await.text(), "[{\"day\":\"01\"}]");
    write(&app, "lakegate.toml", &config("integer"));
    reload(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/days").await.text(), "[{\"day\":1}]");
}

/// CSV columns are read by position: if they change, a row filter and a mask would apply to the wrong columns. A
/// request that meets a replaced file is answered after the table was listed again.
#[tokio::test]
async fn a_file_that_was_replaced_is_read_as_it_was_listed_or_not_at_all() {
    let masked = "[tables.sale.columns.product]\nmask = \"redact\"\n";
    let daily = "[limits]\nrequests_per_day = 10\n";
    let app = app(&format!("{CONFIG}{masked}{NOTHING_IN_MEMORY}[cache]\nresults_mb = 0\n{daily}")).await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let path = app.folder.path().join("lake/sale.csv");
    let new = app.folder.path().join("new.csv");
    let mut left = 10;
    let mut get = async || {
        let answer = app.get(&token, "/api/sales?order=id").await;
        left -= 1;
        let told = answer.headers["ratelimit"].to_str().unwrap();
        assert!(told.contains(&format!(";r={left};")) && !answer.text().contains("secret"), "{told} {}", answer.text());
        answer
    };
    for (text, id) in [
        ("product,id,client_id\nsecret,1,2\nsecret,2,1\n", 2),
        ("client_id,id,product\n2,1,secret\n2,2,secret\n1,3,secret\n", 3),
        ("id,client_id,product\n4,1,secret\n1,2,secret\n", 4),
    ] {
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        for _ in 0..2 {
            let answer = get().await;
            assert_eq!((answer.status, answer.rows()[0]["id"].as_i64()), (200, Some(id)), "{}", answer.text());
            assert_eq!(answer.rows().len(), 1);
        }
    }
    std::fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let answer = get().await;
        assert_eq!(answer.problem(), (503, "lake_unavailable".to_owned()));
        assert!(answer.headers.contains_key("retry-after"));
    }
    std::fs::write(&path, SALES).unwrap();
    refresh(&app.app).await.unwrap();
    assert_eq!(get().await.rows().len(), 2);
}

/// A request that meets a replaced file triggers a refresh; it neither waits for the next one nor fails.
#[test]
fn a_server_that_meets_a_replaced_file_looks_at_once() {
    let (project, token) = shop();
    append(
        &project.path().join("shop"),
        "\n[reload]\ntables_seconds = 86400\n[server]\ncache_limit_mb = 0\n[cache]\nresults_mb = 0\n",
    );
    let server = serve(&project, &[]);
    let sale = project.path().join("shop/lake/sale.csv");
    let new = project.path().join("new.csv");
    for id in 900..905 {
        let rows = std::fs::read_to_string(&sale).unwrap();
        std::fs::write(&new, format!("{rows}{id},1,10,5000,2024-02-01T10:00:00\n")).unwrap();
        std::fs::rename(&new, &sale).unwrap();
        let sold = server.get("/api/best_products", &token).rows()[0]["sold"].as_i64();
        assert!(sold > Some(5000 * (id - 899)), "{sold:?}");
    }
    server.stop();
}

/// The response covers several files, and the last one disappears or is replaced before it is read.
#[tokio::test]
async fn an_answer_whose_file_is_lost_midway_is_cut() {
    let mut part = "id,client_id,product\n".to_owned();
    (0..60_000).for_each(|id| part.push_str(&format!("{id},1,product number {id}\n")));
    let endpoint = "/*---\nsummary = \"Sales\"\n---*/\nSELECT id, product FROM sale";
    for format in ["json", "ndjson", "csv", "arrow"] {
        for is_replaced in [false, true] {
            let app = TestApp::project(&[
                ("lakegate.toml", &format!("{}{NOTHING_IN_MEMORY}", CONFIG.replace("sale.csv", "sale/"))),
                ("lake/sale/1.csv", &part),
                ("lake/sale/2.csv", &part),
                ("lake/sale/3.csv", &part),
                ("endpoints/sales.sql", endpoint),
            ])
            .await;
            let token = app.admit_with("acme", "*", &[json!({})]).await;
            let request = Request::get(format!("/api/sales?format={format}")).header("token", &token);
            let response = app.respond(request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), 200);
            let last = app.folder.path().join("lake/sale/3.csv");
            std::fs::remove_file(&last).unwrap();
            if is_replaced {
                std::fs::write(&last, &part).unwrap();
            }
            let body = response.into_body().collect().await;
            assert!(body.is_err(), "{format}, replaced: {is_replaced}");
        }
    }
}

/// A broken table is reported, and all others are served.
#[tokio::test]
async fn a_table_that_is_broken_at_the_start_keeps_no_other_from_being_served() {
    const NOTES: &str = "[tables.note]\nlocation = \"note.ndjson\"\nshared = true\n";
    let config = format!("{CONFIG}{NOTES}");
    let app = TestApp::project(&[
        ("lakegate.toml", &config),
        ("lake/sale.csv", SALES),
        ("lake/note.ndjson", "{\"id\":1}\nnothing\n"),
        ("endpoints/sales.sql", ENDPOINT),
        ("endpoints/notes.sql", "/*---\nsummary = \"Notes\"\n---*/\nSELECT id FROM note"),
    ])
    .await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    assert_eq!(app.get(&token, "/api/sales").await.text(), r#"[{"id":1,"product":"pen"},{"id":2,"product":"ink"}]"#);
    assert_eq!(app.get(&token, "/api/notes").await.problem(), (503, "lake_unavailable".to_owned()));
    let ready = json!({ "status": "ready", "warnings": ["tables_away"] });
    assert_eq!(app.get(&token, "/health/ready").await.json(), ready);
    let check = lakegate::project::load(app.folder.path(), None).await.unwrap_err().to_string();
    assert!(check.contains("table `note`") && check.contains("note.ndjson"), "{check}");
    // Refresh and reload still work.
    refresh(&app.app).await.unwrap();
    write(&app, "lake/sale.csv", &SALES.replace("pen", "cup"));
    refresh(&app.app).await.unwrap();
    write(&app, "endpoints/sales.sql", &ENDPOINT.replace("id, product", "product"));
    reload(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/sales").await.text(), r#"[{"product":"cup"},{"product":"ink"}]"#);
    // Project faults are reported together with table faults.
    write(&app, "lakegate.toml", &config.replace("client_id IN", "clint_id IN"));
    let error = reload(&app.app).await.unwrap_err().to_string();
    assert!(error.contains("clint_id") && error.contains("table `note`"), "{error}");
    // An edit cannot remove a table that is being served.
    write(&app, "lakegate.toml", &config.replace("sale.csv", "gone.csv"));
    assert!(reload(&app.app).await.unwrap_err().to_string().contains("there is nothing at `gone.csv`"));
    write(&app, "lakegate.toml", &config);
    reload(&app.app).await.unwrap();
    write(&app, "lake/note.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    refresh(&app.app).await.unwrap();
    assert_eq!(app.get(&token, "/api/notes").await.text(), r#"[{"id":1},{"id":2}]"#);
    assert_eq!(app.get(&token, "/health/ready").await.json(), json!({ "status": "ready" }));
}

/// A project without any readable table does not start.
#[tokio::test]
async fn a_project_of_which_no_table_can_be_read_is_not_started() {
    let app = app(CONFIG).await;
    std::fs::remove_file(app.folder.path().join("lake/sale.csv")).unwrap();
    let error = lakegate::project::load_after(app.folder.path(), None, None).await.unwrap_err().to_string();
    assert!(error.contains("there is nothing at `sale.csv`"), "{error}");
}
