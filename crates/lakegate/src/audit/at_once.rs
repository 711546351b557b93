//! The record of a request that is answered the moment it comes: it has no trail, because nothing can happen to it between
//! its beginning and its end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::log::{AuditLog, Place};
use super::record::{Answered, AskedBefore, Outcome, Record, RepeatedRecord};
use super::trail::Findings;
use crate::observe::ms;

/// A place for a record; of none, where there is no log.
pub struct AtOnce<'a>(Option<(Place<'a>, AskedBefore)>);

/// What is recorded beside what was found out before.
#[derive(Debug)]
pub struct Answer {
    /// When the request came.
    pub time: DateTime<Utc>,
    /// Its id.
    pub request_id: Uuid,
    /// The status of its answer.
    pub status: u16,
    /// Rows of the answer.
    pub rows: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// From its beginning to its end.
    pub duration: Duration,
}

impl AuditLog {
    /// A place for the record of a request of which this was found out before. `None` where somebody would have to wait for it,
    /// or where the record would not be whole.
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
    /// Hands the record over.
    pub fn record(self, answer: Answer) {
        let Some((place, asked)) = self.0 else { return };
        let Answer { time, request_id, status, rows, bytes, duration } = answer;
        let outcome = Some(Outcome::of_answer(status, false));
        let duration_ms = ms(duration);
        let answered = Answered { outcome, status: Some(status), code: None, rows, bytes, duration_ms };
        // Outside the strict mode nobody waits for the disk.
        drop(place.put(Record::Repeated(RepeatedRecord { time, request_id, asked, answered })));
    }
}
