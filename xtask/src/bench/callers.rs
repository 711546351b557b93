//! Who calls in the measurement: clients of the sample, each with a token of its own.
//!
//! The ids come from the lake through an endpoint that only the bench's copy of the project has; the principals come in
//! the way that clients of the first system do, by `lakegate access import`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, NaiveDateTime, Utc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;

use super::http::Connection;
use super::requests::below;

/// How many clients call. With the biggest one always among them, 1 request in 50 is its: the tail shows it.
const CALLERS: usize = 50;

const ENDPOINT: &str = "bench_clients";

const ENDPOINT_FILE: &str = "/*---
summary = \"The clients that have trackcodes\"
---*/
SELECT client_id, count(*) AS trackcodes, min(creation) AS first, max(creation) AS last
FROM trackcode
WHERE client_id IS NOT NULL
GROUP BY client_id
ORDER BY client_id
";

/// A client and its token.
pub(crate) struct Caller {
    pub(crate) token: String,
}

/// The clients of the lake, ordered by id, and when their trackcodes were created.
pub(crate) struct Clients(Vec<Client>);

#[derive(Deserialize)]
struct Client {
    client_id: i64,
    trackcodes: u64,
    first: String,
    last: String,
}

impl Clients {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn trackcodes(&self) -> u64 {
        self.0.iter().map(|client| client.trackcodes).sum()
    }

    /// The time between the first and the last creation in the lake.
    pub(crate) fn span(&self) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
        let first = self.0.iter().map(|client| time(&client.first)).collect::<Result<Vec<_>>>()?.into_iter().min();
        let last = self.0.iter().map(|client| time(&client.last)).collect::<Result<Vec<_>>>()?.into_iter().max();
        first.zip(last).context("the lake has no trackcodes")
    }

    /// The biggest client and a random choice of the others.
    fn choose(&self) -> Vec<i64> {
        let mut random = ChaCha8Rng::seed_from_u64(super::SEED);
        let mut left: Vec<_> = self.0.iter().collect();
        left.sort_by_key(|client| (client.trackcodes, client.client_id));
        let mut chosen: Vec<_> = left.pop().into_iter().map(|client| client.client_id).collect();
        while chosen.len() < CALLERS && !left.is_empty() {
            let at = below(&mut random, left.len() as u64) as usize;
            chosen.push(left.swap_remove(at).client_id);
        }
        chosen
    }
}

/// Adds the endpoint that lists the clients to a project.
pub(crate) fn add_endpoint(project: &Path) -> Result<()> {
    let path = project.join("endpoints").join(format!("{ENDPOINT}.sql"));
    fs::write(&path, ENDPOINT_FILE).with_context(|| format!("can not write `{}`", path.display()))
}

/// Asks the server for the clients, as the operator.
pub(crate) async fn clients(address: &str, operator_token: &str) -> Result<Clients> {
    let answer = Connection::open(address).await?.get(&format!("/api/{ENDPOINT}"), operator_token).await?;
    let clients: Vec<Client> = serde_json::from_slice(&answer).context("the list of clients is not understood")?;
    ensure!(!clients.is_empty(), "the lake has no clients");
    Ok(Clients(clients))
}

/// Makes principals for some clients, with tokens that are known here and for all endpoints of the sample.
pub(crate) fn import(binary: &Path, project: &Path, clients: &Clients) -> Result<Vec<Caller>> {
    let mut random = ChaCha8Rng::seed_from_u64(super::SEED);
    let mut table = format!("id,enterpriseKey,{}\n", super::ENDPOINTS.join(","));
    let mut callers = Vec::new();
    for client in clients.choose() {
        let token = format!("bench-{:016x}{:016x}", random.next_u64(), random.next_u64());
        let granted = ["true"; super::ENDPOINTS.len()].join(",");
        table += &format!("{client},{token},{granted}\n");
        callers.push(Caller { token });
    }
    let path = project.join("bench_access.csv");
    fs::write(&path, table).with_context(|| format!("can not write `{}`", path.display()))?;
    let status = Command::new(binary)
        .args(["access", "import"])
        .arg(&path)
        // As clients get them: what the first system showed is not masked for them.
        .args(["--unmask", "tag:address", "--unmask", "tag:route", "--project"])
        .arg(project)
        .stdout(Stdio::null())
        .status()
        .context("can not start `lakegate access import`")?;
    ensure!(status.success(), "`lakegate access import` failed");
    Ok(callers)
}

/// A timestamp of an answer, with an offset or, for a column without a time zone, without one.
fn time(text: &str) -> Result<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
    Ok(time.with_context(|| format!("`{text}` is not a timestamp"))?.and_utc())
}
