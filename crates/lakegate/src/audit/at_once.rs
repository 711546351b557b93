//! Records requests that the fast path answers. Such a request needs no [`super::Trail`], because nothing can happen
//! between its start and its end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::log::{AuditLog, Place};
use super::record::{Answered, AskedBefore, Outcome, Record, RepeatedRecord};
use super::trail::Findings;
use crate::observe::ms;

/// A reserved slot for a record; empty if there is no log.
pub struct AtOnce<'a>(Option<(Place<'a>, AskedBefore)>);

/// The fields of the record that are not in the findings.
#[derive(Debug)]
pub struct Answer {
    /// When the request arrived.
    pub time: DateTime<Utc>,
    /// The request id.
    pub request_id: Uuid,
    /// The HTTP status.
    pub status: u16,
    /// Rows of the response.
    pub rows: u64,
    /// Bytes of the response.
    pub bytes: u64,
    /// The time from start to end.
    pub duration: Duration,
}

impl AuditLog {
    /// Reserves a slot for the record of a request with these findings. `None` if the request would have to wait for
    /// it, or if the record would be incomplete.
    pub fn at_once(&self, findings: &Findings) -> Option<AtOnce<'_>> {
        let Some(shared) = self.shared() else { return Some(AtOnce(None)) };
        if shared.is_strict() {
            return None;
        }
        let asked = findings.asked.clone()?;
        shared.place_at_once().map(|place| AtOnce(Some((place, asked))))
    }
}

impl AtOnce<'_> {
    /// Queues the record.
    pub fn record(self, answer: Answer) {
        let Some((place, asked)) = self.0 else { return };
        let Answer { time, request_id, status, rows, bytes, duration } = answer;
        let outcome = Some(Outcome::of_answer(status, false));
        let duration_ms = ms(duration);
        let answered = Answered { outcome, status: Some(status), code: None, rows, bytes, duration_ms };
        // Only strict mode waits for the disk.
        drop(place.put(Record::Repeated(RepeatedRecord { time, request_id, asked, answered })));
    }
}
