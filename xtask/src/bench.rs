//! `cargo xtask bench` and `overload`: build and start the load generator, `bench/runner`, which is a workspace of its own.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The manifest of the load generator, from the root of the checkout.
pub(crate) const MANIFEST: &str = "bench/runner/Cargo.toml";

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Options of the load generator; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

/// Passes `options` on to the load generator's command `name`.
pub(crate) fn run(root: &Path, name: &str, options: &Options) -> Result<()> {
    let status = crate::cargo::command()
        .args(["run", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join(MANIFEST))
        .args(["--", name])
        .args(&options.options)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "`{name}` failed; see above");
    Ok(())
}
