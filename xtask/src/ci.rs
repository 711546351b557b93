//! `cargo xtask ci`: the steps that a change must pass, cheapest first; stops at the first that fails and says what to do.
//!
//! The tests come last and nothing is printed after them, so that the output ends with cargo's own counts.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{bench, tidy};

/// Runs all steps in the checkout at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    let steps: [(&str, &str, Step); 6] = [
        (
            "format",
            "run `cargo fmt --all` (in `fuzz/`, `bench/runner/` and `bench/servers/` as well), look at the difference, commit it",
            format,
        ),
        (
            "house rules",
            "each line above names a file and what to do; `cargo xtask tidy` runs this step alone",
            tidy::run,
        ),
        ("lints", "fix the warnings; a lint that is wrong here gets `#[expect(…, reason = \"…\")]`", lints),
        ("fuzz targets", "what `fuzz/src` calls was changed; mend it there too", fuzz_targets),
        ("load generator", "run `cargo test --manifest-path bench/runner/Cargo.toml`", load_generator),
        ("tests and doc tests", "run the failing test alone: `cargo test --workspace NAME`", tests),
    ];
    let count = steps.len();
    for (index, (name, advice, step)) in steps.into_iter().enumerate() {
        eprintln!("\n==> {}/{count} {name}", index + 1);
        let start = Instant::now();
        if let Err(error) = step(root) {
            eprintln!("\n==> {name} failed after {:.1} s; what to do: {advice}", start.elapsed().as_secs_f64());
            return Err(error);
        }
        if index + 1 < count {
            eprintln!("==> {name} passed in {:.1} s", start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

type Step = fn(&Path) -> Result<()>;

fn format(root: &Path) -> Result<()> {
    cargo(root, &["fmt", "--all", "--check"])?;
    // Workspaces of their own.
    cargo(root, &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    cargo(root, &["fmt", "--manifest-path", bench::MANIFEST, "--check"])?;
    cargo(root, &["fmt", "--manifest-path", "bench/servers/Cargo.toml", "--check"])
}

/// Clippy brings its own wrapper around rustc, so the one in `.cargo/config.toml` does not keep checkouts apart here.
/// The arguments after `--` are part of what clippy remembers: one that names the checkout makes it look again.
fn lints(root: &Path) -> Result<()> {
    let checkout = format!("checkout={:?}", root.display().to_string());
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings", "--cfg", &checkout])
}

/// They are built with flags and a compiler of their own; that they still fit what they call is seen without.
fn fuzz_targets(root: &Path) -> Result<()> {
    cargo(root, &["check", "--manifest-path", "fuzz/Cargo.toml", "--lib", "--no-default-features", "--locked"])
}

/// Outside of the workspace, so that no other build waits for it.
fn load_generator(root: &Path) -> Result<()> {
    cargo(root, &["clippy", "--manifest-path", bench::MANIFEST, "--all-targets", "--locked", "--", "-D", "warnings"])?;
    cargo(root, &["test", "--manifest-path", bench::MANIFEST, "--locked"])
}

/// `--no-fail-fast`, so that one round shows everything that is broken. Doc tests are part of it.
fn tests(root: &Path) -> Result<()> {
    cargo(root, &["test", "--workspace", "--no-fail-fast"])
}

/// Runs the cargo that called us, with its output passed through.
fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = crate::cargo::command()
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("can not start `cargo {}`", arguments.join(" ")))?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments[..2.min(arguments.len())].join(" "));
    }
    Ok(())
}
