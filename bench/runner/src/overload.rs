//! `cargo xtask overload`: 500 callers of a heavy endpoint and one caller of a light one, at one server.
//!
//! It fails on any status other than 200, 429 and 503, when the server exceeds its memory limit, or when a resource is
//! not free again afterwards. The latency of the light caller has no limit, because it depends on the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::bench::binary;
use crate::bench::http::Connection;
use crate::bench::load::{milliseconds, quantile};
use crate::bench::server::Server;

const HEAVY: &str = "/*---\nsummary = \"Much work\"\n---*/\nSELECT a.n % 100 AS k, sum(a.n * b.n) AS s FROM number AS a CROSS JOIN number AS b GROUP BY a.n % 100 ORDER BY k\n";
const LIGHT: &str = "/*---\nsummary = \"Little work\"\n---*/\nSELECT n FROM number WHERE n < 10 ORDER BY n\n";
const MEMORY_LIMIT_MB: u64 = 512;
/// Memory of the process besides queries: code, connections, decoded tables.
const OTHER_MEMORY_MB: u64 = 512;
/// Time limit for the server to be idle again.
const FREE_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Options {
    /// Overload this server binary instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Build without optimisation
    #[arg(long, conflicts_with = "binary")]
    debug: bool,
    /// Duration of the calls in seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600), default_value_t = 20)]
    seconds: u64,
    /// Rows of the table that the heavy endpoint joins with itself; use fewer for a binary without optimisation
    #[arg(long, value_parser = clap::value_parser!(u16).range(10..=10_000), default_value_t = 1_500)]
    rows: u16,
    /// Callers of the heavy endpoint
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000), default_value_t = 500)]
    callers: u16,
}

#[derive(Deserialize)]
struct Status {
    engine: Load,
}

/// The load that the server reports.
#[derive(Clone, Debug, Deserialize)]
struct Load {
    running: u64,
    waiting: u64,
    memory_bytes: u64,
    spilled_bytes: u64,
}

/// The responses to one caller.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, usize>,
    /// Latencies of 200 responses.
    latencies: Vec<Duration>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("there is no binary at `{}`", path.display()))?,
        None => binary::build(root, options.debug)?,
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tokens = make(&binary, folder.path(), options.rows)?;
    let server = Server::start(&binary, folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(overload(&server, &tokens, options))
}

/// Tokens of the heavy and the light principal, and an admin token.
struct Tokens {
    heavy: String,
    light: String,
    admin: String,
}

/// Creates a project with two endpoints, principals and grants.
fn make(binary: &Path, project: &Path, rows: u16) -> Result<Tokens> {
    let numbers = (0..rows).map(|n| format!("{n}\n")).collect::<String>();
    let config = format!(
        "[lake]\nlocation = \"lake/\"\n[server]\naudit = \"off\"\nmax_concurrent_queries = 8\ntimeout_seconds = 120\nmemory_limit_mb = {MEMORY_LIMIT_MB}\n[cache]\nresults_mb = 0\n\
         [tables.number]\nlocation = \"number.csv\"\nshared = true\n"
    );
    for folder in ["lake", "endpoints"] {
        fs::create_dir(project.join(folder))?;
    }
    for (path, text) in [
        ("lakegate.toml", config.as_str()),
        ("lake/number.csv", &format!("n\n{numbers}")),
        ("endpoints/heavy.sql", HEAVY),
        ("endpoints/light.sql", LIGHT),
    ] {
        fs::write(project.join(path), text).with_context(|| format!("cannot write `{path}`"))?;
    }
    for name in ["heavy", "light"] {
        lakegate(binary, project, &["principal", "add", name])?;
        lakegate(binary, project, &["grant", "add", "--principal", name, "--endpoint", name])?;
    }
    lakegate(binary, project, &["principal", "add", "admin"])?;
    let token = |name: &str, flags: &[&str]| {
        let said = lakegate(binary, project, &[&["token", "issue", name, "--json"], flags].concat())?;
        let said: serde_json::Value = serde_json::from_str(&said).context("the issued token is not understood")?;
        said["token"].as_str().map(str::to_owned).context("no token was issued")
    };
    Ok(Tokens { heavy: token("heavy", &[])?, light: token("light", &[])?, admin: token("admin", &["--admin"])? })
}

