//! The records of the audit log and their JSON form. `docs/audit.md` explains every field.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::clock;
use crate::request_id::RequestId;

/// A line of the log.
#[derive(Debug)]
pub(super) enum Record {
    /// A request.
    Request(Box<RequestRecord>),
    /// An administrative change.
    Change(AuditChange),
    /// A gap: records that could not be written before this one.
    Gap(Gap),
}

/// The position of a record among those of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordEvent {
    /// Written before the first byte of a streamed response.
    Started,
    /// Written last, and mostly the only one.
    #[default]
    Ended,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete response.
    Answered,
    /// A refusal: the fault is the caller's or the request's.
    Refused,
    /// An error of the server.
    Failed,
    /// The server cut the response.
    Cut,
    /// The caller disconnected.
    Cancelled,
}

impl Outcome {
    /// All variants.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Refused, Self::Failed, Self::Cut, Self::Cancelled];
    /// The names of all variants, in the same order.
    pub const NAMES: [&str; 5] = ["answered", "refused", "failed", "cut", "cancelled"];

    /// The name in records and metrics.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The outcome of a response with this status.
    pub fn from_status(status: u16, is_error: bool) -> Self {
        match is_error {
            false => Self::Answered,
            true if status < 500 => Self::Refused,
            true => Self::Failed,
        }
    }
}

/// The decision on access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decision {
    Allowed,
    Denied,
}

/// The record of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestRecord {
    pub(super) head: Head,
    pub(super) request: RequestMembers,
    /// The serialised request members of an earlier, equal request. If set, they are written instead of `request`.
    pub(super) recalled: Option<SerializedRequest>,
    pub(super) response: ResponseMembers,
}

/// The identity of the request.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Head {
    pub(super) event: RecordEvent,
    #[serde(serialize_with = "time")]
    pub(super) time: DateTime<Utc>,
    pub(super) request_id: RequestId,
}

/// The request, its caller and the decision: equal for equal requests of the same caller.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RequestMembers {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<String>,
    /// The token's id, which is not secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) argument_names: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) more_argument_names: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) grants: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unfiltered: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) restricted: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
}

/// The serialised form of a complete [`RequestMembers`].
#[derive(Clone, Debug)]
pub struct SerializedRequest(Arc<[u8]>);

/// The result of the request.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ResponseMembers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) duration_ms: f64,
}

/// An administrative change, as the access store recorded it.
#[derive(Clone, Debug, Serialize)]
pub struct AuditChange {
    /// When the change was made.
    #[serde(serialize_with = "time")]
    pub time: DateTime<Utc>,
    /// Its id in the access store.
    pub id: String,
    /// Its author.
    pub actor: String,
    /// The action, such as `grant.add`.
    pub action: String,
    /// The details. They hold no token, and no value of a secret attribute.
    pub detail: Value,
}

/// A number of records that could not be written.
#[derive(Debug, Serialize)]
pub(super) struct Gap {
    #[serde(serialize_with = "time")]
    pub(super) time: DateTime<Utc>,
    /// When the first of them was lost.
    #[serde(serialize_with = "time")]
    pub(super) since: DateTime<Utc>,
    pub(super) lost: u64,
}

/// Adds the `kind` of records that are not requests.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum TaggedRecord<'a> {
    Change(&'a AuditChange),
    Gap(&'a Gap),
}

impl Record {
    /// Appends the record as one line. JSON escapes control characters, so no text can start another line.
    pub(super) fn write_to(&self, lines: &mut Vec<u8>) {
        let before = lines.len();
        let written = match self {
            Self::Request(request) => request.write_to(lines),
            Self::Change(change) => serde_json::to_writer(&mut *lines, &TaggedRecord::Change(change)),
            Self::Gap(gap) => serde_json::to_writer(&mut *lines, &TaggedRecord::Gap(gap)),
        };
        match written {
            Ok(()) => lines.push(b'\n'),
            Err(error) => {
                // Text, numbers and string keys can always be written as JSON.
                lines.truncate(before);
                tracing::error!(%error, "a record of the audit log has no form in JSON");
            }
        }
    }
}

impl RequestRecord {
    fn write_to(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        lines.extend_from_slice(br#"{"kind":"request""#);
        add_members(lines, &self.head)?;
        match &self.recalled {
            Some(SerializedRequest(members)) => lines.extend_from_slice(members),
            None => add_members(lines, &self.request)?,
        }
        add_members(lines, &self.response)?;
        lines.push(b'}');
        Ok(())
    }
}

impl SerializedRequest {
    /// Serialises a complete `request`; `None` if that fails, which does not happen in practice.
    pub(super) fn new(request: &RequestMembers) -> Option<Self> {
        let mut members = Vec::new();
        add_members(&mut members, request).ok()?;
        Some(Self(members.into()))
    }
}

/// Appends the members of an object to an open object. Both must have members.
fn add_members(lines: &mut Vec<u8>, object: &impl Serialize) -> serde_json::Result<()> {
    let begin = lines.len();
    serde_json::to_writer(&mut *lines, object)?;
    if let Some(brace) = lines.get_mut(begin) {
        *brace = b',';
    }
    lines.pop();
    Ok(())
}

fn time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::with_capacity(32);
    clock::add_stamp(*time, &mut text);
    // The stamp is ASCII.
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
