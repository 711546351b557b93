//! Builds the binary that is measured, and says where it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Builds `lakegate` and returns the path that cargo reports, wherever the target directory is.
pub(crate) fn build(root: &Path, debug: bool) -> Result<PathBuf> {
    let mut arguments =
        vec!["build", "--package", "lakegate", "--bin", "lakegate", "--message-format=json-render-diagnostics"];
    if !debug {
        arguments.push("--release");
    }
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(&arguments)
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("can not start cargo")?;
    ensure!(output.status.success(), "`cargo {}` failed", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo did not say where the binary is")
}
