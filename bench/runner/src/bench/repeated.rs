//! Measures identical requests: cached responses and `If-None-Match`, compared with a fixed server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contender::{Contender, Name};
use super::http::{Connection, request};
use super::load::{Load, quantile, throughput};

/// More requests than any server here can answer in the time.
const AT_MOST: usize = 2_000_000;

/// Measurements of each kind, in turn, because the machine's speed varies.
const TURNS: usize = 5;

/// Requests per second, each the median of several measurements.
#[derive(Serialize)]
pub(crate) struct Repeated {
    /// Size of the response.
    pub(crate) bytes: usize,
    pub(crate) kept_answer: f64,
    pub(crate) not_modified: f64,
    /// The fixed server, with a body of equal size. It also shows the limit of the load generator.
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
    let fixed = find(Name::Fixed).map(|fixed| (fixed, request(&format!("/fixed/{bytes}"), token, "")));
    let (mut kept, mut not_modified, mut of_fixed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        kept.push(rate(lakegate, plain.clone(), 200).await.context("a kept answer")?);
        not_modified.push(rate(lakegate, conditional.clone(), 304).await.context("`If-None-Match`")?);
        if let Some((fixed, request)) = &fixed {
            of_fixed.push(rate(fixed, request.clone(), 200).await?);
        }
    }
    let fixed = (!of_fixed.is_empty()).then(|| middle(of_fixed));
    Ok(Repeated { bytes, kept_answer: middle(kept), not_modified: middle(not_modified), fixed })
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    quantile(&rates, 0.5)
}
