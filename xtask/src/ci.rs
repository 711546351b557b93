//! `cargo xtask ci`: the checks that a change must pass, cheapest first. It stops at the first failure and prints
//! advice.
//!
//! The tests are the last step, and nothing is printed after them, so that the output ends with cargo's own counts.

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
    // Separate workspaces.
    cargo(root, &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    cargo(root, &["fmt", "--manifest-path", bench::MANIFEST, "--check"])?;
    cargo(root, &["fmt", "--manifest-path", "bench/servers/Cargo.toml", "--check"])
}

/// Clippy uses its own rustc wrapper, so the wrapper in `.cargo/config.toml` does not separate checkouts here. Clippy's
/// fingerprint includes the arguments after `--`, so an argument that names the checkout makes it check again.
fn lints(root: &Path) -> Result<()> {
    let checkout = format!("checkout={:?}", root.display().to_string());
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings", "--cfg", &checkout])
}

/// The fuzz targets need special flags and a compiler, but a plain check shows that they still fit the code they call.
fn fuzz_targets(root: &Path) -> Result<()> {
    cargo(root, &["check", "--manifest-path", "fuzz/Cargo.toml", "--lib", "--no-default-features", "--locked"])
}

/// The load generator is outside of the workspace, so that no other build waits for it.
fn load_generator(root: &Path) -> Result<()> {
    cargo(root, &["clippy", "--manifest-path", bench::MANIFEST, "--all-targets", "--locked", "--", "-D", "warnings"])?;
    cargo(root, &["test", "--manifest-path", bench::MANIFEST, "--locked"])
}

/// Uses `--no-fail-fast`, so that one run shows all failures. Includes doc tests.
fn tests(root: &Path) -> Result<()> {
    cargo(root, &["test", "--workspace", "--no-fail-fast"])
}

/// Runs the cargo that called this program, with its output passed through.
fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = crate::cargo::command()
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start `cargo {}`", arguments.join(" ")))?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments[..2.min(arguments.len())].join(" "));
    }
    Ok(())
}
