//! Two measurements: the latency of a single caller, and the throughput of many callers.
//!
//! One thread drives all connections. It checks the status of each response; `compare` has checked the rows before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::http::Connection;

/// Limits of a single-caller measurement.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    /// Requests that are sent first, and not counted.
    pub(crate) warm_up: usize,
    /// Minimum number of requests, even if the time is over.
    pub(crate) at_least: usize,
}

/// The results of a single caller.
#[derive(Clone, Serialize)]
pub(crate) struct Waited {
    pub(crate) requests: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Means per response.
    pub(crate) rows: f64,
    pub(crate) bytes: f64,
    /// All rows, divided by the total latency.
    pub(crate) rows_per_second: f64,
}

/// Sends the requests one after another, each once. Counts the rows outside of the measured time.
pub(crate) async fn latency(address: &str, requests: &[Vec<u8>], limits: Limits) -> Result<Waited> {
    let mut connection = Connection::open(address).await?;
    let (warm_up, requests) = requests.split_at(limits.warm_up.min(requests.len()));
    for request in warm_up {
        connection.expect(request, 200).await?;
    }
    let (mut latencies, mut rows, mut bytes) = (Vec::new(), 0, 0);
    let start = Instant::now();
    for request in requests {
        if latencies.len() >= limits.at_least && start.elapsed() >= limits.time {
            break;
        }
        let sent = Instant::now();
        let answer = connection.expect(request, 200).await?;
        latencies.push(sent.elapsed());
        let body = answer.body()?;
        let records: Vec<IgnoredAny> = serde_json::from_slice(&body).context("an answer is no array of records")?;
        rows += records.len();
        bytes += body.len();
    }
    ensure!(!latencies.is_empty(), "there was no request to measure");
    let (count, total) = (latencies.len() as f64, latencies.iter().sum::<Duration>().as_secs_f64());
    latencies.sort();
    Ok(Waited {
        requests: latencies.len(),
        p50_ms: milliseconds(quantile(&latencies, 0.50)),
        p99_ms: milliseconds(quantile(&latencies, 0.99)),
        rows: rows as f64 / count,
        bytes: bytes as f64 / count,
        rows_per_second: rows as f64 / total,
    })
}

/// The load of many connections.
pub(crate) struct Load {
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    /// The expected status.
    pub(crate) status: u16,
    /// Maximum number of requests. When the list ends, it starts again.
    pub(crate) at_most: usize,
    pub(crate) connections: u16,
    pub(crate) time: Duration,
}

/// Responses per second. All connections take requests from one list, so that none waits for another. If responses are
/// so slow that each connection got only a few, the measurement runs longer.
pub(crate) async fn throughput(address: &str, load: &Load) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(address).await?);
    }
    let (time, status, at_most) = (load.time, load.status, load.at_most);
    let few = connections.len() * 3;
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (requests, next) = (Arc::clone(&load.requests), Arc::clone(&next));
        tasks.spawn(async move {
            let mut answered = 0_usize;
            loop {
                let (at, elapsed) = (next.fetch_add(1, Ordering::Relaxed), start.elapsed());
                let is_over = elapsed >= time && (at >= few || elapsed >= 4 * time);
                if at >= at_most || is_over {
                    return anyhow::Ok(answered);
                }
                connection.expect(&requests[at % requests.len()], status).await?;
                answered += 1;
            }
        });
    }
    let mut answered = 0;
    while let Some(task) = tasks.join_next().await {
        answered += task.context("a connection's task ended early")??;
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

/// The quantile of sorted values (nearest rank).
pub(crate) fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values: Vec<_> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.50), 50);
        assert_eq!(quantile(&values, 0.99), 99);
        assert_eq!(quantile(&[7], 0.99), 7);
        assert_eq!(quantile::<u8>(&[], 0.5), 0);
    }
}
