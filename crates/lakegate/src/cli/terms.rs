//! The options for the terms of a grant: `--column`, `--unmask`, and the rules for arguments.

use anyhow::bail;
use clap::Args;
use lakegate_core::access::{Distance, DistanceTerm, ParameterTerm, Terms, Unmask};
use lakegate_core::limits::Limits;

/// The columns and unmasking that a grant allows or denies.
#[derive(Args, Debug)]
pub(super) struct TermsArgs {
    /// Apply to this output column; can be given several times
    #[arg(long, value_name = "NAME")]
    column: Vec<String>,
    /// Apply to the unmasking of `TABLE.COLUMN`, or `tag:NAME` for all columns with a tag; can be given several times
    #[arg(long, value_name = "WHAT", value_parser = Unmask::parse)]
    unmask: Vec<Unmask>,
}

/// The rules of a grant for arguments and responses.
#[derive(Args, Debug)]
pub(super) struct RuleArgs {
    /// Fix the argument to this value, even if it is left out
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    fix: Vec<(String, String)>,
    /// Restrict the argument to the caller's attribute, or to one of its values
    #[arg(long, value_name = "NAME=ATTRIBUTE", value_parser = pair)]
    fix_attribute: Vec<(String, String)>,
    /// Restrict the argument to one of these values
    #[arg(long, value_name = "NAME=A,B,…", value_parser = pair)]
    one_of: Vec<(String, String)>,
    /// Require at least this value of the argument
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    min: Vec<(String, String)>,
    /// Require at most this value of the argument
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    max: Vec<(String, String)>,
    /// Limit the distance between two arguments: `start..end=31d`
    #[arg(long, value_name = "FROM..TO=DISTANCE", value_parser = distance_term)]
    max_span: Vec<DistanceTerm>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// The limits on calls under a grant.
#[derive(Args, Debug)]
struct LimitArgs {
    /// Limit the duration of a call, in seconds
    #[arg(long, value_name = "N")]
    timeout_seconds: Option<u64>,
    /// Limit the memory of a query, in megabytes
    #[arg(long, value_name = "N")]
    memory_mb: Option<u64>,
    /// Limit the rows of a response
    #[arg(long, value_name = "N")]
    max_rows: Option<u64>,
    /// Limit the size of a response, in megabytes before compression
    #[arg(long, value_name = "N")]
    max_result_mb: Option<u64>,
    /// Limit what a query reads, in megabytes
    #[arg(long, value_name = "N")]
    max_scan_mb: Option<u64>,
    /// Limit the rows that a query reads
    #[arg(long, value_name = "N")]
    max_scan_rows: Option<u64>,
    /// Limit the caller's concurrent queries
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u64>,
    /// Limit the sustained rate of the caller's requests, per second
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u64>,
    /// Limit the burst of requests after a pause
    #[arg(long, value_name = "N")]
    request_burst: Option<u64>,
    /// Limit the caller's requests per day
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
    /// Adds these rules to the terms.
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
        terms.distance_limits = self.max_span;
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

fn distance_term(text: &str) -> Result<DistanceTerm, String> {
    let wrong = || "write `FROM..TO=DISTANCE`, such as `start..end=31d`".to_owned();
    let (names, distance) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = names.split_once("..").ok_or_else(wrong)?;
    let at_most = Distance::parse(distance).ok_or_else(wrong)?;
    Ok(DistanceTerm { from: from.to_owned(), to: to.to_owned(), at_most })
}
