//! Shutdown of the real binary: running requests are answered, overdue ones are cut and recorded as such, and clients
//! of a server that restarts repeatedly get complete responses or none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::serve::process::{configure, serve, shop};
use crate::serve::streaming::{begin, is_complete, project};
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::wire::Process;

#[test]
fn a_signal_under_load_lets_every_running_answer_end() {
    let (project, token) = project("");
    let mut server = serve(&project, &[]);
    let mut running = (0..6).map(|_| begin(&server, &token)).collect::<Vec<_>>();
    // Send only a part of a request.
    let mut late = TcpStream::connect(server.address()).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(late, "GET /api/best_products HTTP/1.1\r\n").unwrap();
    server.signal("TERM");
    write!(late, "host: x\r\ntoken: {token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    eventually("new connections are refused", || TcpStream::connect(server.address()).is_err());
    // Read all of them slowly, in turn.
    for _ in 0..20 {
        running.iter_mut().for_each(|exchange| assert!(exchange.read(16 * 1024)));
    }
    for exchange in running {
        assert!(is_complete(&exchange.finish()));
    }
    let ran = server.wait();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn what_is_overdue_is_cut_and_recorded_as_cut() {
    for hurried in [false, true] {
        let (project, token) = project("timeout_seconds = 600");
        let drain = if hurried { 600 } else { 1 };
        configure(&project, &format!("[http]\ndrain_seconds = {drain}\nwrite_timeout_seconds = 600\n"));
        let mut server = serve(&project, &[]);
        let stalled = begin(&server, &token);
        server.signal("TERM");
        if hurried {
            // A second signal means that the operator does not want to wait.
            eventually("new connections are refused", || TcpStream::connect(server.address()).is_err());
            server.signal("TERM");
        }
        let ran = server.wait();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("did not end in time: 1"), "{}", ran.stderr);
        let reply = stalled.finish();
        assert!(reply.status == 200 && !reply.whole);
        let records = project.ok(&["audit", "tail", "--project", "shop", "--json"]);
        let last = records.lines().rfind(|record| record.contains("\"many\"")).unwrap();
        assert!(last.contains("\"outcome\":\"cut\""), "{records}");
    }
}

/// During the drain delay, the server reports that it is not ready, so that load balancers notice, but still answers.
#[test]
fn a_server_that_waits_before_it_drains_is_not_ready_and_answers() {
    let (project, token) = shop();
    configure(&project, "[http]\ndrain_delay_seconds = 600\n");
    let mut server = serve(&project, &[]);
    server.signal("TERM");
    eventually("the server is not ready", || server.get("/health/ready", "").status == 503);
    assert_eq!(server.get("/health/ready", "").json()["errors"][0]["code"], "health_draining");
    let mut kept = TcpStream::connect(server.address()).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(kept, "GET /api/best_products HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    // The server closes the connection, although the client would keep it open.
    kept.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("}]"), "{answer}");
    server.signal("TERM");
    let ran = server.wait();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// The result of a call.
#[derive(Debug, PartialEq)]
enum Called {
    Answered,
    /// No byte of a response arrived.
    Refused,
    /// Only a part of the response arrived.
    Broken(String),
}

fn call(address: &str, token: &str) -> Called {
    let Ok(mut socket) = TcpStream::connect(address) else { return Called::Refused };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /api/best_products HTTP/1.1\r\nhost: x\r\ntoken: {token}\r\nconnection: close\r\n\r\n");
    let _ = socket.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let length = answer.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    match body {
        Some(body) if answer.starts_with("HTTP/1.1 200 OK") && Some(body.len()) == length => Called::Answered,
        None if answer.is_empty() => Called::Refused,
        _ => Called::Broken(format!("{read:?}: {answer}")),
    }
}

#[test]
fn a_restart_storm_breaks_no_answer() {
    let (project, token) = shop();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..3).map(|_| {
        let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
        let (address, token) = (address.clone(), token.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match call(&address, &token) {
                    Called::Answered => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Called::Refused => std::thread::yield_now(),
                    broken => panic!("{broken:?}"),
                }
            }
        })
    });
    let callers = callers.collect::<Vec<_>>();
    for _ in 0..20 {
        let arguments = ["serve", "--project", "shop", "--listen", address.as_str(), "--json"];
        let server = Process::start(&mut project.command(&arguments));
        let before = answered.load(Ordering::Relaxed);
        eventually("the server answers", || answered.load(Ordering::Relaxed) > before + 3);
        let ran = server.stop();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    over.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}
