//! Large responses of the real binary: clients that read slowly, leave or do not read, and signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::TcpStream;
use std::time::Duration;

use crate::serve::process::{serve, shop};
use crate::support::binary::Project;
use crate::support::eventually::eventually;
use crate::support::wire::{Exchange, Process, Reply};

/// Rows of the large response: tens of megabytes, far more than the buffers of two sockets.
const ROWS: usize = 600 * 600;
const MANY: &str = "/*---\nsummary = \"Many rows\"\n---*/\nSELECT a.n * 1000 + b.n AS n, 'some text that makes the row longer, and longer still' AS text, a.n AS a, b.n AS b FROM many AS a CROSS JOIN many AS b\n";

/// The starter project with an endpoint of many rows.
pub(crate) fn project(server: &str) -> (Project, String) {
    let (project, token) = shop();
    let numbers = (0..600).map(|n| format!("{n}\n")).collect::<String>();
    project.write("shop/lake/many.csv", format!("n\n{numbers}"));
    project.write("shop/endpoints/many.sql", MANY);
    let config = std::fs::read_to_string(project.path().join("shop/lakegate.toml")).unwrap();
    let tables = "[tables.many]\nlocation = \"many.csv\"\nshared = true\n";
    project.write("shop/lakegate.toml", format!("{config}\n[server]\n{server}\n{tables}"));
    (project, token)
}

pub(crate) fn begin(server: &Process, token: &str) -> Exchange {
    let mut exchange = Exchange::begin(server.address(), "GET", "/api/many", &[("token", token)], "");
    exchange.read_at_least(1000);
    exchange
}

pub(crate) fn is_complete(reply: &Reply) -> bool {
    let text = reply.text();
    reply.status == 200 && reply.whole && text.ends_with("}]") && text.matches("\"n\":").count() == ROWS
}

#[test]
fn a_slow_reader_gets_the_whole_answer() {
    let (project, token) = project("max_concurrent_queries = 4");
    let server = serve(&project, &[]);
    let mut slow = begin(&server, &token);
    // Other requests are served between its reads.
    for _ in 0..200 {
        slow.read(16 * 1024);
        // The client is slow, so time must pass between its reads.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.get("/api/best_products", &token).status, 200);
    assert!(is_complete(&slow.finish()));
    assert_eq!(server.stop().code, Some(0));
}

/// When the client disconnects, the only query slot is free again, long before the time limit.
#[test]
fn a_client_that_leaves_ends_its_query() {
    let (project, token) = project("max_concurrent_queries = 1\ntimeout_seconds = 600");
    let server = serve(&project, &[]);
    for _ in 0..3 {
        drop(begin(&server, &token));
        assert_eq!(server.get("/api/best_products", &token).status, 200);
    }
    assert!(is_complete(&begin(&server, &token).finish()));
}

/// A client that stops reading but stays connected holds its slot only until the time limit, and its response does not
/// look complete.
#[test]
fn a_client_that_does_not_read_does_not_keep_the_query() {
    let (project, token) = project("max_concurrent_queries = 1\ntimeout_seconds = 3");
    let server = serve(&project, &[]);
    let stalled = begin(&server, &token);
    // This request waits for the slot, and its own time limit ends shortly after the first one's.
    eventually("the query slot is free", || server.get("/api/best_products", &token).status == 200);
    let cut = stalled.finish();
    assert!(cut.status == 200 && !cut.whole, "{}", cut.head);
    let log = server.stop().stderr;
    assert!(log.contains("engine_timed_out") && log.contains("cut"), "{log}");
}

#[test]
fn a_signal_lets_a_running_answer_end_and_lets_nobody_in() {
    for signal in ["INT", "TERM"] {
        let (project, token) = project("");
        let mut server = serve(&project, &[]);
        let running = begin(&server, &token);
        server.signal(signal);
        eventually("new connections are refused", || TcpStream::connect(server.address()).is_err());
        assert!(is_complete(&running.finish()), "{signal}");
        let ran = server.wait();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{signal}: {ran:?}");
    }
}

/// A client that announces a body and sends none gets an error at the time limit.
#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let (project, token) = project("timeout_seconds = 1");
    let server = serve(&project, &[]);
    let headers = [("token", token.as_str()), ("content-type", "application/json"), ("transfer-encoding", "chunked")];
    let begun = Exchange::begin_without_body(server.address(), "/api/best_products", &headers);
    assert_eq!(begun.finish().refusal(), (400, "request_body_malformed".to_owned()));
}
