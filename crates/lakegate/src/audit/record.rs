//! What a line of the log says. Every field is explained in `docs/audit.md`.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock;

/// One line.
#[derive(Debug)]
pub(super) enum Record {
    /// A request.
    Request(Box<RequestRecord>),
    /// A request that was answered like one before it.
    Repeated(RepeatedRecord),
    /// An administrative change.
    Change(ChangeRecord),
    /// Records that could not be written before this one.
    Gap(Gap),
}

/// Which of the records of a request it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// Before the first byte of a long answer.
    Started,
    /// The last, and mostly the only one.
    #[default]
    Ended,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a whole answer.
    Answered,
    /// With a refusal: the caller, or what it asked for, is to blame.
    Refused,
    /// With an error of the server.
    Failed,
    /// In the middle of the answer, by the server.
    Cut,
    /// By the caller, who left.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Refused, Self::Failed, Self::Cut, Self::Cancelled];
    /// The names of all of them, in the same order.
    pub const NAMES: [&str; 5] = ["answered", "refused", "failed", "cut", "cancelled"];

    /// The name, as records and metrics have it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// How a request ended whose answer was made with this status, as an answer or as a refusal.
    pub fn of_answer(status: u16, is_error: bool) -> Self {
        match is_error {
            false => Self::Answered,
            true if status < 500 => Self::Refused,
            true => Self::Failed,
        }
    }
}

/// What access decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decision {
    Allowed,
    Denied,
}

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestRecord {
    pub(super) head: Head,
    pub(super) asked: Asked,
    /// The text of what was asked, where it is known from an earlier request; then `asked` is not told.
    pub(super) asked_before: Option<AskedBefore>,
    pub(super) answered: Answered,
}

/// A request of which all is known that has to do with what was asked. Its record reads like any other.
#[derive(Clone, Debug)]
pub(super) struct RepeatedRecord {
    pub(super) time: DateTime<Utc>,
    pub(super) request_id: Uuid,
    pub(super) asked: AskedBefore,
    pub(super) answered: Answered,
}

/// Which request it is.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Head {
    pub(super) event: Event,
    #[serde(serialize_with = "time")]
    pub(super) time: DateTime<Utc>,
    pub(super) request_id: String,
}

/// What was asked by whom, and what was decided: the same for the same request of the same caller.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<String>,
    /// The token's id, which is no secret.
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

/// The text of an [`Asked`] that is complete.
#[derive(Clone, Debug)]
pub(super) struct AskedBefore(Arc<[u8]>);

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Answered {
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

/// An administrative change, as the access store has kept it.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeRecord {
    /// When it was made.
    #[serde(serialize_with = "time")]
    pub time: DateTime<Utc>,
    /// Its id in the access store.
    pub id: String,
    /// Who made it.
    pub actor: String,
    /// What was done, such as `grant.add`.
    pub action: String,
    /// To what. Never a token, nor the value of an attribute that is secret.
    pub detail: Value,
}

/// So many records could not be written.
#[derive(Debug, Serialize)]
pub(super) struct Gap {
    #[serde(serialize_with = "time")]
    pub(super) time: DateTime<Utc>,
    /// When the first of them was lost.
    #[serde(serialize_with = "time")]
    pub(super) since: DateTime<Utc>,
    pub(super) lost: u64,
}

/// What says of which kind a record is, beside those of requests.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Other<'a> {
    Change(&'a ChangeRecord),
    Gap(&'a Gap),
}

impl Record {
    /// Adds the record to `lines`. JSON escapes control characters, so that a record is one line whatever is in it.
    pub(super) fn write_to(&self, lines: &mut Vec<u8>) {
        let before = lines.len();
        let written = match self {
            Self::Request(request) => request.write_to(lines),
            Self::Repeated(request) => request.write_to(lines),
            Self::Change(change) => serde_json::to_writer(&mut *lines, &Other::Change(change)),
            Self::Gap(gap) => serde_json::to_writer(&mut *lines, &Other::Gap(gap)),
        };
        match written {
            Ok(()) => lines.push(b'\n'),
            Err(error) => {
                // Text, numbers and names as keys always have a form in JSON.
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
        match &self.asked_before {
            Some(AskedBefore(members)) => lines.extend_from_slice(members),
            None => add_members(lines, &self.asked)?,
        }
        add_members(lines, &self.answered)?;
        lines.push(b'}');
        Ok(())
    }
}

impl RepeatedRecord {
    fn write_to(&self, lines: &mut Vec<u8>) -> serde_json::Result<()> {
        lines.extend_from_slice(br#"{"kind":"request","event":"ended","time":""#);
        clock::add_stamp(self.time, lines);
        lines.extend_from_slice(br#"","request_id":""#);
        lines.extend_from_slice(self.request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        lines.push(b'"');
        lines.extend_from_slice(&self.asked.0);
        add_members(lines, &self.answered)?;
        lines.push(b'}');
        Ok(())
    }
}

impl AskedBefore {
    /// The text of what was asked; `None` where it has no form in JSON, which nothing has.
    pub(super) fn of(asked: &Asked) -> Option<Self> {
        let mut members = Vec::new();
        add_members(&mut members, asked).ok()?;
        Some(Self(members.into()))
    }
}

/// Adds the members of an object that has some to an object that has some and is open.
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
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
