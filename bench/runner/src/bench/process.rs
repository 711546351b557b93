//! Processes that the bench starts: each ends with its value. No other process is ever ended.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How long a process that was asked to end may take.
const END_LIMIT: Duration = Duration::from_secs(30);

/// A child that is ended and waited for when its value goes, also when the bench fails.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Whether it is asked to end before it is killed.
    is_asked: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        if self.is_asked && self.ask_to_end().is_ok() {
            let deadline = Instant::now() + END_LIMIT;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a child of which each line, on either stream, can be waited for.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::with_pipes(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// The same with its errors on the bench's own stream, for the eyes of who waits.
    pub(crate) fn start_aloud(command: &mut Command) -> Result<Self> {
        Self::with_pipes(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))
    }

    fn with_pipes(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("can not start {command:?}"))?;
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
        Ok(Self { child, lines, is_asked: false })
    }

    /// For one that must not be killed while it writes.
    pub(crate) fn ended_gently(mut self) -> Self {
        self.is_asked = true;
        self
    }

    /// Sends SIGINT, as Ctrl-C does.
    fn ask_to_end(&self) -> Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        status.success().then_some(()).context("it has ended")
    }

    /// The first line from which `read` makes something; with none, an error that ends with what the child said.
    pub(crate) fn wait_for<T>(&self, limit: Duration, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match read(&line) {
                    Some(found) => return Ok(found),
                    None => said.push(line),
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("nothing came within {} s; it said:\n{}", limit.as_secs(), said.join("\n"))
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("it ended; it said:\n{}", said.join("\n")));
                }
            }
        }
    }

    /// The most memory that the process and those below it had resident so far, where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        sum(&tree(self.child.id()), "status", "VmHWM:")
    }

    /// What they have now, memory that they share counted once.
    pub(crate) fn memory(&self) -> Option<u64> {
        sum(&tree(self.child.id()), "smaps_rollup", "Pss:")
    }
}

/// Host and port in a line such as `listening on http://127.0.0.1:8080`.
pub(crate) fn address_in(line: &str) -> Option<String> {
    let rest = line.split_once("http://127.0.0.1:")?.1;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty()).then(|| format!("127.0.0.1:{port}"))
}

/// The process and all that it started, and so on.
fn tree(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: HashMap<u32, u32> = ids.filter_map(|id| Some((id, kept(id, "status", "PPid:")? as u32))).collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(id, _)| *id));
        at += 1;
    }
    found
}

/// The sum of a number of kilobytes, in bytes. One that has ended meanwhile counts nothing.
fn sum(processes: &[u32], file: &str, key: &str) -> Option<u64> {
    let kilobytes: Vec<_> = processes.iter().filter_map(|id| kept(*id, file, key)).collect();
    (!kilobytes.is_empty()).then(|| kilobytes.iter().sum::<u64>() * 1024)
}

/// A number that the system keeps of a process.
fn kept(id: u32, file: &str, key: &str) -> Option<u64> {
    number(&fs::read_to_string(format!("/proc/{id}/{file}")).ok()?, key)
}

fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_are_found() {
        assert_eq!(address_in("INFO serving at http://127.0.0.1:8080/api").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(address_in("http://127.0.0.1:"), None);
        assert_eq!(number("Name: x\nVmHWM:\t  120 kB\n", "VmHWM:"), Some(120));
        assert_eq!(number("Name: x\n", "VmHWM:"), None);
    }
}
