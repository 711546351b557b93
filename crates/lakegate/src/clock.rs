//! Reads the time, and formats it for logs. All other code takes the time as an argument.

use std::cell::RefCell;
use std::io::Write;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

/// The current time.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Appends a time in RFC 3339, in UTC with microseconds. Each thread formats the text of a second once. Leap seconds
/// are not supported, because the system clock does not have them.
pub fn add_stamp(time: DateTime<Utc>, text: &mut Vec<u8>) {
    thread_local! {
        static SECOND: RefCell<(i64, Vec<u8>)> = const { RefCell::new((i64::MIN, Vec::new())) };
    }
    SECOND.with_borrow_mut(|(second, known)| {
        if *second != time.timestamp() || known.is_empty() {
            *second = time.timestamp();
            *known = time.to_rfc3339_opts(SecondsFormat::Secs, true).into_bytes();
            // The `Z` follows the fraction.
            known.pop();
        }
        text.extend_from_slice(known);
    });
    // Writing to a vector cannot fail.
    let _ = write!(text, ".{:06}Z", time.timestamp_subsec_micros());
}
