//! A client for one connection that stays open: what the measurement needs of HTTP/1.1, and no more.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// No answer takes longer in a healthy run.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    address: String,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("can not connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; a fault of the connection is seen by the request that waits for it.
        tokio::spawn(connection);
        Ok(Self { sender, address: address.to_owned() })
    }

    /// The whole body of a good answer; any other answer is an error.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<Bytes> {
        let (status, body) = self.exchange(path, token).await?;
        if status != 200 {
            bail!("`{path}` was answered with {status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
        }
        Ok(body)
    }

    /// Status and body of whatever is answered.
    pub(crate) async fn exchange(&mut self, path: &str, token: &str) -> Result<(u16, Bytes)> {
        let request = Request::get(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Empty::new())
            .context("not a request")?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(LIMIT, exchange)
            .await
            .with_context(|| format!("`{path}` was not answered within {} s", LIMIT.as_secs()))?
            .with_context(|| format!("`{path}` was not answered"))?;
        Ok((status.as_u16(), body))
    }
}
