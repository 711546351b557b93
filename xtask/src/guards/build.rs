//! Builds one test binary and runs some of its tests.
//!
//! Binaries with DataFusion are built for the whole workspace: selecting a package selects other features of the
//! dependencies, and so builds DataFusion once more. lakegate-core is built alone, in seconds.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Time limit for a guard's tests. If they hang, that is a failure that somebody notices, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A test binary.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binary {
    /// The unit tests of lakegate-core.
    #[serde(rename = "lakegate-core")]
    Core,
    /// The unit tests of lakegate-query.
    #[serde(rename = "lakegate-query")]
    Query,
    /// The integration tests of lakegate.
    #[serde(rename = "it")]
    It,
}

/// The result of a test run without a guard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A test failed; this is the first one.
    Killed(String),
    /// No test failed.
    Survived,
    /// Nothing was run, for this reason.
    DoesNotCompile(String),
}

impl Binary {
    /// The package's folder, the name of cargo's target, and the arguments that select only this target.
    fn parts(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Binary::Core => ("crates/lakegate-core", "lakegate_core", &["--package", "lakegate-core", "--lib"]),
            Binary::Query => ("crates/lakegate-query", "lakegate_query", &["--workspace", "--lib"]),
            Binary::It => ("crates/lakegate", "it", &["--workspace", "--test", "it"]),
        }
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Binary::Core => "lakegate-core",
            Binary::Query => "lakegate-query",
            Binary::It => "it",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Killed(test) => write!(f, "{test} fails"),
            Outcome::Survived => f.write_str("NO TEST FAILS"),
            Outcome::DoesNotCompile(reason) => write!(f, "does not compile: {reason}"),
        }
    }
}

/// Builds the binary and returns its path, or the compiler's errors.
pub(crate) fn build(checkout: &Path, binary: Binary) -> Result<Result<PathBuf, String>> {
    let (_, target, selection) = binary.parts();
    let output = crate::cargo::command()
        .args(["test", "--no-run", "--message-format=json"])
        .args(selection)
        .current_dir(checkout)
        .env_remove("CARGO_TARGET_DIR")
        .stderr(Stdio::null())
        .output()
        .context("cannot start cargo")?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
    if !output.status.success() {
        let errors = messages.iter().filter(|message| message["message"]["level"] == "error");
        let errors = errors.filter_map(|message| message["message"]["rendered"].as_str()).collect::<Vec<_>>();
        let errors = errors.join("");
        ensure!(!errors.is_empty(), "`cargo test --no-run` failed without an error of the compiler; run it by hand");
        return Ok(Err(errors));
    }
    let made = messages.iter().find_map(|message| {
        let is_it = message["target"]["name"] == target && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_it)
    });
    Ok(Ok(made.with_context(|| format!("cargo built no test binary `{target}`"))?.into()))
}

/// The names of all tests in a binary.
pub(crate) fn names(built: &Path) -> Result<Vec<String>> {
    let output = Command::new(built).arg("--list").output();
    let output = output.with_context(|| format!("cannot start `{}`", built.display()))?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs the named tests until they end, or exceed the time limit.
pub(crate) fn run(
    built: &Path,
    checkout: &Path,
    binary: Binary,
    tests: &[String],
    patience: Duration,
) -> Result<Outcome> {
    let (package, ..) = binary.parts();
    let folder = checkout.join(package);
    let said = checkout.join("target/tests.log");
    if let Some(folder) = said.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let log = File::create(&said)?;
    let mut running = Command::new(built)
        .args(tests)
        .current_dir(&folder)
        .env("CARGO_MANIFEST_DIR", &folder)
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log)
        .spawn()
        .with_context(|| format!("cannot start `{}`", built.display()))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = running.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > patience {
            running.kill()?;
            running.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = std::fs::read(&said)?;
    Ok(judge(&String::from_utf8_lossy(&said), status.map(|status| status.success())))
}

/// Interprets the output of the test binary; `passed` is `None` when it did not end.
fn judge(said: &str, passed: Option<bool>) -> Outcome {
    let failed = said.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    match (failed, passed) {
        (Some(test), _) => Outcome::Killed(format!("`{test}`")),
        (None, None) => Outcome::Killed("a test that no longer ends".to_owned()),
        (None, Some(false)) => Outcome::Killed("a test that ends the process".to_owned()),
        (None, Some(true)) => Outcome::Survived,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_binary_says_is_read() {
        let failed = "test a::b ... ok\ntest a::c ... FAILED\n";
        assert_eq!(judge(failed, Some(false)), Outcome::Killed("`a::c`".into()));
        assert_eq!(judge("test a::b ... ok\ntest result: ok. 1 passed; 0 failed", Some(true)), Outcome::Survived);
        assert!(matches!(judge("test a::b ... ok", Some(false)), Outcome::Killed(_)));
        assert!(matches!(judge("test a::b has been running for over 60 seconds", None), Outcome::Killed(_)));
    }
}
