//! Builds the binary to measure and returns its path; rebuilds the bench itself with optimisation.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

/// Builds `lakegate` and returns the path that cargo reports, so any target directory works.
pub(crate) fn build(root: &Path, debug: bool) -> Result<PathBuf> {
    let mut arguments =
        vec!["build", "--package", "lakegate", "--bin", "lakegate", "--message-format=json-render-diagnostics"];
    if !debug {
        arguments.push("--release");
    }
    let output = crate::cargo::command()
        .args(&arguments)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "`cargo {}` failed", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo did not say where the binary is")
}

/// Runs this command again in an optimised build of this program, because the load generator must be fast too.
pub(crate) fn again_optimised(root: &Path) -> Result<()> {
    eprintln!("bench: building the bench itself with optimisation");
    let status = crate::cargo::command()
        .args(["run", "--quiet", "--release", "--package", "xtask", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--")
        .args(std::env::args_os().skip(1))
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "it ended without a result");
    Ok(())
}
