//! The one place that reads the time, and how logs write it. Everything else takes it as an argument.

use std::cell::RefCell;
use std::io::Write;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

/// The time now.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Adds a time as logs have it: RFC 3339 in UTC, with microseconds. A thread puts the text of a second together once.
/// Leap seconds, of which the system's clock knows nothing, have no text here.
pub fn add_stamp(time: DateTime<Utc>, text: &mut Vec<u8>) {
    thread_local! {
        static SECOND: RefCell<(i64, Vec<u8>)> = const { RefCell::new((i64::MIN, Vec::new())) };
    }
    SECOND.with_borrow_mut(|(second, known)| {
        if *second != time.timestamp() || known.is_empty() {
            *second = time.timestamp();
            *known = time.to_rfc3339_opts(SecondsFormat::Secs, true).into_bytes();
            // The `Z` comes after the fraction.
            known.pop();
        }
        text.extend_from_slice(known);
    });
    // A vector takes everything.
    let _ = write!(text, ".{:06}Z", time.timestamp_subsec_micros());
}
