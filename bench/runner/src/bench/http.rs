//! An HTTP/1.1 client for one persistent connection. It sends prepared bytes and parses as little as possible, because
//! it shares the server's cores: each microsecond here is one that the server lacks.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::framing::Framing;

/// Timeout for a response, which no healthy run reaches.
const LIMIT: Duration = Duration::from_secs(120);

/// Size of a read, in bytes.
const ROOM: usize = 64 << 10;

pub(crate) struct Connection {
    stream: TcpStream,
    /// The last response. Reused, so that the next one needs no allocation.
    received: Vec<u8>,
}

/// A response, borrowed until the next request.
pub(crate) struct Answer<'a> {
    framing: Framing,
    received: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn status(&self) -> u16 {
        self.framing.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.framing.header(self.received, name)
    }

    pub(crate) fn body(&self) -> Result<Cow<'_, [u8]>> {
        self.framing.body(self.received)
    }
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(ROOM) })
    }

    /// The body of a 200 response; any other status is an error.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<Vec<u8>> {
        let (status, body) = self.exchange(path, token).await?;
        if status != 200 {
            bail!("`{path}` was answered with {status}: {}", beginning(&body));
        }
        Ok(body)
    }

    /// Status and body of any response.
    pub(crate) async fn exchange(&mut self, path: &str, token: &str) -> Result<(u16, Vec<u8>)> {
        let answer = self.send(&request(path, token, "")).await?;
        Ok((answer.status(), answer.body()?.into_owned()))
    }

    /// Sends a prepared request and waits for the complete response, which must have this status.
    pub(crate) async fn expect(&mut self, request: &[u8], status: u16) -> Result<Answer<'_>> {
        let answer = self.send(request).await?;
        if answer.status() != status {
            bail!("`{}` was answered with {}: {}", line(request), answer.status(), beginning(&answer.body()?));
        }
        Ok(answer)
    }

    async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let exchange = tokio::time::timeout(LIMIT, exchange(&mut self.stream, &mut self.received, request));
        let framing = exchange
            .await
            .with_context(|| format!("`{}` was not answered within {} s", line(request), LIMIT.as_secs()))?
            .with_context(|| format!("`{}` was not answered", line(request)))?;
        Ok(Answer { framing, received: &self.received })
    }
}

async fn exchange(stream: &mut TcpStream, received: &mut Vec<u8>, request: &[u8]) -> Result<Framing> {
    received.clear();
    stream.write_all(request).await?;
    let mut framing = Framing::default();
    loop {
        if received.capacity() - received.len() < ROOM / 2 {
            received.reserve(received.len().max(ROOM));
        }
        ensure!(stream.read_buf(received).await? > 0, "the connection was closed");
        if framing.is_complete(received)? {
            return Ok(framing);
        }
    }
}

/// The bytes of a request. Each header in `more` ends with `\r\n`.
pub(crate) fn request(path: &str, token: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n").into_bytes()
}

/// The first line of a request, which contains no token.
fn line(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned()
}
