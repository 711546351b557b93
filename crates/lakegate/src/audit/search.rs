//! Looking for records: what they must be like, for the command line and the admin API alike.

use std::collections::VecDeque;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::read;

/// What a record must be like. What is not said may be anything.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The principal of a request, or the actor of a change.
    pub principal: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// How the request ended.
    pub outcome: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The error code.
    pub code: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// `request`, `change` or `gap`.
    pub kind: Option<String>,
    /// From then on.
    pub since: Option<DateTime<Utc>>,
    /// Before then.
    pub until: Option<DateTime<Utc>>,
    /// The most records; of more, the last.
    pub limit: usize,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The records, in the order of time.
    pub records: VecDeque<Value>,
    /// How many earlier ones fit as well.
    pub more: usize,
    /// How many lines are no records.
    pub broken: usize,
}

impl Search {
    /// Whether a record fits.
    pub fn fits(&self, record: &Value) -> bool {
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

    /// Reads the log in a folder, with the files that were put aside. No folder is a log without records.
    ///
    /// # Errors
    /// When a file can not be read.
    pub fn run(&self, folder: &Path) -> anyhow::Result<Found> {
        let mut found = Found { records: VecDeque::new(), more: 0, broken: 0 };
        if !folder.is_dir() {
            return Ok(found);
        }
        found.broken = read::all(folder, |record| {
            if self.fits(&record) {
                found.records.push_back(record);
                if found.records.len() > self.limit {
                    found.records.pop_front();
                    found.more += 1;
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}
