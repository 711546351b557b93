//! Child processes of the bench. Each ends when its value is dropped; no other process is ever stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Time limit for a graceful exit.
const END_LIMIT: Duration = Duration::from_secs(30);

/// A child process. Drop stops it and waits for its end, even if the bench fails.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Whether it gets a SIGINT before it is killed.
    is_asked: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; drop cannot report errors.
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
    /// Starts a child whose output lines, of both streams, can be waited for.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::with_pipes(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Like [`Self::start`], but its standard error goes to the terminal.
    pub(crate) fn start_aloud(command: &mut Command) -> Result<Self> {
        Self::with_pipes(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))
    }

    fn with_pipes(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {command:?}"))?;
        let (sender, lines) = mpsc::channel();
        let pipes = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            // Read to the end, so that the child never blocks on a full pipe. The thread ends with the child.
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Self { child, lines, is_asked: false })
    }

    /// Makes drop end it gracefully, because it must not be killed while it writes.
    pub(crate) fn ended_gently(mut self) -> Self {
        self.is_asked = true;
        self
    }

    /// Sends SIGINT, like Ctrl-C.
    fn ask_to_end(&self) -> Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        status.success().then_some(()).context("it has ended")
    }

    /// Waits for the first line from which `read` returns a value. Without one, the error ends with the child's output.
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

    /// Peak resident memory of the process and its descendants, in bytes; `None` where the system does not report it.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        sum(&tree(self.child.id()), "status", "VmHWM:")
    }

    /// Current memory of the process and its descendants in bytes, with shared memory counted once.
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

/// The process and all its descendants.
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

/// The sum of a field over processes, converted from kilobytes to bytes. Processes that have ended count as 0.
fn sum(processes: &[u32], file: &str, key: &str) -> Option<u64> {
    let kilobytes: Vec<_> = processes.iter().filter_map(|id| kept(*id, file, key)).collect();
    (!kilobytes.is_empty()).then(|| kilobytes.iter().sum::<u64>() * 1024)
}

/// A field of a file in `/proc` for a process.
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
