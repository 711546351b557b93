//! All measurements of one lake. The contenders take turns, so that disturbances affect all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::callers::Callers;
use super::compare::Compared;
use super::contender::{Contender, Name, duckdb_command};
use super::figures::{Endpoint, Figure, Scale};
use super::lake::Lake;
use super::load::{Limits, Load, latency, throughput};
use super::requests::{ORDINARY_RANGE, Purpose, ordinary, path, whole};
use super::{compare, first_answer, repeated, server};

/// More requests than any contender can answer in the time.
const REQUESTS: usize = 100_000;

/// Compared requests per endpoint: of ordinary callers, and of the largest one.
const COMPARED: usize = 6;
const COMPARED_OF_LARGEST: u32 = 2;

/// The parameters of the benchmark.
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a Path,
    pub(crate) binary: PathBuf,
    pub(crate) contenders: &'a [Name],
    pub(crate) endpoints: Vec<&'static str>,
    pub(crate) time: Duration,
    pub(crate) connections: u16,
    pub(crate) fresh: bool,
}

/// Measurements of a lake besides the endpoints.
pub(crate) struct Share {
    /// Whether to measure identical requests.
    pub(crate) is_first: bool,
    /// Whether to measure the largest caller, and process starts.
    pub(crate) is_last: bool,
    /// Ratio of rows per client to those of the first lake.
    pub(crate) times_the_first: i32,
}

