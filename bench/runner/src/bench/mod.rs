//! `cargo xtask bench`: compares lakegate with FastAPI + DuckDB and an indexed PostgreSQL, on equal rows, in one run.
//!
//! It measures the binary that users run, from outside, over loopback, with a different request each time. It is not a
//! test: no time limit makes it fail, but a wrong response does. `docs/performance.md` explains its output, and
//! `bench/README.md` describes the other contenders.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

pub(crate) mod binary;
mod callers;
mod compare;
mod contender;
mod figures;
mod first_answer;
mod framing;
pub(crate) mod http;
mod lake;
pub(crate) mod load;
mod measure;
mod postgres;
mod process;
mod repeated;
mod report;
mod requests;
pub(crate) mod server;
mod summary;

/// The measured endpoints of the sample. Two of them list rows, the others count them.
const ENDPOINTS: [&str; 8] = [
    LISTINGS[0],
    LISTINGS[1],
    "count_trackcode_by_range",
    "count_orders_by_range",
    "count_trackcode_lost_by_range",
    "most_required_service_by_range",
    "most_visited_location_from_trackcode_by_range",
    "count_delivered_trackcode_before_promise_time_by_range",
];

const LISTINGS: [&str; 2] = ["all_orders_by_range", "get_money_from_routes_by_range"];

/// Seed of the sample lake, and of the choice of clients and ranges.
const SEED: u64 = 1;

const AFTER_HELP: &str = "\
A whole run takes about 12 minutes. The first one takes some more: it makes the lakes, fills PostgreSQL, and installs FastAPI
and DuckDB. All of that is kept below `target/bench`; `--fresh` makes lakes and databases anew.

Examples:
  cargo xtask bench                                    the whole table
  cargo xtask bench --scale 1 --contenders duckdb      a small one, in two minutes
  cargo xtask bench --only count_orders --seconds 10   one endpoint, more exactly
  cargo xtask bench --write                            the table into docs/performance.md";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Sizes of the sample lake, the smallest first; 1 is about 100,000 trackcodes
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=200), default_value = "1,100")]
    scale: Vec<u32>,
    /// Contenders to compare with lakegate; one that is not installed is reported and left out
    #[arg(long, value_enum, value_delimiter = ',', default_value = "duckdb,postgres,fixed")]
    contenders: Vec<contender::Name>,
    /// Duration of one measurement in seconds; slow responses extend it
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60), default_value_t = 3)]
    seconds: u64,
    /// Connections of the throughput measurement
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024), default_value_t = 32)]
    connections: u16,
    /// Measure this binary instead of building one
    #[arg(long, value_name = "PATH", conflicts_with = "debug")]
    binary: Option<PathBuf>,
    /// Build without optimisation: to try the bench itself, not to read its numbers
    #[arg(long)]
    debug: bool,
    /// Measure only endpoints whose names contain this; means then cover only those
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Create lakes and databases again, even if an earlier run left some
    #[arg(long)]
    fresh: bool,
    /// Also write all numbers to this file, as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Write the tables to docs/performance.md
    #[arg(long, conflicts_with_all = ["debug", "only"])]
    write: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        return binary::again_optimised(root);
    }
    let endpoints: Vec<_> =
        ENDPOINTS.into_iter().filter(|name| options.only.as_ref().is_none_or(|part| name.contains(part))).collect();
    ensure!(!endpoints.is_empty(), "no endpoint has this in its name; known: {}", ENDPOINTS.join(", "));
    ensure!(options.scale.is_sorted_by(|one, next| one < next), "give the scales from the smallest to the largest");
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("there is no binary at `{}`", path.display()))?,
        None => binary::build(root, options.debug)?,
    };
    let plan = measure::Plan {
        root,
        binary,
        contenders: &options.contenders,
        endpoints,
        time: Duration::from_secs(options.seconds),
        connections: options.connections,
        fresh: options.fresh,
    };
    // Use one thread, so that the servers have the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut scales = Vec::new();
    for (at, scale) in options.scale.iter().enumerate() {
        let share = measure::Share {
            is_first: at == 0,
            is_last: at + 1 == options.scale.len(),
            times_the_first: (scale / options.scale[0]) as i32,
        };
        let measured = runtime.block_on(plan.measure(*scale, &share));
        scales.push(measured.with_context(|| format!("at scale {scale}"))?);
    }
    let report = report::Report::new(options, scales);
    println!("{}", report.markdown());
    if let Some(path) = &options.json {
        fs::write(path, report.json()?).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    ensure!(!report.has_failures(), "not every request was answered; what came in place of answers is said above");
    if options.write {
        report.write(root)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queries for both databases are lakegate's queries plus the caller's filter.
    #[test]
    fn the_contenders_get_the_queries_of_the_sample_with_the_filter_written_by_hand() {
        let root = crate::root();
        let read =
            |path: String| fs::read_to_string(root.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for name in ENDPOINTS {
            let endpoint = read(format!("examples/logistics/endpoints/{name}.sql"));
            let (_, query) = endpoint.split_once("---*/\n").unwrap();
            let range = "WHERE t.creation BETWEEN $start_datetime AND $end_datetime";
            assert_eq!(query.matches(range).count(), 1, "{name}");
            let expected = query.replace(range, "WHERE t.client_id = $1\n  AND t.creation BETWEEN $2 AND $3");
            let given = read(format!("bench/sql/{name}.sql"));
            let (comment, given) = given.split_once('\n').unwrap();
            assert!(comment.starts_with("-- "), "{name}");
            assert_eq!(given, expected, "{name}");
        }
    }
}