fn lakegate(binary: &Path, project: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new(binary)
        .args(words)
        .arg("--project")
        .arg(project)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start lakegate")?;
    ensure!(output.status.success(), "`lakegate {}` failed", words.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

async fn overload(server: &Server, tokens: &Tokens, options: &Options) -> Result<()> {
    let time = Duration::from_secs(options.seconds);
    let alone = call(&server.address, "/api/light", &tokens.light, Duration::from_secs(2)).await?;
    let before = server.peak_memory().unwrap_or_default();

    let (address, heavy): (Arc<str>, Arc<str>) = (server.address.as_str().into(), tokens.heavy.as_str().into());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..options.callers {
        let (address, heavy) = (Arc::clone(&address), Arc::clone(&heavy));
        callers.spawn(async move { call(&address, "/api/heavy", &heavy, time).await });
    }
    let light = call(&server.address, "/api/light", &tokens.light, time).await?;
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let seen = seen.context("a caller's task ended early")??;
        for (status, count) in seen.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
        all.latencies.extend(seen.latencies);
    }
    let after = server.peak_memory().unwrap_or_default();
    let free = free_again(server, &tokens.admin).await?;

    print(&format!("light alone, {}", alone.told()));
    print(&format!("light beside {} callers of heavy, {}", options.callers, light.told()));
    print(&format!("heavy, {}", all.told()));
    print(&format!("peak memory: {} MiB before, {} MiB after", before >> 20, after >> 20));
    print(&format!("free again within {:.1} s", free.as_secs_f64()));
    for seen in [&light, &all] {
        let others = seen.statuses.keys().filter(|status| ![200, 429, 503].contains(*status)).collect::<Vec<_>>();
        ensure!(others.is_empty(), "there were other answers than 200, 429 and 503: {others:?}");
        ensure!(seen.statuses.contains_key(&200), "nobody was served");
    }
    ensure!(after >> 20 <= MEMORY_LIMIT_MB + OTHER_MEMORY_MB, "the server took {} MiB", after >> 20);
    Ok(())
}

impl Seen {
    fn told(&self) -> String {
        let mut latencies = self.latencies.clone();
        latencies.sort();
        let statuses = self.statuses.iter().map(|(status, count)| format!("{count} times {status}"));
        format!(
            "{}; p50 {:.1} ms, p99 {:.1} ms",
            statuses.collect::<Vec<_>>().join(", "),
            milliseconds(quantile(&latencies, 0.50)),
            milliseconds(quantile(&latencies, 0.99)),
        )
    }
}

/// Calls one endpoint repeatedly on one connection. After a refusal it waits briefly, for less than `Retry-After`.
async fn call(address: &str, path: &str, token: &str, time: Duration) -> Result<Seen> {
    let (mut seen, start) = (Seen::default(), Instant::now());
    let mut connection = Connection::open(address).await?;
    while start.elapsed() < time {
        let sent = Instant::now();
        let (status, body) = connection.exchange(path, token).await?;
        *seen.statuses.entry(status).or_default() += 1;
        if status == 200 {
            serde_json::from_slice::<serde::de::IgnoredAny>(&body).context("an answer is not whole")?;
            seen.latencies.push(sent.elapsed());
        } else {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(seen)
}

/// Waits until no query runs or waits, and all memory is free.
async fn free_again(server: &Server, admin: &str) -> Result<Duration> {
    let start = Instant::now();
    let address = server.admin_address.as_deref().context("the server did not say where the admin API is")?;
    let mut connection = Connection::open(address).await?;
    loop {
        let (status, body) = connection.exchange("/admin/status", admin).await?;
        ensure!(status == 200, "the load is not told: {status}");
        let status: Status = serde_json::from_slice(&body)?;
        let load = status.engine;
        if load.running + load.waiting + load.memory_bytes + load.spilled_bytes == 0 {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < FREE_WITHIN, "not all is free again: {load:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn print(line: &str) {
    println!("overload: {line}");
}
