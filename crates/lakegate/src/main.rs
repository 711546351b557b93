//! The entry point of the binary: parses the command line and runs [`lakegate::cli`].

use std::process::ExitCode;

use clap::Parser;
use lakegate::cli::{Cli, run};
use lakegate_memory::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Must run before other threads start.
    lakegate_memory::set_purge_delay();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(lakegate_query::engine::WORKER_STACK_BYTES)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(Cli::parse())),
        Err(error) => {
            eprintln!("cannot start threads: {error}");
            ExitCode::FAILURE
        }
    }
}
