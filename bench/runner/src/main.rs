//! Measures a lakegate binary from outside: `bench` beside other servers, `overload` with more callers than it serves.
//!
//! `cargo xtask bench` and `cargo xtask overload` build and start this program. It is no part of the product.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
#[path = "../../../xtask/src/cargo.rs"]
mod cargo;
mod overload;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Measures a lakegate binary from outside")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare lakegate with FastAPI + DuckDB and an indexed PostgreSQL: latency, throughput, start and memory, over HTTP
    Bench(bench::Options),
    /// Call a heavy endpoint 500 times at once beside a light one: no caller starves, and all memory is free afterwards
    Overload(overload::Options),
}

fn main() -> ExitCode {
    let root = root();
    let result = match Arguments::parse().task {
        Task::Bench(options) => bench::run(&root, &options),
        Task::Overload(options) => overload::run(&root, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout, two folders above this crate.
fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.ancestors().nth(2).map_or_else(|| manifest.clone(), Path::to_path_buf)
}
