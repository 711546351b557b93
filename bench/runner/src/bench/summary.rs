//! The summary table: lakegate's required and desired values, and its results.

use super::LISTINGS;
use super::contender::Name;
use super::figures::{Endpoint, Figure, Scale, mean, mean_rows};

/// A line of the table; unknown values are empty.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) lakegate: String,
    pub(crate) duckdb: String,
    pub(crate) postgres: String,
    pub(crate) ratio: String,
    pub(crate) must: &'static str,
    pub(crate) aim: &'static str,
}

/// The contenders that return data, in column order.
const CONTENDERS: [Name; 3] = [Name::Lakegate, Name::Duckdb, Name::Postgres];

/// The unit of a number, which decides its format, and whether smaller values are better in a ratio.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    PerSecond,
    Mebibytes,
}

pub(crate) fn lines(scales: &[Scale], connections: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    for scale in scales {
        let large = scale.scale >= 100;
        let p50 = CONTENDERS.map(|name| mean(&scale.endpoints, name, p50));
        let rate = CONTENDERS.map(|name| mean(&scale.endpoints, name, |figure| figure.requests_per_second));
        let aim = if large { "40x, ahead of PostgreSQL" } else { "25x" };
        let what = format!("p50, 1 connection, scale {}", scale.scale);
        lines.push(line(what, p50, Unit::Milliseconds).must(if large { "20x" } else { "10x" }, aim));
        let what = format!("requests/s, {connections} connections, scale {}", scale.scale);
        let targets = if large { ("20x", "40x") } else { ("10x", "30x") };
        lines.push(line(what, rate, Unit::PerSecond).must(targets.0, targets.1));
    }
    for scale in scales.iter().filter(|scale| !scale.largest.is_empty()) {
        lines.extend(of_largest(scale));
    }
    for scale in scales.iter().filter(|scale| !scale.short.is_empty()) {
        lines.extend(same_rows(&scales[0], scale));
    }
    lines.extend(scales.iter().flat_map(identical));
    for scale in scales {
        if !scale.first_answer_ms.is_empty() {
            let times = CONTENDERS.map(|name| scale.first_answer_ms.get(&name).copied());
            let what = format!("process start to first answer, scale {}", scale.scale);
            lines.push(Line { ratio: String::new(), ..line(what, times, Unit::Milliseconds).must("1 s", "0.2 s") });
        }
    }
    if let Some(scale) = scales.last() {
        let memory = CONTENDERS.map(|name| scale.peak_memory_bytes.get(&name).map(|bytes| *bytes as f64));
        let what = format!("peak memory, scale {}", scale.scale);
        lines.push(Line { ratio: String::new(), ..line(what, memory, Unit::Mebibytes).must("1 GiB", "512 MiB") });
    }
    lines
}

fn of_largest(scale: &Scale) -> Vec<Line> {
    let (listings, aggregates): (Vec<&Endpoint>, Vec<_>) =
        scale.largest.iter().partition(|endpoint| LISTINGS.contains(&endpoint.endpoint));
    let count = |endpoints: &[&Endpoint]| match endpoints.len() {
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        6 => "six".to_owned(),
        other => other.to_string(),
    };
    let mut lines = Vec::new();
    if !aggregates.is_empty() {
        let times = CONTENDERS.map(|name| mean(aggregates.iter().copied(), name, p50));
        let what = format!("the largest caller's {} aggregates, p50, scale {}", count(&aggregates), scale.scale);
        lines.push(line(what, times, Unit::Milliseconds).must("3x", "10x"));
    }
    if !listings.is_empty() {
        let rates =
            CONTENDERS.map(|name| mean(listings.iter().copied(), name, |figure| Some(figure.waited.rows_per_second)));
        let bytes = mean(listings.iter().copied(), Name::Lakegate, |figure| Some(figure.waited.bytes)).unwrap_or(0.0);
        let what = format!(
            "the largest caller's {} full listings ({:.0} MB of JSON), rows/s, scale {}",
            count(&listings),
            bytes / 1e6,
            scale.scale
        );
        lines.push(line(what, rates, Unit::PerSecond).must("1.5x", "3x"));
    }
    lines
}

