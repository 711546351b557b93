//! The contenders: lakegate and the servers it is compared with, which return equal responses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::callers::Callers;
use super::lake::{Lake, kept};
use super::postgres::Database;
use super::process::{Process, address_in};
use super::server::Server;

const START_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    /// Always measured
    #[value(skip)]
    Lakegate,
    /// FastAPI and DuckDB on the same Parquet files; needs Python 3 with `venv`
    Duckdb,
    /// PostgreSQL with indexes, behind a thin axum server; needs PostgreSQL
    Postgres,
    /// An axum server that returns a fixed response
    Fixed,
}

/// A running contender.
pub(crate) struct Contender {
    pub(crate) name: Name,
    pub(crate) address: String,
    process: Process,
    /// The database behind the server; it is stopped after the server.
    database: Option<Database>,
}

impl Contender {
    pub(crate) fn lakegate(binary: &Path, lake: &Lake) -> Result<Self> {
        let (process, address) = Server::start(binary, &lake.project)?.into_parts();
        Ok(Self { name: Name::Lakegate, address, process, database: None })
    }

    pub(crate) fn duckdb(root: &Path, lake: &Lake, callers: &Callers) -> Result<Self> {
        let command = duckdb_command(root, lake, callers, "0")?;
        Self::start(Name::Duckdb, command, None)
    }

    /// `None` where PostgreSQL is not installed.
    pub(crate) fn postgres(root: &Path, lake: &Lake, callers: &Callers) -> Result<Option<Self>> {
        let Some(database) = Database::start(root, lake)? else { return Ok(None) };
        let mut command = Command::new(server(root, "postgres")?);
        command.env("BENCH_DATABASE", database.connection()).env("BENCH_TOKENS", &callers.tokens_file);
        command.env("BENCH_SQL", root.join("bench/sql"));
        Self::start(Name::Postgres, command, Some(database)).map(Some)
    }

    pub(crate) fn fixed(root: &Path) -> Result<Self> {
        Self::start(Name::Fixed, Command::new(server(root, "fixed")?), None)
    }

    fn start(name: Name, mut command: Command, database: Option<Database>) -> Result<Self> {
        let process = Process::start(&mut command)?;
        let address = process.wait_for(START_LIMIT, address_in).with_context(|| format!("{name:?} did not start"))?;
        Ok(Self { name, address, process, database })
    }

    /// Peak memory in bytes; with a database, the current memory of both, because its processes share most of theirs.
    pub(crate) fn memory(&self) -> Option<u64> {
        match &self.database {
            Some(database) => Some(self.process.peak_memory()? + database.memory()?),
            None => self.process.peak_memory(),
        }
    }
}

/// The command for a FastAPI process on this port; `0` picks a free one.
pub(crate) fn duckdb_command(root: &Path, lake: &Lake, callers: &Callers, port: &str) -> Result<Command> {
    let mut command = Command::new(python(root)?);
    command.args(["-m", "uvicorn", "app:app", "--no-access-log", "--host", "127.0.0.1", "--port", port, "--app-dir"]);
    command.arg(root.join("bench/duckdb"));
    command.env("BENCH_LAKE", lake.data()).env("BENCH_TOKENS", &callers.tokens_file);
    // No `__pycache__` in the checkout.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A Python with the packages of `bench/duckdb/requirements.txt`. Installs them if needed.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let requirements = root.join("bench/duckdb/requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("cannot read the requirements")?;
    let folder = kept(root).join("venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    eprintln!("bench: installing FastAPI and DuckDB below `target/bench`");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements))?;
    fs::write(&stamp, wanted).context("cannot write what was installed")?;
    Ok(python)
}

/// Builds a binary of `bench/servers`, which is a separate workspace with its own target folder, and returns its path.
fn server(root: &Path, name: &str) -> Result<PathBuf> {
    let target = kept(root).join("servers");
    let mut command = crate::cargo::command();
    command
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(root.join("bench/servers/Cargo.toml"));
    command.arg("--target-dir").arg(&target).env("CARGO_BUILD_BUILD_DIR", target.join("build"));
    run(&mut command)?;
    Ok(target.join("release").join(name))
}

/// Runs a command to its end, and discards its standard output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
