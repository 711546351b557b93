//! The fast path of the request log: builds the line of an answered request directly, because most lines are of this
//! kind and formatting through `tracing` takes longer than some requests.
//!
//! It writes exactly what [`super::output`] would write. Lines that need escapes or colours go the usual way.

use std::io::Write as _;
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use lakegate_core::project::LogForm;

use super::event::RequestEnd;
use super::{lines, ms};
use crate::audit::Outcome;
use crate::clock;

/// The log format of this process; not set if lines go elsewhere or have colours.
static FORM: OnceLock<LogForm> = OnceLock::new();

/// Enables the fast path from now on.
pub(super) fn enable(form: LogForm) {
    // A second start in one process keeps the first log.
    let _ = FORM.set(form);
}

/// Writes the line of a request. Returns false if the usual log has to write it.
pub(super) fn try_write(ended: &RequestEnd<'_>) -> bool {
    let line = FORM.get().and_then(|form| line(*form, clock::now(), ended));
    // A log that cannot be written cannot be reported anywhere.
    line.is_some_and(|line| lines::Stderr.write_all(&line).is_ok())
}

/// Whether both formats write the text without escapes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\'))
}

/// The separators before a field, and between its name and value.
fn separators(form: LogForm) -> [&'static str; 2] {
    match form {
        LogForm::Text => [" ", "="],
        LogForm::Json => [",\"", "\":"],
    }
}

fn add(parts: &[&str], line: &mut Vec<u8>) {
    parts.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
}

fn add_text(form: LogForm, name: &str, text: &str, line: &mut Vec<u8>) {
    let [before, between] = separators(form);
    add(&[before, name, between, "\"", text, "\""], line);
}

/// The line with its line break; `None` if the usual log has to write it.
pub fn line(form: LogForm, now: DateTime<Utc>, ended: &RequestEnd<'_>) -> Option<Vec<u8>> {
    let RequestEnd { outcome: Outcome::Answered, status: Some(status), code: None, error: None, trace: None, .. } =
        ended
    else {
        return None;
    };
    let endpoint = ended.endpoint?;
    let texts = [("request.method", ended.method), ("request.path", ended.path), ("endpoint.name", endpoint.name())];
    if !texts.iter().all(|(_, text)| is_plain(text)) {
        return None;
    }
    let mut line = Vec::with_capacity(384);
    match form {
        LogForm::Text => {
            clock::add_stamp(now, &mut line);
            add(&["  INFO lakegate::observe::logger: answered"], &mut line);
        }
        LogForm::Json => {
            add(&["{\"timestamp\":\""], &mut line);
            clock::add_stamp(now, &mut line);
            add(&["\",\"level\":\"INFO\",\"message\":\"answered\""], &mut line);
        }
    }
    add_text(form, "request.id", ended.request_id, &mut line);
    texts.iter().for_each(|(name, text)| add_text(form, name, text, &mut line));
    let [before, between] = separators(form);
    let numbers =
        [("response.status", u64::from(*status)), ("response.rows", ended.rows), ("response.bytes", ended.bytes)];
    for (name, number) in numbers {
        add(&[before, name, between], &mut line);
        write!(line, "{number}").ok()?;
    }
    add(&[before, "duration_ms", between], &mut line);
    write!(line, "{:?}", ms(ended.duration)).ok()?;
    add(&[if form == LogForm::Text { "\n" } else { ",\"target\":\"lakegate::observe::logger\"}\n" }], &mut line);
    Some(line)
}
