//! The sample in PostgreSQL: loaded once, with indexes for the endpoints, and kept next to the lake.
//!
//! The database has its own folder and socket, and listens on no port. PostgreSQL refuses to run as root; if the bench
//! does, the database runs as the user that Debian's package creates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::contender::{python, run};
use super::lake::Lake;
use super::process::Process;

const USER: &str = "postgres";
const START_LIMIT: Duration = Duration::from_secs(120);

/// In loading order.
const TABLES: [&str; 8] = ["country", "city", "service", "product_size", "client", "route", "trackcode", "order"];

/// Settings for loading, without durability, because data that a crash loses is loaded again.
const TO_LOAD: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "shared_buffers=1GB",
    "maintenance_work_mem=1GB",
];

/// Settings for measuring, as on a machine with some memory and a fast disk. JIT costs short queries more than it
/// saves.
const TO_SERVE: &[&str] =
    &["shared_buffers=2GB", "effective_cache_size=8GB", "work_mem=64MB", "random_page_cost=1.1", "jit=off"];

/// A running database.
pub(crate) struct Database {
    process: Process,
    /// The folder of its socket. A temporary one, because socket paths must be short.
    socket: TempDir,
}

impl Database {
    /// Starts the database with the rows of this lake, and loads them if it has others. `None` without PostgreSQL.
    pub(crate) fn start(root: &Path, lake: &Lake) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            eprintln!("bench: PostgreSQL is not installed, so it is left out; on Debian: `apt-get install postgresql`");
            return Ok(None);
        };
        let (folder, stamp) = (lake.folder.join("postgres"), lake.folder.join("postgres.stamp"));
        let sql = |name: &str| {
            let path = root.join("bench/postgres").join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
        };
        let (tables, indexes) = (sql("tables.sql")?, sql("indexes.sql")?);
        let wanted = [lake.marker.as_str(), &tables, &indexes].concat();
        if !folder.exists() || fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            eprintln!("bench: loading the rows into PostgreSQL");
            load(root, &programs, lake, &folder, &tables, &indexes)?;
            fs::write(&stamp, wanted).context("cannot write which rows the database has")?;
        }
        Self::run(&programs, &folder, TO_SERVE).map(Some)
    }

    fn run(programs: &Path, folder: &Path, settings: &[&str]) -> Result<Self> {
        let socket = tempfile::Builder::new().prefix("lakegate-bench").tempdir()?;
        give(socket.path())?;
        let mut command = as_user(&programs.join("postgres"));
        command.arg("-D").arg(folder).arg("-k").arg(socket.path()).args(["-c", "listen_addresses="]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let process = Process::start(&mut command)?.ended_gently();
        process
            .wait_for(START_LIMIT, |line| line.contains("ready to accept connections").then_some(()))
            .context("PostgreSQL did not start")?;
        Ok(Self { process, socket })
    }

    /// The connection string for clients.
    pub(crate) fn connection(&self) -> String {
        format!("host={} user={USER} dbname={USER}", self.socket.path().display())
    }

    pub(crate) fn memory(&self) -> Option<u64> {
        self.process.memory()
    }

    /// A `psql` command that runs these statements in one transaction.
    fn psql(&self, programs: &Path, commands: &[&str]) -> Command {
        let mut command = Command::new(programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1", "--dbname"]);
        command.arg(self.connection());
        for text in commands {
            command.args(["--command", text]);
        }
        command
    }
}

fn load(root: &Path, programs: &Path, lake: &Lake, folder: &Path, tables: &str, indexes: &str) -> Result<()> {
    let python = python(root)?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    fs::create_dir(folder)?;
    give(folder)?;
    run(as_user(&programs.join("initdb"))
        .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER, "-D"])
        .arg(folder))?;
    let database = Database::run(programs, folder, TO_LOAD)?;
    run(&mut database.psql(programs, &[tables]))?;
    for table in TABLES {
        let mut rows = Command::new(&python)
            .arg(root.join("bench/postgres/rows.py"))
            .arg(lake.data())
            .arg(table)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let output = rows.stdout.take().context("the rows have no pipe")?;
        // Truncate in the same transaction, so that the rows skip the write-ahead log.
        let copy = format!("COPY \"{table}\" FROM STDIN (FORMAT csv)");
        let copied = database
            .psql(programs, &[&format!("TRUNCATE \"{table}\""), &copy])
            .stdin(output)
            .stdout(Stdio::null())
            .status()
            .context("cannot start psql");
        let read = rows.wait()?;
        ensure!(copied?.success() && read.success(), "`{table}` could not be loaded");
    }
    let mut last = Command::new(programs.join("psql"));
    last.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname"]).arg(database.connection());
    for statement in indexes.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        last.args(["--command", statement]);
    }
    run(&mut last)
}

/// The folder of PostgreSQL's programs: Debian's newest version, or the one on the path.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .max();
    let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join("initdb").exists());
    newest.map(|(_, folder)| folder).or_else(in_path)
}

/// Whether the bench runs as root, so that the database needs another user.
fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A command that runs as a user that PostgreSQL accepts. `setpriv` execs it, so signals reach it.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
    // The user may have no access to the current folder.
    command.current_dir("/");
    command
}

/// Makes that user the owner of a folder.
fn give(folder: &Path) -> Result<()> {
    if is_root() { run(Command::new("chown").arg(format!("{USER}:")).arg(folder)) } else { Ok(()) }
}
