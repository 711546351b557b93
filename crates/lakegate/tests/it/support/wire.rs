//! The real binary as a server process, and a minimal HTTP/1.1 client on a raw socket. It contains no tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value as Json;

use crate::support::binary::Ran;
use crate::support::eventually::{PATIENCE, eventually};

/// A server process that has printed its address. Drop kills it.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    /// The JSON line that it printed.
    pub(crate) said: Json,
}

impl Process {
    /// Starts a command with `--json`, and reads its JSON line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let reading = std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                written.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, stdout, log, reading: Some(reading), said: Json::Null };
        let mut line = String::new();
        process.stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it ended: {:?}", process.wait());
        process.said = serde_json::from_str(&line).unwrap();
        process
    }

    pub(crate) fn address(&self) -> &str {
        self.said["url"].as_str().unwrap().split_once("://").unwrap().1
    }

    /// The log, which grows while the process runs.
    pub(crate) fn follow(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to end. The returned stdout lacks the first line.
    pub(crate) fn wait(&mut self) -> Ran {
        eventually("the process ends", || self.child.try_wait().unwrap().is_some());
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.reading.take().unwrap().join().unwrap();
        let stderr = self.log.lock().unwrap().clone();
        Ran { code: self.child.wait().unwrap().code(), stdout, stderr }
    }

    /// Stops the process with SIGTERM.
    pub(crate) fn stop(mut self) -> Ran {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a GET request and returns its response.
    pub(crate) fn get(&self, path: &str, token: &str) -> Reply {
        Exchange::begin(self.address(), "GET", path, &[("token", token)], "").finish()
    }

    pub(crate) fn post(&self, path: &str, token: &str, body: &str) -> Reply {
        Exchange::begin(self.address(), "POST", path, &[("token", token)], body).finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the response is complete; `false` when it was cut.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn json(&self) -> Json {
        assert!(self.whole, "{}", self.head);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The rows of a 200 response.
    pub(crate) fn rows(&self) -> Vec<Json> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json().as_array().unwrap().clone()
    }

    /// Status and code of an error response.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// A request whose response is read piece by piece.
pub(crate) struct Exchange {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Exchange {
    pub(crate) fn begin(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let length = body.len().to_string();
        let headers = [headers, &[("content-length", length.as_str())]].concat();
        let mut begun = Self::head(address, method, path, &headers);
        begun.socket.write_all(body.as_bytes()).unwrap();
        begun
    }

    /// Begins a `POST` without sending its body.
    pub(crate) fn begin_without_body(address: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::head(address, "POST", path, headers)
    }

    /// Sends more of the body.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn head(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        Self { socket, read: Vec::new() }
    }

    /// Reads up to `bytes` available bytes; `false` at the end.
    pub(crate) fn read(&mut self, bytes: usize) -> bool {
        let before = self.read.len();
        self.read.resize(before + bytes, 0);
        // A cut connection may end in a reset.
        let read = self.socket.read(&mut self.read[before..]).unwrap_or(0);
        self.read.truncate(before + read);
        read > 0
    }

    /// Reads until at least `bytes` bytes have arrived.
    pub(crate) fn read_at_least(&mut self, bytes: usize) {
        while self.read.len() < bytes {
            assert!(self.read(64 * 1024), "it ended after {} bytes", self.read.len());
        }
    }

    /// Reads to the end.
    pub(crate) fn finish(mut self) -> Reply {
        while self.read(64 * 1024) {}
        let end = self.read.windows(4).position(|window| window == b"\r\n\r\n").expect("no head came");
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let raw = &self.read[end + 4..];
        let length =
            head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
        let (body, whole) = match length {
            Some(length) => (raw.to_vec(), raw.len() == length),
            None => unchunked(raw),
        };
        Reply { status, head, body, whole }
    }
}

/// The body of a chunked response, and whether its last chunk arrived.
fn unchunked(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = raw.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let Ok(size) = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16) else {
            return (body, false);
        };
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = raw.get(line + 2..line + 2 + size) else { return (body, false) };
        body.extend_from_slice(chunk);
        raw = raw.get(line + 4 + size..).unwrap_or_default();
    }
}
