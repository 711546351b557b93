//! The callers of the benchmark: clients of the sample, each a principal with its own token.
//!
//! The client ids come from the lake, through an endpoint that only the bench's copy of the project has. The principals
//! are created with `lakegate access import`, as for clients of the legacy system. All contenders get these tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, NaiveDateTime, Utc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;

use super::ENDPOINTS;
use super::http::Connection;
use super::lake::Lake;
use super::requests::Span;
use super::server::Server;

const ENDPOINT: &str = "bench_clients";

const ENDPOINT_FILE: &str = "/*---
summary = \"The clients that have trackcodes\"
---*/
SELECT client_id, count(*) AS trackcodes, min(creation) AS first, max(creation) AS last
FROM trackcode
WHERE client_id IS NOT NULL
GROUP BY client_id
ORDER BY trackcodes, client_id
";

/// A row of that endpoint.
#[derive(Deserialize)]
struct Client {
    client_id: i64,
    trackcodes: u64,
    first: String,
    last: String,
}

/// The callers, and facts about their lake.
pub(crate) struct Callers {
    /// Tokens of ordinary clients: between the 20th and the 80th percentile by trackcodes.
    pub(crate) ordinary: Vec<String>,
    /// The token of the client with the most trackcodes.
    pub(crate) largest: String,
    pub(crate) span: Span,
    pub(crate) clients: usize,
    pub(crate) trackcodes: u64,
    /// A file that maps tokens to clients, for the other contenders.
    pub(crate) tokens_file: PathBuf,
}

impl Callers {
    /// Queries the clients, and creates principals for those that will call.
    pub(crate) async fn make(binary: &Path, lake: &Lake) -> Result<Self> {
        let path = lake.project.join("endpoints").join(format!("{ENDPOINT}.sql"));
        fs::write(&path, ENDPOINT_FILE).with_context(|| format!("cannot write `{}`", path.display()))?;
        let server = Server::start(binary, &lake.project)?;
        let mut connection = Connection::open(&server.address).await?;
        let answer = connection.get(&format!("/api/{ENDPOINT}"), &lake.operator_token).await?;
        drop(server);
        let clients: Vec<Client> = serde_json::from_slice(&answer).context("the list of clients is not understood")?;

        let first = clients.iter().map(|client| time(&client.first)).collect::<Result<Vec<_>>>()?.into_iter().min();
        let last = clients.iter().map(|client| time(&client.last)).collect::<Result<Vec<_>>>()?.into_iter().max();
        let (first, last) = first.zip(last).context("the lake has no trackcodes")?;
        let ordinary = &clients[ordinary(clients.len())];
        ensure!(!ordinary.is_empty(), "the lake has too few clients");

        let mut random = ChaCha8Rng::seed_from_u64(super::SEED);
        let mut token = || format!("bench-{:016x}{:016x}", random.next_u64(), random.next_u64());
        let largest = (token(), clients[clients.len() - 1].client_id);
        let ordinary: Vec<_> = ordinary.iter().map(|client| (token(), client.client_id)).collect();
        import(binary, lake, ordinary.iter().chain([&largest]))?;
        let tokens: BTreeMap<_, _> = ordinary.iter().chain([&largest]).map(|(token, client)| (token, client)).collect();
        let tokens_file = lake.project.join("bench_tokens.json");
        fs::write(&tokens_file, serde_json::to_vec(&tokens)?).context("cannot write the tokens")?;
        Ok(Self {
            ordinary: ordinary.into_iter().map(|(token, _)| token).collect(),
            largest: largest.0,
            span: Span { first, last },
            clients: clients.len(),
            trackcodes: clients.iter().map(|client| client.trackcodes).sum(),
            tokens_file,
        })
    }
}

/// The index range of ordinary clients among `count` clients ordered by size.
fn ordinary(count: usize) -> std::ops::Range<usize> {
    count / 5..count * 4 / 5
}

/// Imports principals with the given tokens, for all endpoints.
fn import<'a>(binary: &Path, lake: &Lake, clients: impl Iterator<Item = &'a (String, i64)>) -> Result<()> {
    let mut table = format!("id,enterpriseKey,{}\n", ENDPOINTS.join(","));
    for (token, client) in clients {
        table += &format!("{client},{token},{}\n", ["true"; ENDPOINTS.len()].join(","));
    }
    let path = lake.project.join("bench_access.csv");
    fs::write(&path, table).with_context(|| format!("cannot write `{}`", path.display()))?;
    let status = Command::new(binary)
        .args(["access", "import"])
        .arg(&path)
        // Unmask what the legacy system showed, as for its real clients.
        .args(["--unmask", "tag:address", "--unmask", "tag:route", "--project"])
        .arg(&lake.project)
        .stdout(Stdio::null())
        .status()
        .context("cannot start `lakegate access import`")?;
    ensure!(status.success(), "`lakegate access import` failed");
    Ok(())
}

/// Parses a timestamp of a response, with an offset or, for a column without a time zone, without one.
fn time(text: &str) -> Result<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
    Ok(time.with_context(|| format!("`{text}` is not a timestamp"))?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_clients_are_neither_small_nor_large() {
        assert_eq!(ordinary(1_399), 279..1_119);
        assert_eq!(ordinary(10), 2..8);
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        assert_eq!(time("2022-09-01T00:00:00.25Z").unwrap(), time("2022-09-01T00:00:00.25").unwrap());
        assert!(time("yesterday").is_err());
    }
}
