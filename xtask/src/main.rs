//! The project's automation: `cargo xtask ci`, `tidy`, `bench`, `overload`, `fuzz` and `guards`.
//!
//! It is not part of the product; it runs on developers' machines and in CI.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod ci;
mod fuzz;
mod guards;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own automation")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all checks that a change must pass: format, house rules, lints, tests, doc tests
    Ci,
    /// Check only the house rules: file sizes, layers, documented error codes and keys, links
    Tidy,
    /// Compare lakegate with FastAPI + DuckDB and with PostgreSQL: latency, throughput, start and memory, over HTTP
    Bench(bench::Options),
    /// Run 500 callers of a heavy endpoint next to one of a light one: nobody starves, and all resources are free again
    Overload(bench::Options),
    /// Run the fuzz targets for a short time
    Fuzz(fuzz::Options),
    /// Remove each guard in turn, and show that a test fails without it
    Guards(guards::Options),
}

fn main() -> ExitCode {
    let root = root();
    let result = match Arguments::parse().task {
        Task::Ci => ci::run(&root),
        Task::Tidy => tidy::run(&root),
        Task::Bench(options) => bench::run(&root, "bench", &options),
        Task::Overload(options) => bench::run(&root, "overload", &options),
        Task::Fuzz(options) => fuzz::run(&root, &options),
        Task::Guards(options) => guards::run(&root, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout that cargo was called in. Read at run time, so that a copied binary uses the correct one.
fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}
