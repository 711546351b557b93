//! Searches audit records with a filter, for the command line and the admin API.

use std::collections::VecDeque;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::read;

/// A filter for records. A field that is `None` matches everything.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The principal of a request, or the actor of a change.
    pub principal: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// The outcome of the request.
    pub outcome: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error code.
    pub code: Option<String>,
    /// The request id.
    pub request_id: Option<String>,
    /// `request`, `change` or `gap`.
    pub kind: Option<String>,
    /// The earliest time, inclusive.
    pub since: Option<DateTime<Utc>>,
    /// The latest time, exclusive.
    pub until: Option<DateTime<Utc>>,
    /// The maximum number of records; the latest ones are kept.
    pub limit: usize,
}

/// The result of a search.
#[derive(Debug)]
pub struct SearchResult {
    /// The records, oldest first.
    pub records: VecDeque<Value>,
    /// The number of earlier records that match as well.
    pub more: usize,
    /// The number of lines that are not records.
    pub broken: usize,
}

impl Search {
    /// Whether a record matches.
    pub fn matches(&self, record: &Value) -> bool {
        let is = |keys: &[&str], wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| keys.iter().any(|key| record[*key] == wanted))
        };
        let is_then = || {
            let time = record["time"].as_str().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
            time.is_some_and(|time| {
                self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
            })
        };
        is(&["principal", "actor"], &self.principal)
            && is(&["endpoint"], &self.endpoint)
            && is(&["outcome"], &self.outcome)
            && is(&["code"], &self.code)
            && is(&["request_id"], &self.request_id)
            && is(&["kind"], &self.kind)
            && self.status.is_none_or(|status| record["status"] == status)
            && ((self.since.is_none() && self.until.is_none()) || is_then())
    }

    /// Searches the log in a folder, rotated files included. A missing folder has no records.
    ///
    /// # Errors
    /// If a file is unreadable.
    pub fn run(&self, folder: &Path) -> anyhow::Result<SearchResult> {
        let mut result = SearchResult { records: VecDeque::new(), more: 0, broken: 0 };
        if !folder.is_dir() {
            return Ok(result);
        }
        result.broken = read::all(folder, |record| {
            if self.matches(&record) {
                result.records.push_back(record);
                if result.records.len() > self.limit {
                    result.records.pop_front();
                    result.more += 1;
                }
            }
            Ok(())
        })?;
        Ok(result)
    }
}