/// The p50 in the larger lake divided by that in the smaller one. Each contender is compared with itself.
fn same_rows(first: &Scale, scale: &Scale) -> Option<Line> {
    let growth = CONTENDERS.map(|name| Some(mean(&scale.short, name, p50)? / mean(&first.endpoints, name, p50)?));
    let rows = |endpoints| mean_rows(endpoints, Name::Lakegate);
    let [lakegate, duckdb, postgres] = growth.map(|growth| growth.map(|growth| format!("{growth:.2}")));
    Some(Line {
        what: format!(
            "p50 at scale {} over p50 at scale {}, as many rows in the answer ({:.1} and {:.1})",
            scale.scale,
            first.scale,
            rows(&scale.short)?,
            rows(&first.endpoints)?,
        ),
        lakegate: lakegate?,
        duckdb: duckdb.unwrap_or_default(),
        postgres: postgres.unwrap_or_default(),
        ratio: String::new(),
        must: "1.5",
        aim: "1.1",
    })
}

/// Compares identical requests with the fixed server.
fn identical(scale: &Scale) -> Vec<Line> {
    let Some(repeated) = &scale.repeated else { return Vec::new() };
    let line = |what: &str, rate: f64, must, aim| {
        let fixed = repeated.fixed.map(|fixed| shown(fixed, Unit::PerSecond)).unwrap_or_default();
        Line {
            what: format!("{what} ({} bytes), requests/s; the fixed server: {fixed}", repeated.bytes),
            lakegate: shown(rate, Unit::PerSecond),
            ratio: repeated.fixed.map(|fixed| format!("{:.2} of fixed", rate / fixed)).unwrap_or_default(),
            must,
            aim,
            ..Line::default()
        }
    };
    vec![
        line("an identical request again", repeated.kept_answer, "0.55", "0.85"),
        line("`If-None-Match` hit", repeated.not_modified, "0.6", "0.9"),
    ]
}

impl Line {
    fn must(self, must: &'static str, aim: &'static str) -> Self {
        Self { must, aim, ..self }
    }
}

fn line(what: String, numbers: [Option<f64>; 3], unit: Unit) -> Line {
    let ratio = match (numbers[0], numbers[1], unit) {
        (Some(lakegate), Some(duckdb), Unit::PerSecond) => Some(lakegate / duckdb),
        (Some(lakegate), Some(duckdb), _) => Some(duckdb / lakegate),
        _ => None,
    };
    let shown = numbers.map(|number| number.map(|number| shown(number, unit)).unwrap_or_default());
    let [lakegate, duckdb, postgres] = shown;
    let lakegate = if lakegate.is_empty() { "fails".to_owned() } else { lakegate };
    let ratio = ratio.map(|ratio| if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.1}x") });
    let ratio = ratio.unwrap_or_default();
    Line { what, lakegate, duckdb, postgres, ratio, ..Line::default() }
}

fn p50(figure: &Figure) -> Option<f64> {
    Some(figure.waited.p50_ms)
}

fn shown(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds if number < 10.0 => format!("{number:.2} ms"),
        Unit::Milliseconds if number < 100.0 => format!("{number:.1} ms"),
        Unit::Milliseconds => format!("{number:.0} ms"),
        Unit::PerSecond if number < 10.0 => format!("{number:.1}"),
        Unit::PerSecond => super::report::grouped(number.round() as u64),
        Unit::Mebibytes => format!("{:.0} MiB", number / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_says_how_many_times_better() {
        let times = line("p50".to_owned(), [Some(2.0), Some(30.0), None], Unit::Milliseconds);
        assert_eq!((times.ratio.as_str(), times.lakegate.as_str(), times.postgres.as_str()), ("15.0x", "2.00 ms", ""));
        let rates = line("rate".to_owned(), [Some(2_000.0), Some(100.0), Some(1.25)], Unit::PerSecond);
        assert_eq!((rates.ratio.as_str(), rates.lakegate.as_str(), rates.postgres.as_str()), ("20.0x", "2,000", "1.2"));
        assert_eq!(line("x".to_owned(), [Some(1.0), None, None], Unit::PerSecond).ratio, "");
    }

    #[test]
    fn numbers_are_shown_as_exactly_as_they_are_known() {
        let shown = [0.5, 12.345, 1234.5].map(|number| shown(number, Unit::Milliseconds));
        assert_eq!(shown, ["0.50 ms", "12.3 ms", "1234 ms"]);
    }
}
