//! Tracks the quotes of a CSV, because the `csv` crate accepts an unclosed quote and text behind a closing quote as
//! part of a value.
//!
//! It follows the state machine of the crate's reader byte by byte, without parsing cells.

use std::collections::VecDeque;
use std::io::{self, Read};

/// Passes text through to the CSV reader, and tracks quotes on the way.
pub(super) struct Quotes<R> {
    text: R,
    /// `None` disables quoting.
    quote: Option<u8>,
    delimiter: u8,
    at: At,
    /// Bytes passed through so far.
    bytes: u64,
    /// Line number of the next byte.
    line: u64,
    /// Line number of the last opening quote.
    opened: u64,
    /// Positions of text behind a closing quote, at most one per record. The reader lags by at most its buffer.
    behind: VecDeque<u64>,
    /// Whether the current record has an entry in `behind`.
    is_noted: bool,
    is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the start of a value.
    Start,
    Bare,
    Quoted,
    /// After a quote in a quoted value: either its end, or the first half of an escaped quote.
    Quote,
}

impl<R> Quotes<R> {
    pub(super) fn new(text: R, quote: Option<u8>, delimiter: u8) -> Self {
        let behind = VecDeque::new();
        Self {
            text,
            quote,
            delimiter,
            at: At::Start,
            bytes: 0,
            line: 1,
            opened: 0,
            behind,
            is_noted: false,
            is_done: false,
        }
    }

    /// Whether text follows a closing quote before byte `end`. Consumes the entries: each is reported once.
    pub(super) fn has_text_behind(&mut self, end: u64) -> bool {
        let before = self.behind.len();
        while self.behind.pop_front_if(|byte| *byte < end).is_some() {}
        self.behind.len() < before
    }

    /// The line of a quote that never closes, once all text is read.
    pub(super) fn unclosed(&self) -> Option<u64> {
        (self.is_done && self.at == At::Quoted).then_some(self.opened)
    }

    fn see(&mut self, bytes: &[u8]) {
        let Some(quote) = self.quote else { return };
        let mut at = self.at;
        // The reader skips a byte order mark at the start.
        let mark = if self.bytes == 0 && bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        for (place, byte) in bytes.iter().enumerate().skip(mark) {
            let is_end = *byte == self.delimiter || matches!(byte, b'\n' | b'\r');
            at = match at {
                At::Start if *byte == quote => {
                    self.opened = self.line;
                    At::Quoted
                }
                At::Quoted if *byte == quote => At::Quote,
                At::Quoted => At::Quoted,
                At::Quote if *byte == quote => At::Quoted,
                _ if is_end => {
                    self.is_noted &= *byte == self.delimiter;
                    At::Start
                }
                At::Quote => {
                    if !self.is_noted {
                        self.behind.push_back(self.bytes + place as u64);
                    }
                    self.is_noted = true;
                    At::Bare
                }
                At::Start | At::Bare => At::Bare,
            };
            self.line += u64::from(*byte == b'\n');
        }
        self.at = at;
        self.bytes += bytes.len() as u64;
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(buffer)?;
        self.is_done |= count == 0 && !buffer.is_empty();
        self.see(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of an unclosed quote, and the numbers of the records with text behind a quote, read with a buffer size.
    fn faults(text: &str, quote: Option<u8>, buffer: usize) -> (Option<u64>, Vec<usize>) {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).buffer_capacity(buffer).quoting(quote.is_some());
        builder.quote(quote.unwrap_or(b'"'));
        let mut reader = builder.from_reader(Quotes::new(text.as_bytes(), quote, b','));
        let (mut record, mut found, mut number) = (csv::StringRecord::new(), Vec::new(), 0);
        while reader.read_record(&mut record).unwrap() {
            number += 1;
            let end = reader.position().byte();
            if reader.get_mut().has_text_behind(end) {
                found.push(number);
            }
        }
        (reader.get_ref().unclosed(), found)
    }

    #[test]
    fn quotes_are_followed_as_the_reader_follows_them() {
        let cases: [(&str, Option<u64>, &[usize]); 14] = [
            ("a,b\n1,\"x\"\n", None, &[]),
            ("a,b\n1,\"x\ny\"\"z,\"\r\n2,\"\"\n3,\"\"\"\"", None, &[]),
            ("a,b\n1,\"abc\n2,d\n", Some(2), &[]),
            ("a,b\n1,\"abc\n\"\n2,\"\"\"", Some(4), &[]),
            ("a\n\"", Some(2), &[]),
            ("a\n\"a\"b\n\"c\"\n\"d\"\"\"e\n", None, &[2, 4]),
            ("a,b\n\"a\" ,\"b\"c\nd,e\n", None, &[2]),
            ("\"a\"b,\"c\"d\n\"e\"f\n\"g\"\n", None, &[1, 2]),
            // An unclosed quote swallows rows until the next quote, which shows the fault.
            ("a,b\n1,\"abc\n2,\"x\"\n3,y\n", None, &[2]),
            // A quote inside a bare value is a plain character.
            ("a,b\n5\",6\"\n7,8\n", None, &[]),
            ("\u{FEFF}\"a\",b\n1,2\n", None, &[]),
            ("\n\r\n\"a\"\r\r\n\n\"b\"\"", Some(5), &[]),
            ("", None, &[]),
            ("\"a\"", None, &[]),
        ];
        for (text, unclosed, behind) in cases {
            for buffer in [4, 5, 7, 8192] {
                assert_eq!(faults(text, Some(b'"'), buffer), (unclosed, behind.to_vec()), "{text:?} {buffer}");
                let other = text.replace('"', "'");
                assert_eq!(faults(&other, Some(b'\''), buffer), (unclosed, behind.to_vec()), "{other:?} {buffer}");
                // With another quote character, or without quoting, nothing is a fault.
                assert_eq!(faults(text, Some(b'\''), buffer), (None, Vec::new()), "{text:?} {buffer}");
                assert_eq!(faults(text, None, buffer), (None, Vec::new()), "{text:?} {buffer}");
            }
        }
    }
}
