//! Sets up the log output: text for people or JSON, on stderr. An event is always exactly one line, whatever text it
//! holds.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};

use lakegate_core::project::LogForm;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use super::{lines, request_line};

/// Starts the log of a process on stderr. `LAKEGATE_LOG` sets the filter; `usual` is the default.
pub fn start(form: LogForm, usual: &str) {
    let filter = EnvFilter::try_from_env("LAKEGATE_LOG").unwrap_or_else(|_| usual.into());
    let colours = io::stderr().is_terminal();
    // A second start in one process keeps the first log.
    let has_begun = subscriber(form, filter, colours, || lines::Stderr).try_init().is_ok();
    if has_begun {
        panic::set_hook(Box::new(log_panic));
    }
    if has_begun && !colours {
        request_line::enable(form);
    }
}

/// Logs a panic as one line, instead of raw text between lines.
fn log_panic(panic: &PanicHookInfo<'_>) {
    tracing::error!(
        panic.message = panic.payload_as_str(),
        panic.place = panic.location().map(ToString::to_string),
        "a part of the program panicked"
    );
}

/// Writes the buffered lines at the end of a process.
pub fn finish() {
    // A log that cannot be written cannot be reported anywhere.
    let _ = lines::flush();
}

/// A subscriber that writes lines in this format.
pub fn subscriber<W, M>(form: LogForm, filter: EnvFilter, colours: bool, writer: M) -> Box<dyn Subscriber + Send + Sync>
where
    W: Write,
    M: Fn() -> W + Send + Sync + 'static,
{
    match form {
        LogForm::Text => Box::new(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_ansi(colours)
                .with_writer(EscapingWriter { writer, form: EscapeStyle::Text { colours } })
                .finish(),
        ),
        LogForm::Json => Box::new(
            tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_env_filter(filter)
                .with_writer(EscapingWriter { writer, form: EscapeStyle::Json })
                .finish(),
        ),
    }
}

/// A writer that escapes outside text, so that it cannot end a line or control a terminal.
struct EscapingWriter<M> {
    writer: M,
    form: EscapeStyle,
}

/// The escape style of a log format.
#[derive(Clone, Copy)]
enum EscapeStyle {
    Text { colours: bool },
    Json,
}

impl<'a, W: Write, M: Fn() -> W + 'a> MakeWriter<'a> for EscapingWriter<M> {
    type Writer = LineWriter<W>;

    fn make_writer(&'a self) -> LineWriter<W> {
        LineWriter { writer: (self.writer)(), form: self.form, is_urgent: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter<W> {
        LineWriter { is_urgent: *event.level() <= Level::WARN, ..self.make_writer() }
    }
}

/// A writer for one line, which receives an event in one piece.
struct LineWriter<W> {
    writer: W,
    form: EscapeStyle,
    /// Whether the line must be written immediately.
    is_urgent: bool,
}

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Most lines hold no control character.
        let is_plain = line.strip_suffix(b"\n").unwrap_or(line).iter().all(|byte| (0x20..0x7f).contains(byte));
        let text = if is_plain { Cow::Borrowed("") } else { String::from_utf8_lossy(line) };
        let content = text.strip_suffix('\n').unwrap_or(&text);
        if content.chars().any(is_control) {
            let mut escaped = escape(content, self.form);
            escaped.push('\n');
            self.writer.write_all(escaped.as_bytes())?;
        } else {
            self.writer.write_all(line)?;
        }
        if self.is_urgent {
            self.writer.flush()?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Escapes every control character. On a terminal, colour codes remain.
fn escape(text: &str, form: EscapeStyle) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for (at, character) in text.char_indices() {
        match form {
            _ if !is_control(character) => escaped.push(character),
            EscapeStyle::Text { colours: true } if is_colour(&text[at..]) => escaped.push(character),
            EscapeStyle::Text { .. } => escaped.extend(character.escape_default()),
            // The character is inside a JSON string, and needs at most four digits.
            EscapeStyle::Json => escaped += &format!("\\u{:04x}", u32::from(character)),
        }
    }
    escaped
}

/// Whether a character, ASCII or not, can end a line or control a terminal.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether the text begins with a colour code: escape, bracket, digits, `m`.
fn is_colour(text: &str) -> bool {
    let Some(code) = text.strip_prefix("\u{1b}[") else { return false };
    code.trim_start_matches(|character: char| character.is_ascii_digit() || character == ';').starts_with('m')
}
