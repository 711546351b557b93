//! The real binary's connections: HTTP/1.1 and HTTP/2, and clients that send nothing, send too much, or do not read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::future::join_all;

use crate::serve::process::{configure, serve, shop};
use crate::serve::streaming::{begin, is_complete, project};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::secure::{Connection, body};
use crate::support::wire::Process;

fn connect(server: &Process) -> TcpStream {
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads until the server closes the connection; fails if it does not.
fn read_to_close(mut socket: TcpStream) -> String {
    let mut read = Vec::new();
    match socket.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it was not closed: {error}"),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Whether nothing arrives within 300 ms, which is enough for a response that is not held up.
fn says_nothing(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let read = socket.read(&mut [0; 64]);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn a_client_that_sends_no_whole_head_is_not_waited_for() {
    let (project, token) = shop();
    configure(&project, "[http]\nheader_timeout_seconds = 1\nkeep_alive_seconds = 600\n");
    let server = serve(&project, &[]);
    let silent = connect(&server);
    let mut slow = connect(&server);
    write!(slow, "GET /api HTTP/1.1\r\nhost: x\r\n").unwrap();
    let mut preface = connect(&server);
    write!(preface, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    // The timeout applies to the second request on a connection too.
    let mut second = connect(&server);
    write!(second, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(second.read(&mut [0; 1024]).unwrap() > 0);
    write!(second, "GET /health/live HTT").unwrap();
    assert_eq!(read_to_close(silent), "");
    assert_eq!(read_to_close(slow), "");
    assert!(!read_to_close(preface).contains("HTTP/1.1"));
    assert_eq!(read_to_close(second), "");
    assert_eq!(server.get("/api", &token).status, 200);
}

#[test]
fn a_connection_without_requests_is_closed_after_a_while() {
    let (project, _) = shop();
    configure(&project, "[http]\nheader_timeout_seconds = 600\nkeep_alive_seconds = 1\n");
    let server = serve(&project, &[]);
    let mut kept = connect(&server);
    for _ in 0..2 {
        write!(kept, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
    }
    assert_eq!(read_to_close(kept), "");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_served() {
    let (project, token) = project("");
    let server = serve(&project, &[]);
    let wanted = server.get("/api/best_products", &token).body;
    for is_two in [false, true] {
        let mut connection = Connection::plain(server.address(), is_two).await;
        for _ in 0..3 {
            let answer = connection.get("/api/best_products", &token).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(body(answer).await.unwrap(), wanted);
        }
        let many = body(connection.get("/api/many", &token).await.unwrap()).await.unwrap();
        assert!(many.ends_with(b"}]"));
        let refused = connection.get("/api/nothing", &token).await.unwrap();
        assert_eq!(refused.status(), 404);
    }
}

/// On one HTTP/2 connection, requests over the stream limit wait.
#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_are_bound() {
    let (project, token) = shop();
    configure(&project, "[http]\nmax_streams = 2\n");
    let server = serve(&project, &[]);
    let mut first = Connection::plain(server.address(), true).await;
    // The client learns the limit with the first response.
    let wanted = body(first.get("/api/best_products", &token).await.unwrap()).await.unwrap();
    let Connection::Two(sender) = first else { unreachable!() };
    let calls = (0..20).map(|_| {
        let (mut connection, token) = (Connection::Two(sender.clone()), token.clone());
        async move { body(connection.get("/api/best_products", &token).await.unwrap()).await.unwrap() }
    });
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|answer| *answer == wanted));
}

#[test]
fn a_head_that_is_too_large_is_refused_at_every_size() {
    let (project, token) = shop();
    configure(&project, "[http]\nmax_url_bytes = 16384\n");
    let server = serve(&project, &[]);
    for (path, header, status) in [(20_000, 10, 414), (70_000, 10, 431), (10, 33_000, 431), (10, 1_000_000, 431)] {
        let path = format!("/api/{}", "a".repeat(path));
        let mut socket = connect(&server);
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\nx: {}\r\n\r\n", "b".repeat(header));
        // The server may respond and close the connection before all bytes are sent.
        let _ = socket.write_all(head.as_bytes());
        let mut answer = [0; 12];
        match socket.read_exact(&mut answer) {
            Ok(()) => assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}")),
            Err(error) => assert!(header == 1_000_000 && error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
    }
    assert_eq!(server.get("/api", &token).status, 200);
}

/// The connection's write timeout ends the response, long before the query's time limit.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let (project, token) = project("max_concurrent_queries = 1\ntimeout_seconds = 600");
    configure(&project, "[http]\nwrite_timeout_seconds = 1\n");
    let server = serve(&project, &[]);
    let stalled = begin(&server, &token);
    assert_eq!(server.get("/api/best_products", &token).status, 200);
    let cut = stalled.finish();
    assert!(cut.status == 200 && !cut.whole, "{}", cut.head);
    assert!(is_complete(&begin(&server, &token).finish()));
}

/// The socket accepts all bytes, but the stream's flow-control window is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_2_that_does_not_read_is_cut() {
    let (project, token) = project("max_concurrent_queries = 1\ntimeout_seconds = 600");
    configure(&project, "[http]\nwrite_timeout_seconds = 1\n");
    let server = serve(&project, &[]);
    let mut connection = Connection::plain(server.address(), true).await;
    let stalled = connection.get("/api/many", &token).await.unwrap();
    assert_eq!(stalled.status(), 200);
    let mut other = Connection::plain(server.address(), true).await;
    assert_eq!(other.get("/api/best_products", &token).await.unwrap().status(), 200);
    assert!(body(stalled).await.is_err());
    assert!(connection.is_closed());
}

#[test]
fn who_comes_beyond_the_bound_on_connections_waits() {
    let (project, token) = shop();
    configure(&project, "[http]\nmax_connections = 1\nheader_timeout_seconds = 600\n");
    let server = serve(&project, &["--admin-listen", "127.0.0.1:0"]);
    let first = connect(&server);
    let mut second = connect(&server);
    write!(second, "GET /api HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\nconnection: close\r\n\r\n").unwrap();
    assert!(says_nothing(&mut second));
    // Connections of callers do not block the admin API.
    let admin = server.said["admin_url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut admin = TcpStream::connect(admin).unwrap();
    admin.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(admin, "GET /admin/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    assert!(read_to_close(admin).starts_with("HTTP/1.1 401"));
    drop(first);
    assert!(read_to_close(second).starts_with("HTTP/1.1 200"));
}

/// A server without free file descriptors serves its open connections, and accepts new ones once some have closed.
#[cfg(unix)]
#[test]
fn a_server_without_free_files_goes_on() {
    let (project, token) = shop();
    let mut command = std::process::Command::new("sh");
    command.current_dir(project.path()).args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]);
    command.args([env!("CARGO_BIN_EXE_lakegate"), "serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"]);
    let server = Process::start(&mut command);
    let mut kept = connect(&server);
    write!(kept, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
    let log = server.follow();
    eventually("the server logs its file limit", || log.lock().unwrap().contains("lets this process open 128 files"));
    let others = (0..200).map(|_| connect(&server)).collect::<Vec<_>>();
    eventually("the server has no free file descriptors", || {
        log.lock().unwrap().contains("connections cannot be taken")
    });
    write!(kept, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
    drop(others);
    assert_eq!(server.get("/api/best_products", &token).status, 200);
}
