//! What was measured, as JSON, as Markdown, and in `docs/performance.md` between two marks.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

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

#[derive(Serialize)]
pub(crate) struct Scale {
    pub(crate) scale: u32,
    pub(crate) trackcodes: u64,
    pub(crate) clients: usize,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) endpoints: Vec<Measured>,
}

#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) endpoint: &'static str,
    /// How many requests the latencies are from.
    pub(crate) requests: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) requests_per_second: f64,
    /// Of the answer in the middle.
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
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

    pub(crate) fn markdown(&self) -> String {
        let (cores, build, seconds) = (self.cores, self.build, self.seconds);
        let mut text = format!(
            "Setup: {cores} cores for server and bench together, loopback, {build}, at most {seconds} s a measurement.\n"
        );
        for scale in &self.scales {
            let memory = scale.peak_memory_bytes.map_or("not known".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
            let _ = write!(
                text,
                "\n### Scale {}\n\n{} trackcodes of {} clients. Peak memory of the server: {memory}.\n\n",
                scale.scale,
                grouped(scale.trackcodes),
                grouped(scale.clients as u64),
            );
            let _ =
                writeln!(text, "| endpoint | p50 ms | p99 ms | requests/s at {} | rows | bytes |", self.connections);
            text += "| --- | --: | --: | --: | --: | --: |\n";
            for measured in &scale.endpoints {
                let _ = writeln!(
                    text,
                    "| {} | {:.1} | {:.1} | {} | {} | {} |",
                    measured.endpoint,
                    measured.p50_ms,
                    measured.p99_ms,
                    grouped(measured.requests_per_second.round() as u64),
                    grouped(measured.rows as u64),
                    grouped(measured.bytes as u64),
                );
            }
        }
        text
    }

    /// Replaces what stands between the marks of the page.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("can not read `{PAGE}`"))?;
        let page = replaced(&page, &self.markdown())
            .with_context(|| format!("`{PAGE}` has lost its marks `{BEGIN}` and `{END}`"))?;
        fs::write(&path, page).with_context(|| format!("can not write `{PAGE}`"))
    }
}

fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
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
