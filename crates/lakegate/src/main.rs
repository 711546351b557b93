//! The binary: reads the command line and leaves the rest to [`lakegate::cli`].

use std::process::ExitCode;

use clap::Parser;
use lakegate::cli::{Cli, run};
use mimalloc::MiMalloc;

/// Requests and queries take and give back memory on several threads all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
