//! `lakegate init`: writes a small working project to start from.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{print, say};
use crate::sample::{project::starter_files, write_starter};

pub(super) const HELP: &str = "\
The project has a tiny lake of CSV files, one table that is filtered by client and one that is shared, and two endpoints.
Existing files are never overwritten.

Example:
  lakegate init shop && cd shop && lakegate check";

/// The arguments of `lakegate init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The folder; created if missing
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: InitArgs) -> anyhow::Result<ExitCode> {
    write_starter(&args.folder)?;
    for (path, _) in starter_files() {
        print(args.folder.join(path).display())?;
    }
    let at = args.folder.display();
    say("next:");
    say(format_args!("  lakegate check --project {at}"));
    say(format_args!("  lakegate principal add acme --attribute client_id=1 --role client --project {at}"));
    say(format_args!("  lakegate grant add --role client --endpoint '*' --project {at}"));
    say(format_args!("  lakegate token issue acme --project {at}"));
    say(format_args!("  lakegate serve --project {at}"));
    Ok(ExitCode::SUCCESS)
}
