//! What happens in a server, as one closed type. Stages say what happened; they write no log line and touch no counter.

use std::time::Duration;

use lakegate_core::error::{Code, Error};
use lakegate_query::engine::QueryStatistics;

use super::answered::Said;
use super::metrics::Series;
use super::stage::Stages;
use super::traces::Trace;
use crate::audit::Outcome;

/// Something that happened. Borrows everything, so that an event costs no memory.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A request has ended, one way or another. Exactly one for each.
    RequestEnded(&'a Ended<'a>),
    /// A caller sees every row of governed tables, because of a role.
    AllRowsSeen {
        /// The request.
        request_id: &'a str,
        /// Who.
        principal: &'a str,
        /// The endpoint.
        endpoint: &'a str,
        /// The tables.
        tables: &'a [String],
    },
    /// A query waits for its turn, or is planned.
    QueryWaits,
    /// It does not any more: it runs, was refused, or nobody wants it.
    QueryWaitsNoMore,
    /// A query runs.
    QueryRuns,
    /// It does not any more.
    QueryRunsNoMore,
    /// The result cache was asked.
    CacheAsked(CacheAnswer),
    /// A project or its tables were read again.
    Reloaded(Reload),
}

/// What the result cache said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheAnswer {
    /// It had the answer.
    Hit,
    /// Another request was making the same answer, and this one waited for it.
    Joined,
    /// It had not.
    Miss,
    /// What the caller has already is the answer.
    NotModified,
}

/// What came of reading a project or its tables again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is served now.
    Taken,
    /// It has faults; what was served before is served on.
    Refused,
    /// Tables have other files, which are served now.
    TablesTaken,
    /// They can not be read; what was served before is served on.
    TablesRefused,
}

/// A request at its end.
pub struct Ended<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// Its method.
    pub method: &'static str,
    /// Its path without the query string, and without a token. The caller chose it: for the log alone.
    pub path: &'a str,
    /// The endpoint, if the project has one of this name that the caller may know of.
    pub endpoint: Option<&'a Series>,
    /// How it ended.
    pub outcome: Outcome,
    /// The status of its head, if one was made.
    pub status: Option<u16>,
    /// The code of the refusal or failure.
    pub code: Option<Code>,
    /// The refusal or failure itself, with causes for the log.
    pub error: Option<&'a Error>,
    /// Rows handed to the connection.
    pub rows: u64,
    /// Bytes handed to the connection.
    pub bytes: u64,
    /// What its query read, if one ran.
    pub query: Option<QueryStatistics>,
    /// How long each stage took.
    pub stages: &'a Stages,
    /// From the first look at it to its end.
    pub duration: Duration,
    /// What the log says of a query that was slow.
    pub slow: Option<Slow<'a>>,
    /// Where it belongs among traces.
    pub trace: Option<&'a Trace>,
    /// What the log says of what was asked, if it was put together before.
    pub said: Option<&'a Said>,
}

/// What is told of a slow query beside what is told of all.
#[derive(Clone, Copy)]
pub struct Slow<'a> {
    /// Who asked.
    pub principal: &'a str,
    /// The policy fingerprint, where the audit log has it too.
    pub policy: Option<&'a str>,
    /// The governed plan without values, cut short.
    pub plan: &'a str,
    /// The time of its stages together: what a slow reader takes is not in it.
    pub busy: Duration,
}

impl CacheAnswer {
    /// All of them.
    pub const ALL: [CacheAnswer; 4] =
        [CacheAnswer::Hit, CacheAnswer::Joined, CacheAnswer::Miss, CacheAnswer::NotModified];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            CacheAnswer::Hit => "hit",
            CacheAnswer::Joined => "joined",
            CacheAnswer::Miss => "miss",
            CacheAnswer::NotModified => "not_modified",
        }
    }
}

impl Reload {
    /// All of them.
    pub const ALL: [Reload; 4] = [Reload::Taken, Reload::Refused, Reload::TablesTaken, Reload::TablesRefused];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Reload::Taken => "taken",
            Reload::Refused => "refused",
            Reload::TablesTaken => "tables_taken",
            Reload::TablesRefused => "tables_refused",
        }
    }
}
