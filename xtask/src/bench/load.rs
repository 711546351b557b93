//! Two measurements of an endpoint: how long one caller waits, and how many requests a second many callers get through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::de::IgnoredAny;

use super::http::Connection;
use super::report::Measured;
use super::requests::Request;

/// Requests that are sent and not counted.
const WARM_UP: usize = 20;

/// What bounds a measurement.
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) requests: usize,
    pub(crate) connections: u16,
}

pub(crate) async fn measure(
    address: &str,
    endpoint: &'static str,
    requests: &[Request],
    limits: &Limits,
) -> Result<Measured> {
    let mut connection = Connection::open(address).await?;
    for request in requests.iter().take(WARM_UP) {
        connection.get(&request.path, &request.token).await?;
    }

    let mut sizes: Vec<Option<usize>> = vec![None; requests.len()];
    let (mut latencies, mut rows) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while latencies.len() < limits.requests && start.elapsed() < limits.time {
        let at = latencies.len() % requests.len();
        let sent = Instant::now();
        let body = connection.get(&requests[at].path, &requests[at].token).await?;
        latencies.push(sent.elapsed());
        match sizes[at] {
            Some(size) => {
                ensure!(size == body.len(), "`{}` was answered differently the second time", requests[at].path)
            }
            None => {
                let records: Vec<IgnoredAny> =
                    serde_json::from_slice(&body).with_context(|| format!("`{}`", requests[at].path))?;
                rows.push(records.len());
                sizes[at] = Some(body.len());
            }
        }
    }
    latencies.sort();
    let requests_per_second = throughput(address, requests, &sizes, limits).await?;
    let mut bytes: Vec<_> = sizes.into_iter().flatten().collect();
    bytes.sort_unstable();
    rows.sort_unstable();
    Ok(Measured {
        endpoint,
        requests: latencies.len(),
        p50_ms: milliseconds(quantile(&latencies, 0.50)),
        p99_ms: milliseconds(quantile(&latencies, 0.99)),
        requests_per_second,
        rows: quantile(&rows, 0.50),
        bytes: quantile(&bytes, 0.50),
    })
}

/// All connections take from one list, so that none waits for another. Answers have the sizes that one caller alone got.
async fn throughput(address: &str, requests: &[Request], sizes: &[Option<usize>], limits: &Limits) -> Result<f64> {
    let known: Vec<(String, String, usize)> = requests
        .iter()
        .zip(sizes)
        .filter_map(|(request, size)| Some((request.path.clone(), request.token.clone(), (*size)?)))
        .collect();
    let known = Arc::new(known);
    let next = Arc::new(AtomicUsize::new(0));
    let most = limits.requests * usize::from(limits.connections);
    let mut connections = Vec::new();
    for _ in 0..limits.connections {
        connections.push(Connection::open(address).await?);
    }
    let start = Instant::now();
    let time = limits.time;
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (known, next) = (Arc::clone(&known), Arc::clone(&next));
        tasks.spawn(async move {
            let mut answered = 0_usize;
            while start.elapsed() < time {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= most {
                    break;
                }
                let (path, token, size) = &known[at % known.len()];
                let body = connection.get(path, token).await?;
                ensure!(body.len() == *size, "`{path}` was answered differently under load");
                answered += 1;
            }
            Ok(answered)
        });
    }
    let mut answered = 0;
    while let Some(task) = tasks.join_next().await {
        answered += task.context("a connection's task ended early")??;
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

/// The value below which this share of the sorted values lies (nearest rank).
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
