//! The binary: reads the command line and leaves the rest to [`lakegate::cli`].

use std::process::ExitCode;

use clap::Parser;
use lakegate::cli::{Cli, run};
use lakegate_memory::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before there are other threads.
    lakegate_memory::give_back_soon();
    begin()
}

#[tokio::main]
async fn begin() -> ExitCode {
    run(Cli::parse()).await
}
