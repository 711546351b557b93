//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` and runs each for a short time.
//!
//! Stable Rust and a C++ compiler are enough: stable rustc passes the flags for libFuzzer's instrumentation on to LLVM,
//! and they are those of cargo-fuzz. There is no sanitizer, because the fuzzed code forbids `unsafe_code`; fuzzing
//! finds panics, overflows, hangs, and the faults that the targets assert.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

/// The instrumentation for libFuzzer: edge coverage, and the operands of comparisons.
const INSTRUMENTATION: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Time limit for one input, in seconds. Inputs are small, and a server has other callers.
const SLOWEST_INPUT: u32 = 5;

#[derive(Args)]
pub(crate) struct Options {
    /// Run each target for this many seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Targets to run; all if none is named
    targets: Vec<String>,
}

/// Builds and runs the targets. Fails when one of them found something.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let known = targets(root)?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let place = Place::new(root)?;
    place.build(chosen)?;
    let mut found = Vec::new();
    for target in chosen {
        if !place.fuzz(target, options.seconds)? {
            found.push(target.as_str());
        }
    }
    ensure!(found.is_empty(), "the fuzzer found something in {}", found.join(", "));
    Ok(())
}

/// The names of the targets, sorted.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Folders of the fuzzer: sources in `fuzz/`, and everything generated below `target/fuzz`.
struct Place {
    sources: PathBuf,
    made: PathBuf,
    host: String,
}

impl Place {
    fn new(root: &Path) -> Result<Self> {
        let rustc = Command::new("rustc").arg("-vV").output().context("cannot start `rustc`")?;
        let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
        let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
        Ok(Self { sources: root.join("fuzz"), made: root.join("target/fuzz"), host: host.to_owned() })
    }

    /// Passes `--target`, so that the flags do not apply to build scripts and macros.
    fn build(&self, targets: &[String]) -> Result<()> {
        let mut cargo = crate::cargo::command();
        cargo
            .args(["build", "--locked", "--target", &self.host, "--manifest-path"])
            .arg(self.sources.join("Cargo.toml"));
        targets.iter().for_each(|target| {
            cargo.args(["--bin", target]);
        });
        let status = cargo
            .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"))
            // The shared build directory is for builds with the usual flags.
            .env("CARGO_TARGET_DIR", &self.made)
            .env("CARGO_BUILD_BUILD_DIR", &self.made)
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "the fuzz targets do not build; a C++ compiler is needed (`c++`, or `CXX` names it)");
        Ok(())
    }

    /// Runs one target. Returns `false` when it found something, which it has printed.
    fn fuzz(&self, target: &str, seconds: u32) -> Result<bool> {
        let program = self.made.join(&self.host).join("debug").join(target);
        let corpus = self.made.join("corpus").join(target);
        let artefacts = self.made.join("artifacts").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artefacts)?;
        let mut fuzzer = Command::new(&program);
        // New inputs go to the first folder; the seeds in the second one stay unchanged.
        fuzzer.arg(&corpus).arg(self.sources.join("corpus").join(target)).args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={SLOWEST_INPUT}"),
            format!("-artifact_prefix={}/", artefacts.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        let dictionary = self.sources.join("dictionaries").join(target);
        if dictionary.exists() {
            fuzzer.arg(format!("-dict={}", dictionary.display()));
        }
        let run = fuzzer.output().with_context(|| format!("cannot start `{}`", program.display()))?;
        let said = String::from_utf8_lossy(&run.stderr);
        let summary = Summary::of(&said);
        if run.status.success() {
            println!(
                "{target}: {} executions in {seconds} s, {} edges, nothing found",
                summary.executions, summary.edges
            );
            return Ok(true);
        }
        let quiet = ["#", "INFO:", "stat::", "MS:", "0x"];
        said.lines()
            .filter(|line| !quiet.iter().any(|start| line.starts_with(start)))
            .for_each(|line| eprintln!("{line}"));
        match summary.artefact {
            Some(artefact) => {
                println!("{target}: found something after {} executions: {artefact}", summary.executions);
                println!("  to see it again: {} {artefact}", program.display());
            }
            None => println!("{target}: ended with {} and left no artefact", run.status),
        }
        Ok(false)
    }
}

/// The facts of a run from libFuzzer's output.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    executions: String,
    edges: String,
    artefact: Option<String>,
}

impl Summary {
    fn of(said: &str) -> Self {
        let mut summary = Self { executions: "0".to_owned(), ..Self::default() };
        for line in said.lines() {
            if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                count.trim().clone_into(&mut summary.executions);
            } else if let Some((_, path)) = line.split_once("Test unit written to ") {
                summary.artefact = Some(path.trim().to_owned());
            } else if let Some((_, after)) = line.split_once(" cov: ") {
                after.split(' ').next().unwrap_or_default().clone_into(&mut summary.edges);
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_in_the_manifest_and_has_seeds() {
        let root = crate::root();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = targets(&root).unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
                "{target} is not in fuzz/Cargo.toml"
            );
            let seeds = fs::read_dir(root.join("fuzz/corpus").join(&target)).map(Iterator::count).unwrap_or_default();
            assert!(seeds > 0, "{target} has no seeds in fuzz/corpus/{target}");
        }
    }

    #[test]
    fn what_libfuzzer_says_is_read() {
        let said = "#2\tINITED cov: 12 ft: 13 corp: 1/1b\n#99\tDONE   cov: 345 ft: 9 corp: 3/9b\n\
                    artifact_prefix='x/'; Test unit written to x/crash-1\nstat::number_of_executed_units: 99\n";
        let wanted = Summary { executions: "99".into(), edges: "345".into(), artefact: Some("x/crash-1".into()) };
        assert_eq!(Summary::of(said), wanted);
    }
}
