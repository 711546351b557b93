//! The binary: reads the command line and leaves the rest to [`lakegate::cli`].

use std::process::ExitCode;

use clap::Parser;
use lakegate::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
