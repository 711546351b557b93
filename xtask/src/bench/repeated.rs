//! The same request again and again: kept answers, and `If-None-Match`, beside a server that does nothing else than answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contender::{Contender, Name};
use super::http::{Connection, request};
use super::load::{Load, throughput};

/// More than any server here gives in the time.
const AT_MOST: usize = 2_000_000;

/// Requests a second.
#[derive(Serialize)]
pub(crate) struct Repeated {
    /// Of the answer.
    pub(crate) bytes: usize,
    pub(crate) kept_answer: f64,
    pub(crate) not_modified: f64,
    /// The fixed server, with a body of the same size. It also says how fast the load generator is.
    pub(crate) fixed: Option<f64>,
}

pub(crate) async fn measure(
    contenders: &[Contender],
    path: &str,
    token: &str,
    connections: u16,
    time: Duration,
) -> Result<Repeated> {
    let find = |name| contenders.iter().find(|contender| contender.name == name);
    let lakegate = find(Name::Lakegate).context("lakegate does not run")?;
    let plain = request(path, token, "");
    let mut connection = Connection::open(&lakegate.address).await?;
    let answer = connection.expect(&plain, 200).await?;
    let bytes = answer.body()?.len();
    let tag = answer.header("etag").context("the answer has no `ETag`")?;
    let conditional = request(path, token, &format!("If-None-Match: {tag}\r\n"));

    let rate = async |contender: &Contender, request: Vec<u8>, status| {
        let requests = Arc::new(vec![request]);
        throughput(&contender.address, &Load { requests, status, at_most: AT_MOST, connections, time }).await
    };
    Ok(Repeated {
        bytes,
        kept_answer: rate(lakegate, plain, 200).await.context("a kept answer")?,
        not_modified: rate(lakegate, conditional, 304).await.context("`If-None-Match`")?,
        fixed: match find(Name::Fixed) {
            Some(fixed) => Some(rate(fixed, request(&format!("/fixed/{bytes}"), token, ""), 200).await?),
            None => None,
        },
    })
}
