//! The measurements as numbers, and their means.

use std::collections::BTreeMap;

use serde::Serialize;

use super::contender::Name;
use super::load::Waited;
use super::repeated::Repeated;

/// The results for one lake.
#[derive(Serialize)]
pub(crate) struct Scale {
    pub(crate) scale: u32,
    pub(crate) trackcodes: u64,
    pub(crate) clients: usize,
    /// Number of clients that call.
    pub(crate) callers: usize,
    /// Rows that were equal for all contenders before any timing.
    pub(crate) compared_rows: usize,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Failed requests: the contender, the endpoint, and the response.
    pub(crate) failures: Vec<String>,
    /// With shorter ranges, so that responses are as large as at the first scale.
    pub(crate) short: Vec<Endpoint>,
    /// The largest caller, with all its rows.
    pub(crate) largest: Vec<Endpoint>,
    pub(crate) repeated: Option<Repeated>,
    pub(crate) first_answer_ms: BTreeMap<Name, f64>,
    pub(crate) peak_memory_bytes: BTreeMap<Name, u64>,
}

/// The results of one endpoint, by contender.
#[derive(Serialize)]
pub(crate) struct Endpoint {
    pub(crate) endpoint: &'static str,
    /// Without contenders that failed.
    pub(crate) figures: BTreeMap<Name, Figure>,
}

#[derive(Serialize)]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) waited: Waited,
    /// Of many concurrent callers.
    pub(crate) requests_per_second: Option<f64>,
}

impl Endpoint {
    pub(crate) fn new(endpoint: &'static str) -> Self {
        Self { endpoint, figures: BTreeMap::new() }
    }

    /// One line of progress output.
    pub(crate) fn told(&self) -> String {
        let figure = |(name, figure): (&Name, &Figure)| {
            let rate = figure.requests_per_second.map(|rate| format!(", {rate:.0}/s")).unwrap_or_default();
            format!("{name:?} {:.2} ms{rate}", figure.waited.p50_ms)
        };
        self.figures.iter().map(figure).collect::<Vec<_>>().join("; ")
    }
}

/// The geometric mean of a number over endpoints; `None` when the contender lacks one of them.
pub(crate) fn mean<'a>(
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
    name: Name,
    number: impl Fn(&Figure) -> Option<f64>,
) -> Option<f64> {
    let numbers: Option<Vec<f64>> =
        endpoints.into_iter().map(|endpoint| endpoint.figures.get(&name).and_then(&number)).collect();
    geometric_mean(&numbers?)
}

/// The arithmetic mean of the rows of a response.
pub(crate) fn mean_rows(endpoints: &[Endpoint], name: Name) -> Option<f64> {
    let rows: Option<Vec<f64>> =
        endpoints.iter().map(|endpoint| Some(endpoint.figures.get(&name)?.waited.rows)).collect();
    let rows = rows.filter(|rows| !rows.is_empty())?;
    Some(rows.iter().sum::<f64>() / rows.len() as f64)
}

/// `None` for no numbers, and when a number is not positive.
fn geometric_mean(numbers: &[f64]) -> Option<f64> {
    if numbers.is_empty() || numbers.iter().any(|number| *number <= 0.0) {
        return None;
    }
    Some((numbers.iter().map(|number| number.ln()).sum::<f64>() / numbers.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometric_mean_is_the_root_of_the_product() {
        assert!((geometric_mean(&[1.0, 4.0, 16.0]).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }

    #[test]
    fn a_mean_lacks_what_a_contender_lacks() {
        let waited = Waited { requests: 1, p50_ms: 2.0, p99_ms: 2.0, rows: 3.0, bytes: 4.0, rows_per_second: 5.0 };
        let mut one = Endpoint::new("a");
        one.figures.insert(Name::Lakegate, Figure { waited, requests_per_second: None });
        let p50 = |figure: &Figure| Some(figure.waited.p50_ms);
        assert!((mean([&one], Name::Lakegate, p50).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(mean([&one], Name::Duckdb, p50), None);
        assert_eq!(mean([&one], Name::Lakegate, |figure| figure.requests_per_second), None);
        assert_eq!(mean_rows(&[one], Name::Lakegate), Some(3.0));
    }
}
