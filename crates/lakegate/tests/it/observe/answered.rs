//! Hand-written formatting for each request equals the libraries' output, byte for byte: log lines, times, and audit
//! records of memoised requests.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use lakegate::audit::Outcome;
use lakegate::clock;
use lakegate::observe::request_line::line;
use lakegate::observe::{Event, Observer, RequestEnd, Series, Stages};
use lakegate_core::project::{LogForm, Observe};

use crate::observe::log::Lines;

fn ended<'a>(endpoint: &'a Series, stages: &'a Stages, path: &'a str, micros: u64) -> RequestEnd<'a> {
    RequestEnd {
        request_id: "01a2-7f",
        method: "GET",
        path,
        endpoint: Some(endpoint),
        outcome: Outcome::Answered,
        status: Some(200),
        code: None,
        error: None,
        rows: 12,
        bytes: 3_456,
        query: None,
        stages,
        duration: Duration::from_micros(micros),
        slow: None,
        trace: None,
    }
}

#[test]
fn a_line_is_the_one_that_the_log_would_write() {
    let observer = Observer::start(&Observe::default());
    let (endpoint, stages) = (observer.endpoint("notes"), Stages::begin());
    for form in [LogForm::Text, LogForm::Json] {
        for micros in [0, 7, 25, 120, 1_000, 12_500, 3_600_000_001] {
            let (lines, guard) = Lines::of_this_thread(form, false);
            let ended = ended(&endpoint, &stages, "/api/notes", micros);
            observer.notice(&Event::RequestEnded(&ended));
            drop(guard);
            let usual = lines.text();
            // The timestamp, in either log format.
            let at = usual.find("20").unwrap();
            let time = usual[at..at + 27].parse::<DateTime<Utc>>().unwrap();
            let line = line(form, time, &ended).unwrap();
            assert_eq!(String::from_utf8(line).unwrap(), usual);
        }
    }
}

#[test]
fn what_would_be_escaped_is_left_to_the_log() {
    let observer = Observer::start(&Observe::default());
    let (endpoint, stages) = (observer.endpoint("notes"), Stages::begin());
    for path in ["/api/\"", "/api/\\", "/api/ä", "/api/\u{1b}[31m", "/api/\n"] {
        assert_eq!(line(LogForm::Text, clock::now(), &ended(&endpoint, &stages, path, 1)), None, "{path:?}");
    }
    let refused = RequestEnd { outcome: Outcome::Refused, ..ended(&endpoint, &stages, "/api/notes", 1) };
    assert_eq!(line(LogForm::Text, clock::now(), &refused), None);
}

#[test]
fn times_are_what_chrono_writes() {
    let seconds = [0, 1, 59, 60, 951_782_400, 1_795_680_000, 253_402_300_799, 253_402_300_800, -1, -62_135_596_800];
    for second in seconds {
        for nanosecond in [0, 1, 999, 1_000, 20_000_000, 123_456_789, 999_999_999] {
            let time = DateTime::from_timestamp(second, nanosecond).unwrap();
            let mut text = b"at ".to_vec();
            clock::add_stamp(time, &mut text);
            let wanted = format!("at {}", time.to_rfc3339_opts(SecondsFormat::Micros, true));
            assert_eq!(String::from_utf8(text).unwrap(), wanted);
        }
    }
}
