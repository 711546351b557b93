//! The results as JSON, as Markdown, and in `docs/performance.md` between two markers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contender::Name;
use super::figures::{Endpoint, Figure, Scale};
use super::summary;

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- bench: what follows is written by `cargo xtask bench --write` -->";
const END: &str = "<!-- bench: end -->";

#[derive(Serialize)]
pub(crate) struct Report {
    cores: usize,
    build: &'static str,
    connections: u16,
    seconds: u64,
    scales: Vec<Scale>,
}

impl Report {
    pub(crate) fn new(options: &super::Options, scales: Vec<Scale>) -> Self {
        let build = match (&options.binary, options.debug) {
            (Some(_), _) => "given binary",
            (None, true) => "debug build",
            (None, false) => "release build",
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, build, connections: options.connections, seconds: options.seconds, scales }
    }

    /// Whether a contender failed on some request.
    pub(crate) fn has_failures(&self) -> bool {
        self.scales.iter().any(|scale| !scale.failures.is_empty())
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn markdown(&self) -> String {
        let (cores, build, seconds) = (self.cores, self.build, self.seconds);
        let mut text = format!(
            "Setup: {cores} cores for servers and bench together, loopback, {build}, {seconds} s a measurement.\n\n\
             | what | lakegate | FastAPI + DuckDB | PostgreSQL + axum | ratio to DuckDB | must | aim |\n\
             | --- | --: | --: | --: | --: | --: | --: |\n"
        );
        for line in summary::lines(&self.scales, self.connections) {
            let summary::Line { what, lakegate, duckdb, postgres, ratio, must, aim } = line;
            let _ = writeln!(text, "| {what} | {lakegate} | {duckdb} | {postgres} | {ratio} | {must} | {aim} |");
        }
        for scale in &self.scales {
            let _ = write!(
                text,
                "\n### Scale {}\n\n{} trackcodes of {} clients, of which {} call. \
                 Before anything was timed, the contenders gave the same {} rows.\n\n",
                scale.scale,
                grouped(scale.trackcodes),
                grouped(scale.clients as u64),
                grouped(scale.callers as u64),
                grouped(scale.compared_rows as u64),
            );
            for failure in &scale.failures {
                let _ = writeln!(text, "- {failure}");
            }
            if !scale.failures.is_empty() {
                text.push('\n');
            }
            self.endpoints(&mut text, &scale.endpoints);
            if !scale.short.is_empty() {
                text += "\nThe same callers, with ranges so much shorter that answers are as small as at the first scale:\n\n";
                self.endpoints(&mut text, &scale.short);
            }
            if !scale.largest.is_empty() {
                text += "\nThe largest caller, all that it has:\n\n";
                self.endpoints(&mut text, &scale.largest);
            }
        }
        text
    }

    /// A table with a row per endpoint, and columns for the existing contenders and numbers.
    fn endpoints(&self, text: &mut String, endpoints: &[Endpoint]) {
        let figures = || endpoints.iter().flat_map(|endpoint| &endpoint.figures);
        let names: BTreeSet<_> = figures().map(|(name, _)| *name).collect();
        let has_rates = figures().any(|(_, figure)| figure.requests_per_second.is_some());
        let mut titles = vec!["endpoint".to_owned(), "rows".to_owned(), "bytes".to_owned()];
        titles.extend(names.iter().map(|name| format!("{} p50 ms", title(*name))));
        titles.extend(names.first().map(|name| format!("{} p99 ms", title(*name))));
        if has_rates {
            titles.extend(names.iter().map(|name| format!("{} requests/s at {}", title(*name), self.connections)));
        }
        let _ = writeln!(text, "| {} |\n| ---{} |", titles.join(" | "), " | --:".repeat(titles.len() - 1));
        for endpoint in endpoints {
            let Some(answer) = endpoint.figures.values().next() else { continue };
            let mut cells = vec![
                endpoint.endpoint.to_owned(),
                exact(answer.waited.rows),
                grouped(answer.waited.bytes.round() as u64),
            ];
            let cell = |name, number: fn(&Figure) -> Option<f64>| {
                endpoint.figures.get(name).and_then(number).map_or("fails".to_owned(), exact)
            };
            cells.extend(names.iter().map(|name| cell(name, |figure| Some(figure.waited.p50_ms))));
            cells.extend(names.first().map(|name| cell(name, |figure| Some(figure.waited.p99_ms))));
            if has_rates {
                cells.extend(names.iter().map(|name| cell(name, |figure| figure.requests_per_second)));
            }
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }

    /// Replaces the text between the markers of the page.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("cannot read `{PAGE}`"))?;
        let page = replaced(&page, &self.markdown())
            .with_context(|| format!("`{PAGE}` has lost its marks `{BEGIN}` and `{END}`"))?;
        fs::write(&path, page).with_context(|| format!("cannot write `{PAGE}`"))
    }
}

fn title(name: Name) -> &'static str {
    match name {
        Name::Lakegate => "lakegate",
        Name::Duckdb => "DuckDB",
        Name::Postgres => "PostgreSQL",
        Name::Fixed => "fixed",
    }
}

fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

/// Formats a number with two decimals below 10, one below 1,000, and none above.
fn exact(number: f64) -> String {
    match number {
        small if small < 10.0 => format!("{small:.2}"),
        middling if middling < 1_000.0 => format!("{middling:.1}"),
        large => grouped(large.round() as u64),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 12.34, 1_234.5].map(exact), ["0.50", "12.3", "1,235"]);
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("# A\n{BEGIN}\nold\n{END}\nrest\n");
        let once = replaced(&page, "new\n").unwrap();
        assert_eq!(once, format!("# A\n{BEGIN}\n\nnew\n\n{END}\nrest\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert_eq!(replaced("no marks", "x"), None);
    }
}
