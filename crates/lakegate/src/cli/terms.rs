//! The terms of a grant on the command line: `--column`, `--unmask`, and the rules for arguments.

use anyhow::bail;
use clap::Args;
use lakegate_core::access::{Distance, ParameterTerm, SpanTerm, Terms, Unmask};
use lakegate_core::limits::Limits;

/// What a grant gives of an endpoint, or takes away.
#[derive(Args, Debug)]
pub(super) struct TermsArgs {
    /// An output column; can be given several times
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// `TABLE.COLUMN`, or `tag:NAME` for all columns with a tag; can be given several times
    #[arg(long, value_name = "WHAT", value_parser = Unmask::parse)]
    unmask: Vec<Unmask>,
}

/// What a grant asks of arguments and answers.
#[derive(Args, Debug)]
pub(super) struct RuleArgs {
    /// The argument is this value, also when it is left out
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    fix: Vec<(String, String)>,
    /// The argument is the caller's attribute, or one of its values
    #[arg(long, value_name = "NAME=ATTRIBUTE", value_parser = pair)]
    fix_attribute: Vec<(String, String)>,
    /// The argument is one of these values
    #[arg(long, value_name = "NAME=A,B,…", value_parser = pair)]
    one_of: Vec<(String, String)>,
    /// The argument is at least this
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    min: Vec<(String, String)>,
    /// The argument is at most this
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    max: Vec<(String, String)>,
    /// Two arguments are at most so far apart: `start..end=31d`
    #[arg(long, value_name = "FROM..TO=DISTANCE", value_parser = span)]
    max_span: Vec<SpanTerm>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What bounds calls under a grant.
#[derive(Args, Debug)]
struct LimitArgs {
    /// The longest time of a call, in seconds
    #[arg(long, value_name = "N")]
    timeout_seconds: Option<u64>,
    /// The memory of a query, in megabytes
    #[arg(long, value_name = "N")]
    memory_mb: Option<u64>,
    /// The most rows of an answer
    #[arg(long, value_name = "N")]
    max_rows: Option<u64>,
    /// The largest answer, in megabytes before compression
    #[arg(long, value_name = "N")]
    max_result_mb: Option<u64>,
    /// The most that a query may read, in megabytes
    #[arg(long, value_name = "N")]
    max_scan_mb: Option<u64>,
    /// The most rows that a query may read
    #[arg(long, value_name = "N")]
    max_scan_rows: Option<u64>,
    /// How many queries of the caller run at once
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u64>,
    /// How many requests a second the caller may make in the long run
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u64>,
    /// How many of them at once after a pause
    #[arg(long, value_name = "N")]
    request_burst: Option<u64>,
    /// How many requests the caller may make in a day
    #[arg(long, value_name = "N")]
    requests_per_day: Option<u64>,
}

impl LimitArgs {
    fn limits(self) -> Limits {
        Limits {
            timeout_seconds: self.timeout_seconds,
            memory_mb: self.memory_mb,
            max_rows: self.max_rows,
            max_result_mb: self.max_result_mb,
            max_scan_mb: self.max_scan_mb,
            max_scan_rows: self.max_scan_rows,
            max_concurrent: self.max_concurrent,
            requests_per_second: self.requests_per_second,
            request_burst: self.request_burst,
            requests_per_day: self.requests_per_day,
        }
    }
}

impl TermsArgs {
    pub(super) fn terms(self) -> Terms {
        let columns = (!self.column.is_empty()).then(|| self.column.into_iter().collect());
        Terms { columns, unmask: self.unmask.into_iter().collect(), ..Terms::default() }
    }
}

impl RuleArgs {
    /// The terms with these rules.
    pub(super) fn with(self, mut terms: Terms) -> anyhow::Result<Terms> {
        let mut set = |flag: &str, pairs: Vec<(String, String)>, put: fn(&mut ParameterTerm, String) -> bool| {
            for (name, text) in pairs {
                if !put(terms.parameters.entry(name.clone()).or_default(), text) {
                    bail!("`--{flag}` is given twice for parameter `{name}`");
                }
            }
            Ok(())
        };
        set("fix", self.fix, |term, text| term.fixed.replace(text).is_none())?;
        set("fix-attribute", self.fix_attribute, |term, text| term.attribute.replace(text).is_none())?;
        set("one-of", self.one_of, |term, text| {
            let is_first = term.one_of.is_empty();
            term.one_of = text.split(',').map(str::to_owned).collect();
            is_first
        })?;
        set("min", self.min, |term, text| term.min.replace(text).is_none())?;
        set("max", self.max, |term, text| term.max.replace(text).is_none())?;
        terms.spans = self.max_span;
        terms.limits = self.limits.limits();
        Ok(terms)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write `NAME=VALUE`".to_owned()),
    }
}

fn span(text: &str) -> Result<SpanTerm, String> {
    let wrong = || "write `FROM..TO=DISTANCE`, such as `start..end=31d`".to_owned();
    let (names, distance) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = names.split_once("..").ok_or_else(wrong)?;
    let at_most = Distance::parse(distance).ok_or_else(wrong)?;
    Ok(SpanTerm { from: from.to_owned(), to: to.to_owned(), at_most })
}