impl Plan<'_> {
    /// Measures one lake with all contenders.
    pub(crate) async fn measure(&self, scale: u32, share: &Share) -> Result<Scale> {
        eprintln!("bench: scale {scale}: the lake");
        let lake = Lake::make(&self.binary, self.root, scale, self.fresh)?;
        let callers = Callers::make(&self.binary, &lake).await?;
        let contenders = self.start(&lake, &callers)?;
        let Compared { rows: compared_rows, mut failures } =
            self.compare(&contenders, &callers).await.context("before anything was timed")?;
        eprintln!("bench: scale {scale}: all who answered gave the same {compared_rows} rows");

        let mut endpoints = Vec::new();
        for endpoint in &self.endpoints {
            eprintln!("bench: scale {scale}, {endpoint}");
            endpoints.push(told(self.ordinary(&contenders, &callers, endpoint, &mut failures).await));
        }
        let (mut short, mut largest) = (Vec::new(), Vec::new());
        if share.times_the_first > 1 {
            eprintln!("bench: scale {scale}, ranges {} times shorter", share.times_the_first);
            for endpoint in &self.endpoints {
                short.push(told(
                    self.short(&contenders, &callers, endpoint, share.times_the_first, &mut failures).await,
                ));
            }
        }
        if share.is_last {
            for endpoint in &self.endpoints {
                eprintln!("bench: scale {scale}, the largest caller, {endpoint}");
                largest.push(told(self.largest(&contenders, &callers, endpoint, &mut failures).await));
            }
        }
        let peak_memory_bytes =
            contenders.iter().filter_map(|contender| Some((contender.name, contender.memory()?))).collect();
        let start = callers.span.first + chrono::Duration::days(30);
        let of_ordinary = |endpoint| path(endpoint, start, start + ORDINARY_RANGE);
        let repeated = if share.is_first {
            eprintln!("bench: scale {scale}, identical requests");
            let path = of_ordinary("count_trackcode_by_range");
            let token = &callers.ordinary[callers.ordinary.len() / 2];
            Some(repeated::measure(&contenders, &path, token, self.connections, self.time).await?)
        } else {
            None
        };
        drop(contenders);

        let mut first_answer_ms = std::collections::BTreeMap::new();
        if share.is_last {
            eprintln!("bench: scale {scale}, from start to first answer");
            let paths = ["count_trackcode_by_range", "count_orders_by_range"].map(of_ordinary);
            let command = |port| Ok(server::serve(&self.binary, &lake.project, &format!("127.0.0.1:{port}")));
            first_answer_ms.insert(Name::Lakegate, first_answer::worst(command, &paths, &callers.ordinary[0]).await?);
            if self.contenders.contains(&Name::Duckdb) {
                let command = |port: u16| duckdb_command(self.root, &lake, &callers, &port.to_string());
                first_answer_ms.insert(Name::Duckdb, first_answer::worst(command, &paths, &callers.ordinary[0]).await?);
            }
        }
        Ok(Scale {
            scale,
            trackcodes: callers.trackcodes,
            clients: callers.clients,
            callers: callers.ordinary.len(),
            compared_rows,
            failures,
            endpoints,
            short,
            largest,
            repeated,
            first_answer_ms,
            peak_memory_bytes,
        })
    }

    fn start(&self, lake: &Lake, callers: &Callers) -> Result<Vec<Contender>> {
        let mut contenders = vec![Contender::lakegate(&self.binary, lake)?];
        for name in self.contenders {
            match name {
                Name::Lakegate => {}
                Name::Duckdb => contenders.push(Contender::duckdb(self.root, lake, callers)?),
                Name::Postgres => contenders.extend(Contender::postgres(self.root, lake, callers)?),
                Name::Fixed => contenders.push(Contender::fixed(self.root)?),
            }
        }
        Ok(contenders)
    }

    async fn compare(&self, contenders: &[Contender], callers: &Callers) -> Result<Compared> {
        let mut all = Compared::default();
        for endpoint in &self.endpoints {
            let mut requests =
                ordinary(endpoint, &callers.ordinary, callers.span, ORDINARY_RANGE, Purpose::Compare, COMPARED);
            // One day of the largest caller, which at a large scale has more rows than a month of the others.
            let mut day = callers.span;
            day.first += chrono::Duration::days(45);
            day.last = day.first + chrono::Duration::days(1);
            requests.extend(whole(endpoint, &callers.largest, day, COMPARED_OF_LARGEST));
            let compared = compare::compare(contenders, &requests).await.with_context(|| format!("`{endpoint}`"))?;
            ensure!(compared.rows > 0, "the requests of `{endpoint}` that were compared have no rows");
            all.rows += compared.rows;
            all.failures.extend(compared.failures);
        }
        Ok(all)
    }

    /// Ordinary callers: one alone, then many at once.
    async fn ordinary(
        &self,
        contenders: &[Contender],
        callers: &Callers,
        endpoint: &'static str,
        failures: &mut Vec<String>,
    ) -> Endpoint {
        let choose = |purpose| ordinary(endpoint, &callers.ordinary, callers.span, ORDINARY_RANGE, purpose, REQUESTS);
        let (alone, together) = (choose(Purpose::Latency), Arc::new(choose(Purpose::Throughput)));
        let limits = Limits { time: self.time, warm_up: 20, at_least: 10 };
        let mut measured = self.alone(contenders, endpoint, &alone, limits, failures).await;
        for contender in real(contenders) {
            let load = Load {
                requests: Arc::clone(&together),
                status: 200,
                at_most: together.len(),
                connections: self.connections,
                time: self.time,
            };
            let Some(figure) = measured.figures.get_mut(&contender.name) else { continue };
            match throughput(&contender.address, &load).await {
                Ok(rate) => figure.requests_per_second = Some(rate),
                Err(error) => {
                    failures.push(format!("{:?}, {} at once: {error:#}", contender.name, self.connections));
                }
            }
        }
        measured
    }

    /// Ordinary callers in a larger lake, with ranges so short that row counts match the first lake.
    async fn short(
        &self,
        contenders: &[Contender],
        callers: &Callers,
        endpoint: &'static str,
        times: i32,
        failures: &mut Vec<String>,
    ) -> Endpoint {
        let length = ORDINARY_RANGE / times;
        let requests = ordinary(endpoint, &callers.ordinary, callers.span, length, Purpose::Short, REQUESTS);
        let limits = Limits { time: self.time, warm_up: 20, at_least: 10 };
        self.alone(contenders, endpoint, &requests, limits, failures).await
    }

    /// The largest caller, with all its rows.
    async fn largest(
        &self,
        contenders: &[Contender],
        callers: &Callers,
        endpoint: &'static str,
        failures: &mut Vec<String>,
    ) -> Endpoint {
        let requests = whole(endpoint, &callers.largest, callers.span, 10_000);
        let limits = Limits { time: self.time, warm_up: 1, at_least: 2 };
        self.alone(contenders, endpoint, &requests, limits, failures).await
    }

    /// Measures one contender after another. A contender that fails is left out.
    async fn alone(
        &self,
        contenders: &[Contender],
        endpoint: &'static str,
        requests: &[Vec<u8>],
        limits: Limits,
        failures: &mut Vec<String>,
    ) -> Endpoint {
        let mut measured = Endpoint::new(endpoint);
        for contender in real(contenders) {
            match latency(&contender.address, requests, limits).await {
                Ok(waited) => {
                    measured.figures.insert(contender.name, Figure { waited, requests_per_second: None });
                }
                Err(error) => failures.push(format!("{:?}: {error:#}", contender.name)),
            }
        }
        measured
    }
}

/// The contenders that return data.
fn real(contenders: &[Contender]) -> impl Iterator<Item = &Contender> {
    contenders.iter().filter(|contender| contender.name != Name::Fixed)
}

fn told(measured: Endpoint) -> Endpoint {
    eprintln!("bench:   {}", measured.told());
    measured
}
