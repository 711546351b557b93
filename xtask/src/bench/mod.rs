//! `cargo xtask bench`: how fast the sample project answers over HTTP, and how much memory the server takes.
//!
//! It measures the binary that users run, from outside, on this machine's loopback. It is no test: it has no limits that
//! a time must keep, but a wrong answer ends it. `docs/performance.md` explains how to read what it prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

pub(crate) mod binary;
mod callers;
pub(crate) mod http;
pub(crate) mod load;
mod report;
mod requests;
pub(crate) mod server;

/// The sample's endpoints.
const ENDPOINTS: [&str; 9] = [
    "all_orders_by_range",
    "get_money_from_routes_by_range",
    "most_visited_location_from_trackcode_by_range",
    "count_trackcode_by_range",
    "count_orders_by_range",
    "count_trackcode_lost_by_range",
    "trackcodes_lost_by_range",
    "most_required_service_by_range",
    "count_delivered_trackcode_before_promise_time_by_range",
];

/// Of the sample lake, and of the choice of clients and ranges.
const SEED: u64 = 1;

#[derive(Args)]
pub(crate) struct Options {
    /// Sizes of the sample lake; 1 is about 100,000 trackcodes
    #[arg(long, value_delimiter = ',', default_value = "1,20")]
    scale: Vec<u32>,
    /// The longest time of one measurement; there are two for each endpoint and scale
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600), default_value_t = 5)]
    seconds: u64,
    /// Connections of the throughput measurement
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024), default_value_t = 32)]
    connections: u16,
    /// Measure this binary instead of building one
    #[arg(long, conflicts_with = "debug")]
    binary: Option<PathBuf>,
    /// Build without optimisation: to try the bench itself, not to read its numbers
    #[arg(long)]
    debug: bool,
    /// Only endpoints whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Print one JSON document in place of Markdown
    #[arg(long)]
    json: bool,
    /// Put the tables into docs/performance.md
    #[arg(long, conflicts_with_all = ["debug", "only"])]
    write: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let endpoints: Vec<_> =
        ENDPOINTS.into_iter().filter(|name| options.only.as_ref().is_none_or(|part| name.contains(part))).collect();
    ensure!(!endpoints.is_empty(), "no endpoint of the sample has this in its name; known: {}", ENDPOINTS.join(", "));
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("there is no binary at `{}`", path.display()))?,
        None => binary::build(root, options.debug)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let limits =
        load::Limits { time: Duration::from_secs(options.seconds), requests: 5_000, connections: options.connections };
    let mut scales = Vec::new();
    for scale in &options.scale {
        scales.push(
            measure(&runtime, &binary, *scale, &endpoints, &limits).with_context(|| format!("at scale {scale}"))?,
        );
    }
    let report = report::Report::new(options, scales);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.markdown());
    }
    if options.write {
        report.write(root)?;
    }
    Ok(())
}

/// One lake, one server, all endpoints.
fn measure(
    runtime: &tokio::runtime::Runtime,
    binary: &Path,
    scale: u32,
    endpoints: &[&'static str],
    limits: &load::Limits,
) -> Result<report::Scale> {
    let folder = tempfile::tempdir().context("can not make a temporary folder")?;
    eprintln!("bench: making the sample lake at scale {scale}");
    let demo = server::Demo::make(binary, folder.path(), scale)?;
    callers::add_endpoint(&demo.project)?;
    let server = server::Server::start(binary, &demo.project)?;
    runtime.block_on(async {
        let clients = callers::clients(&server.address, &demo.operator_token).await?;
        let callers = callers::import(binary, &demo.project, &clients)?;
        let mut measured = Vec::new();
        for endpoint in endpoints {
            eprintln!("bench: scale {scale}, {endpoint}");
            let requests = requests::choose(endpoint, &callers, &clients)?;
            measured.push(
                load::measure(&server.address, endpoint, &requests, limits)
                    .await
                    .with_context(|| format!("`{endpoint}`"))?,
            );
        }
        Ok(report::Scale {
            scale,
            trackcodes: clients.trackcodes(),
            clients: clients.count(),
            peak_memory_bytes: server.peak_memory(),
            endpoints: measured,
        })
    })
}
