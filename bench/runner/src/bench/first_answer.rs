//! Measures the time from the start of a process to its first response with data.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::http::{Connection, request};
use super::load::{milliseconds, quantile};
use super::process::Process;

const LIMIT: Duration = Duration::from_secs(120);

/// Interval between attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// Process starts per path.
const TIMES: usize = 3;

/// The median time of the slowest path, in milliseconds.
pub(crate) async fn worst(command: impl Fn(u16) -> Result<Command>, paths: &[String], token: &str) -> Result<f64> {
    let mut worst = Duration::ZERO;
    for path in paths {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let port = free_port()?;
            times.push(once(&mut command(port)?, port, &request(path, token, "")).await?);
        }
        times.sort();
        worst = worst.max(quantile(&times, 0.50));
    }
    Ok(milliseconds(worst))
}

async fn once(command: &mut Command, port: u16, request: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let process = Process::start(command)?;
    let address = format!("127.0.0.1:{port}");
    loop {
        // Ignore all failures, because a starting server fails in several ways.
        if let Ok(mut connection) = Connection::open(&address).await
            && connection.expect(request, 200).await.is_ok()
        {
            break;
        }
        ensure!(start.elapsed() < LIMIT, "no answer came within {} s of the start", LIMIT.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
    let time = start.elapsed();
    drop(process);
    Ok(time)
}

/// A port that is currently free. It must be known before the process starts and prints its address.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}
