//! The audit log of the real binary: after a kill, a signal, and clients that disconnect.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value as Json, json};

use crate::serve::process::{serve, shop};
use crate::support::binary::Project;
use crate::support::eventually::eventually;
use crate::support::wire::Exchange;

const MANY: &str = "/*---\nsummary = \"Many rows\"\n---*/\nSELECT a.n * 1000 + b.n AS n, 'some text that makes the row longer, and longer still' AS text FROM many AS a CROSS JOIN many AS b\n";

/// The starter project, with an endpoint whose response exceeds the buffers of two sockets.
fn project(server: &str) -> (Project, String) {
    let (project, token) = shop();
    let numbers = (0..600).map(|n| format!("{n}\n")).collect::<String>();
    project.write("shop/lake/many.csv", format!("n\n{numbers}"));
    project.write("shop/endpoints/many.sql", MANY);
    let config = std::fs::read_to_string(project.path().join("shop/lakegate.toml")).unwrap();
    let tables = "[tables.many]\nlocation = \"many.csv\"\nshared = true\n";
    project.write("shop/lakegate.toml", format!("{config}\n[server]\n{server}\n{tables}"));
    (project, token)
}

/// The complete request records of the log. Change records are left out.
fn records(project: &Project) -> Vec<Json> {
    let text = std::fs::read_to_string(project.path().join("shop/audit/audit.ndjson")).unwrap_or_default();
    let records = text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok());
    records.filter(|record: &Json| record["kind"] == "request").collect()
}

fn outcomes(project: &Project) -> Vec<Json> {
    records(project).iter().map(|record| record["outcome"].clone()).collect()
}

#[test]
fn a_client_that_leaves_in_the_middle_is_recorded() {
    let (project, token) = project("");
    let server = serve(&project, &[]);
    let mut exchange = Exchange::begin(server.address(), "GET", "/api/many", &[("token", &token)], "");
    exchange.read_at_least(1000);
    drop(exchange);
    eventually("the record is written", || records(&project).len() == 1);
    let record = records(&project).remove(0);
    assert_eq!((&record["outcome"], &record["endpoint"]), (&json!("cancelled"), &json!("many")));
    assert!(record["rows"].as_u64().unwrap() > 0 && record["bytes"].as_u64().unwrap() > 1000, "{record}");
    assert_eq!(server.stop().code, Some(0));
    assert_eq!(records(&project).len(), 1);
}

#[test]
fn an_answer_that_is_cut_is_recorded() {
    let (project, token) = project("timeout_seconds = 1");
    let server = serve(&project, &[]);
    let mut stalled = Exchange::begin(server.address(), "GET", "/api/many", &[("token", &token)], "");
    stalled.read_at_least(1000);
    // The client is still connected, but does not read.
    eventually("the record is written", || records(&project).len() == 1);
    let record = records(&project).remove(0);
    assert_eq!((&record["outcome"], &record["code"]), (&json!("cut"), &json!("engine_timed_out")));
    assert_eq!(record["status"], 200);
    assert!(!stalled.finish().whole);
}

#[test]
fn the_end_of_the_server_loses_no_record() {
    let (project, token) = project("");
    let mut server = serve(&project, &[]);
    for _ in 0..20 {
        assert_eq!(server.get("/api/best_products", &token).status, 200);
    }
    let mut running = Exchange::begin(server.address(), "GET", "/api/many", &[("token", &token)], "");
    running.read_at_least(1000);
    server.signal("TERM");
    // A second signal does not wait for the running response.
    eventually("new connections are refused", || std::net::TcpStream::connect(server.address()).is_err());
    server.signal("TERM");
    assert_eq!(server.wait().code, Some(1));
    let outcomes = outcomes(&project);
    assert_eq!(outcomes.len(), 21, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "cut").count(), 1, "{outcomes:?}");
}

#[test]
fn a_killed_server_leaves_a_log_that_the_next_goes_on_with() {
    for mode in ["on", "strict"] {
        let (project, token) = project(&format!("audit = \"{mode}\""));
        let mut answered = 0;
        for round in 1..=2 {
            let mut server = serve(&project, &[]);
            for _ in 0..10 {
                assert_eq!(server.get("/api/best_products", &token).status, 200);
            }
            answered += 10;
            if mode == "on" {
                eventually("the records are written", || records(&project).len() >= answered);
            }
            server.signal("KILL");
            server.wait();
            assert_eq!(records(&project).len(), answered, "{mode}, round {round}");
            // Simulate a kill in the middle of a write.
            let path = project.path().join("shop/audit/audit.ndjson");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text + "{\"kind\":\"request\",\"ev").unwrap();
        }
        let ran = project.run(&["audit", "search", "--project", "shop", "--outcome", "answered", "--json"]);
        assert_eq!(ran.stdout.lines().count(), answered, "{ran:?}");
        assert!(ran.stderr.contains("skipped 2 lines"), "{ran:?}");
    }
}

#[test]
fn a_log_that_can_not_be_written_is_said_at_the_start() {
    let (project, _) = shop();
    std::fs::remove_dir_all(project.path().join("shop/audit")).unwrap();
    project.write("shop/audit", "");
    let said = project.fails(&["serve", "--project", "shop", "--listen", "127.0.0.1:0"]);
    assert!(
        said.contains("the audit log in `shop/audit` cannot be written") && said.contains("audit = \"off\""),
        "{said}"
    );
}
