//! The processes under measurement: the demo that makes the sample, and the server. Each ends with its value.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

/// Long enough to generate the biggest sample on a slow machine.
const DEMO_LIMIT: Duration = Duration::from_secs(1_800);
const START_LIMIT: Duration = Duration::from_secs(120);

/// The project and the lake that `lakegate demo` made.
pub(crate) struct Demo {
    pub(crate) project: PathBuf,
    pub(crate) operator_token: String,
}

/// The one line of `lakegate demo --json`.
#[derive(Deserialize)]
struct Announcement {
    principals: Vec<AnnouncedPrincipal>,
}

#[derive(Deserialize)]
struct AnnouncedPrincipal {
    token: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// A running `lakegate serve`.
pub(crate) struct Server {
    child: Ended,
    /// Host and port.
    pub(crate) address: String,
    /// The same of the admin API.
    pub(crate) admin_address: Option<String>,
}

/// A child that is killed and waited for when its value goes, also when the bench fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Demo {
    /// Lets the demo make its lake and project in `folder`, and ends it once it serves.
    pub(crate) fn make(binary: &Path, folder: &Path, scale: u32) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("demo").arg("--dir").arg(folder).args([
            "--scale",
            &scale.to_string(),
            "--seed",
            &super::SEED.to_string(),
        ]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json"]);
        let (_child, lines) = spawn(&mut command, &[Stream::Output])?;
        let line = wait_for(&lines, DEMO_LIMIT, |line| line.starts_with('{').then(|| line.to_owned()))
            .context("`lakegate demo` did not say that it serves")?;
        let announcement: Announcement =
            serde_json::from_str(&line).context("the line of `lakegate demo --json` is not understood")?;
        let operator =
            announcement.principals.into_iter().find(|principal| principal.roles.iter().any(|role| role == "operator"));
        let operator_token = operator.context("the demo has no operator")?.token;
        Ok(Self { project: folder.to_owned(), operator_token })
    }
}

impl Server {
    pub(crate) fn start(binary: &Path, project: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--project").arg(project).args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        let (child, lines) = spawn(&mut command, &[Stream::Output, Stream::Errors])?;
        let address_in = |line: &str| {
            let rest = line.split_once("http://127.0.0.1:")?.1;
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            (!port.is_empty()).then(|| format!("127.0.0.1:{port}"))
        };
        let address =
            wait_for(&lines, START_LIMIT, address_in).context("`lakegate serve` did not say where it listens")?;
        let admin_address = wait_for(&lines, START_LIMIT, address_in).ok();
        Ok(Self { child, address, admin_address })
    }

    /// The most memory that the process had resident so far, where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }
}

enum Stream {
    Output,
    Errors,
}

/// Starts a child whose lines on the given streams can be waited for; what is not read for is passed on or drained.
fn spawn(command: &mut Command, streams: &[Stream]) -> Result<(Ended, mpsc::Receiver<String>)> {
    let reads_errors = streams.iter().any(|stream| matches!(stream, Stream::Errors));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(if reads_errors { Stdio::piped() } else { Stdio::inherit() });
    let mut child = command.spawn().with_context(|| format!("can not start {command:?}"))?;
    let (sender, lines) = mpsc::channel();
    let pipes = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
    ];
    for pipe in pipes.into_iter().flatten() {
        let sender = sender.clone();
        // Reads to the end, so that the child never blocks on a full pipe; ends with the child.
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    Ok((Ended(child), lines))
}

/// The first line from which `read` makes something; with none, an error that ends with what the child said.
fn wait_for<T>(lines: &mpsc::Receiver<String>, limit: Duration, read: impl Fn(&str) -> Option<T>) -> Result<T> {
    let deadline = std::time::Instant::now() + limit;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => match read(&line) {
                Some(found) => return Ok(found),
                None => said.push(line),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("nothing came within {} s", limit.as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("it ended; it said:\n{}", said.join("\n")));
            }
        }
    }
}
