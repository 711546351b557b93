//! The events of a server, as one closed type. Stages emit events; they write no log lines and touch no counters.

use std::time::Duration;

use lakegate_core::error::{Code, Error};
use lakegate_query::engine::QueryStatistics;

use super::metrics::Series;
use super::stage::Stages;
use super::traces::Trace;
use crate::audit::Outcome;

/// An event. It borrows everything, so it allocates nothing.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A request has ended. Emitted exactly once for each request.
    RequestEnded(&'a RequestEnd<'a>),
    /// A caller sees every row of governed tables, because of a role.
    AllRowsSeen {
        /// The request id.
        request_id: &'a str,
        /// The name of the principal.
        principal: &'a str,
        /// The endpoint.
        endpoint: &'a str,
        /// The tables.
        tables: &'a [String],
    },
    /// A query is queued or being planned.
    QueryQueued,
    /// A query has left the queue: it runs, was refused, or was abandoned.
    QueryDequeued,
    /// A query has started.
    QueryStarted,
    /// A query has ended.
    QueryFinished,
    /// The result cache was asked.
    CacheLookedUp(CacheLookup),
    /// A project or its tables were reloaded.
    Reloaded(Reload),
}

/// The result of asking the result cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLookup {
    /// The cache has the response.
    Hit,
    /// Another request was computing the same response, and this request waited for it (single flight).
    Joined,
    /// The cache does not have the response.
    Miss,
    /// The caller already has the response (304).
    NotModified,
}

/// The result of reloading a project or its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new project is served.
    Taken,
    /// The new project has faults; the previous one is still served.
    Refused,
    /// Tables have other files, which are served now.
    TablesTaken,
    /// The new table files are unreadable; the previous ones are still served.
    TablesRefused,
}

/// A request that has ended.
pub struct RequestEnd<'a> {
    /// The request id.
    pub request_id: &'a str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path without the query string and without a token. The caller chose it, so it goes to the log only.
    pub path: &'a str,
    /// The counters of the endpoint; `None` unless the project has it and the caller may know of it.
    pub endpoint: Option<&'a Series>,
    /// The outcome.
    pub outcome: Outcome,
    /// The HTTP status; `None` if no response was started.
    pub status: Option<u16>,
    /// The code of the refusal or failure.
    pub code: Option<Code>,
    /// The refusal or failure, with its error chain for the log.
    pub error: Option<&'a Error>,
    /// Rows handed to the connection.
    pub rows: u64,
    /// Bytes handed to the connection.
    pub bytes: u64,
    /// Statistics of the query, if one ran.
    pub query: Option<QueryStatistics>,
    /// The time of each stage.
    pub stages: &'a Stages,
    /// The time from the arrival of the request to its end.
    pub duration: Duration,
    /// The details of a slow query for the log.
    pub slow: Option<SlowQuery<'a>>,
    /// The trace that the request belongs to.
    pub trace: Option<&'a Trace>,
}

/// The log fields that only a slow query has.
#[derive(Clone, Copy)]
pub struct SlowQuery<'a> {
    /// The name of the principal.
    pub principal: &'a str,
    /// The policy fingerprint, if the audit log has it too.
    pub policy: Option<&'a str>,
    /// The governed plan without values, truncated.
    pub plan: &'a str,
    /// The total time of the stages, without the time that a slow reader takes.
    pub busy: Duration,
}

impl CacheLookup {
    /// All variants.
    pub const ALL: [CacheLookup; 4] =
        [CacheLookup::Hit, CacheLookup::Joined, CacheLookup::Miss, CacheLookup::NotModified];

    /// The label value in metrics.
    pub fn name(self) -> &'static str {
        match self {
            CacheLookup::Hit => "hit",
            CacheLookup::Joined => "joined",
            CacheLookup::Miss => "miss",
            CacheLookup::NotModified => "not_modified",
        }
    }
}

impl Reload {
    /// All variants.
    pub const ALL: [Reload; 4] = [Reload::Taken, Reload::Refused, Reload::TablesTaken, Reload::TablesRefused];

    /// The label value in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reload::Taken => "taken",
            Reload::Refused => "refused",
            Reload::TablesTaken => "tables_taken",
            Reload::TablesRefused => "tables_refused",
        }
    }
}
