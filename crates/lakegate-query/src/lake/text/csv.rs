//! Parses CSV records (RFC 4180, with any line end) from pieces that may end anywhere.
//!
//! A quote opens a quoted value only where the value begins; in an unquoted value it stands for itself (`5" nail`).
//! Empty lines are not records. This module does not interpret cells.

use super::fault::TextFault;
use super::{MOST_COLUMNS, MOST_LINE_BYTES};

/// An incremental CSV parser.
pub(super) struct Records {
    delimiter: u8,
    at: At,
    /// Line of the next byte; the first line is 1.
    line: u64,
    /// Whether the last byte was a carriage return; a line feed after it belongs to the same line end.
    is_after_return: bool,
    /// Line of the last opening quote.
    opened: u64,
    record: Record,
}

/// The last record read.
#[derive(Default)]
pub(super) struct Record {
    /// The line where it begins.
    pub(super) line: u64,
    /// The cells, concatenated, without quotes and delimiters.
    bytes: Vec<u8>,
    /// The end of each cell in `bytes`.
    ends: Vec<usize>,
    /// Whether text follows a closing quote.
    has_text_behind: bool,
}

/// The cells of a record.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    ends: &'a [usize],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a record.
    Between,
    /// At the first byte of a value.
    Start,
    Bare,
    Quoted,
    /// After a quote in a quoted value: the closing one, or the first of two.
    Quote,
}

impl Records {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, at: At::Between, line: 1, is_after_return: false, opened: 0, record: Record::default() }
    }

    /// Continues to parse; true if a record ended, false if the input is used up.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<bool, TextFault> {
        if self.at == At::Between {
            while let [byte @ (b'\n' | b'\r'), rest @ ..] = input {
                self.end_line(*byte);
                *input = rest;
            }
            if input.is_empty() {
                return Ok(false);
            }
            self.begin();
        }
        let bytes = *input;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.at {
                At::Between | At::Start if rest[0] == b'"' => {
                    (self.at, self.opened) = (At::Quoted, self.line);
                    at += 1;
                }
                At::Between | At::Start | At::Bare => {
                    let delimiter = self.delimiter;
                    let is_end = |byte: &u8| *byte == delimiter || *byte == b'\n' || *byte == b'\r';
                    let length = rest.iter().position(is_end).unwrap_or(rest.len());
                    self.take(&rest[..length])?;
                    at += length;
                    if length > 0 {
                        (self.at, self.is_after_return) = (At::Bare, false);
                    }
                    if let Some(end) = bytes.get(at) {
                        at += 1;
                        if self.end_cell(*end)? {
                            *input = &bytes[at..];
                            return Ok(true);
                        }
                    }
                }
                At::Quoted => {
                    let length = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
                    self.take(&rest[..length])?;
                    rest[..length].iter().for_each(|byte| self.end_line(*byte));
                    at += length;
                    if length < rest.len() {
                        (self.at, self.is_after_return) = (At::Quote, false);
                        at += 1;
                    }
                }
                At::Quote => {
                    at += 1;
                    match rest[0] {
                        b'"' => {
                            self.take(b"\"")?;
                            self.at = At::Quoted;
                        }
                        end if end == self.delimiter || matches!(end, b'\n' | b'\r') => {
                            if self.end_cell(end)? {
                                *input = &bytes[at..];
                                return Ok(true);
                            }
                        }
                        other => {
                            self.record.has_text_behind = true;
                            self.take(&[other])?;
                            self.at = At::Bare;
                        }
                    }
                }
            }
        }
        *input = &[];
        Ok(false)
    }

    /// Ends the input; true if that ends a record. Fails within a quoted value.
    pub(super) fn finish(&mut self) -> Result<bool, TextFault> {
        match self.at {
            At::Between => Ok(false),
            At::Quoted => Err(TextFault::at(
                self.opened,
                "it ends within a quoted value that begins here; is the file cut off, or a quote not written twice?",
            )),
            At::Start | At::Bare | At::Quote => {
                self.record.ends.push(self.record.bytes.len());
                self.at = At::Between;
                Ok(true)
            }
        }
    }

    /// The record that has ended.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    fn begin(&mut self) {
        self.record.line = self.line;
        self.record.bytes.clear();
        self.record.ends.clear();
        self.record.has_text_behind = false;
        (self.at, self.is_after_return) = (At::Start, false);
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TextFault> {
        if self.record.bytes.len() + bytes.len() > MOST_LINE_BYTES {
            let what = format!("a line is longer than {} MiB", MOST_LINE_BYTES >> 20);
            return Err(TextFault::at(self.record.line, what));
        }
        self.record.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends a cell; true if the record ends with it.
    fn end_cell(&mut self, end: u8) -> Result<bool, TextFault> {
        self.record.ends.push(self.record.bytes.len());
        self.is_after_return = false;
        if end == self.delimiter {
            if self.record.ends.len() >= MOST_COLUMNS {
                let what = format!("it has more than {MOST_COLUMNS} columns; is the delimiter another one?");
                return Err(TextFault::at(self.record.line, what));
            }
            self.at = At::Start;
            return Ok(false);
        }
        self.end_line(end);
        self.at = At::Between;
        Ok(true)
    }

    /// Counts a line if the byte ends one.
    fn end_line(&mut self, byte: u8) {
        match byte {
            b'\n' if self.is_after_return => {}
            b'\n' | b'\r' => self.line += 1,
            _ => {}
        }
        self.is_after_return = byte == b'\r';
    }
}

impl Record {
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The cells; fails if the record is malformed or not UTF-8.
    pub(super) fn cells(&self) -> Result<Cells<'_>, TextFault> {
        if self.has_text_behind {
            let what = "text stands behind a closing quote; a quote in a quoted value is written twice";
            return Err(TextFault::at(self.line, what));
        }
        let is_cut = |text: &str| self.ends.iter().any(|end| !text.is_char_boundary(*end));
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if !is_cut(text) => Ok(Cells { text, ends: &self.ends }),
            _ => Err(TextFault::at(self.line, "it is not UTF-8; files in other encodings are to be ingested")),
        }
    }
}

impl<'a> Cells<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a cell; empty if the record has no such cell.
    pub(super) fn get(&self, at: usize) -> &'a str {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).map_or("", |end| &self.text[start..*end])
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(move |at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = Vec<(u64, Vec<String>)>;

    fn read(text: &[u8], piece: usize) -> Result<Rows, String> {
        let mut records = Records::new(b',');
        let mut rows = Rows::new();
        let mut keep = |record: &Record| -> Result<(), TextFault> {
            rows.push((record.line, record.cells()?.iter().map(str::to_owned).collect()));
            Ok(())
        };
        let mut all = || -> Result<(), TextFault> {
            for mut input in text.chunks(piece) {
                while records.read(&mut input)? {
                    keep(records.record())?;
                }
            }
            if records.finish()? {
                keep(records.record())?;
            }
            Ok(())
        };
        all().map_err(|fault| fault.to_string())?;
        Ok(rows)
    }

    fn cells(rows: &[(u64, &[&str])]) -> Rows {
        rows.iter().map(|(line, cells)| (*line, cells.iter().map(ToString::to_string).collect())).collect()
    }

    #[test]
    fn records_are_the_same_in_pieces_of_any_size_and_know_their_lines() {
        let cases: [(&str, Rows); 9] = [
            ("a,b\n1,2\n", cells(&[(1, &["a", "b"]), (2, &["1", "2"])])),
            ("a,b\r\n\r\n\"x\r\ny\",2\r\n3,4", cells(&[(1, &["a", "b"]), (3, &["x\r\ny", "2"]), (5, &["3", "4"])])),
            ("a\rb\r\rc", cells(&[(1, &["a"]), (2, &["b"]), (4, &["c"])])),
            ("5\" nail,6\"\"\n", cells(&[(1, &["5\" nail", "6\"\""])])),
            ("\"a\"\"b\",\"\"\n,\n", cells(&[(1, &["a\"b", ""]), (2, &["", ""])])),
            ("\n\n\"\"\nx\n", cells(&[(3, &[""]), (4, &["x"])])),
            ("\"1\n2\n3\",x\ny,z", cells(&[(1, &["1\n2\n3", "x"]), (4, &["y", "z"])])),
            ("é,ü\n\"日本\",\"\u{1F600}\"\n", cells(&[(1, &["é", "ü"]), (2, &["日本", "\u{1F600}"])])),
            ("x\0y,\n", cells(&[(1, &["x\0y", ""])])),
        ];
        for (text, expected) in cases {
            for piece in 1..=text.len() {
                assert_eq!(read(text.as_bytes(), piece).as_ref(), Ok(&expected), "{text:?} in pieces of {piece}");
            }
        }
        assert_eq!(read(b"", 1), Ok(vec![]));
    }

    #[test]
    fn what_is_no_record_is_told_with_its_line() {
        for (text, told) in [
            (&b"a\n1\n\"x"[..], "line 3: it ends within a quoted value"),
            (b"a,b\n\"x\"y,1\n", "line 2: text stands behind a closing quote"),
            (b"a\n\nJos\xe9\n", "line 3: it is not UTF-8"),
            // The two bytes of one character in two cells.
            (b"a\n\xc3,\xa9\n", "line 2: it is not UTF-8"),
        ] {
            for piece in 1..=text.len() {
                let fault = read(text, piece).unwrap_err();
                assert!(fault.starts_with(told), "{fault}");
            }
        }
        let wide = ",".repeat(MOST_COLUMNS);
        assert!(read(wide.as_bytes(), 100).unwrap_err().contains("more than 2000 columns"));
        let long = vec![b'x'; MOST_LINE_BYTES + 1];
        assert!(read(&long, 1 << 20).unwrap_err().contains("line 1: a line is longer than 16 MiB"));
    }

    /// Compares random text, made of bytes that mean something in CSV, with the `csv` crate.
    mod as_others_read_it {
        use proptest::prelude::*;

        use super::*;

        fn of_the_crate(text: &str) -> Vec<Vec<String>> {
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2_000))]
            #[test]
            fn bytes_that_mean_something(text in "[a\"é,\r\n]{0,40}", piece in 1_usize..9) {
                // The tests above cover text that the crate accepts and this parser does not.
                if let Ok(rows) = read(text.as_bytes(), piece) {
                    let rows = rows.into_iter().map(|(_, cells)| cells).collect::<Vec<_>>();
                    prop_assert_eq!(rows, of_the_crate(&text));
                }
            }

            #[test]
            fn whatever_is_written_is_read(
                rows in prop::collection::vec(prop::collection::vec("[a\"é,\r\n 1]{0,5}", 2), 0..6),
                is_quoted in prop::collection::vec(any::<bool>(), 12),
                end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
                piece in 1_usize..9,
            ) {
                let mut text = String::new();
                for (at, cell) in rows.iter().flatten().enumerate() {
                    let must = cell.contains(['"', ',', '\r', '\n']);
                    text += &if must || is_quoted[at] { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() };
                    text += if at % 2 == 0 { "," } else { end };
                }
                let read = read(text.as_bytes(), piece).unwrap();
                prop_assert_eq!(read.into_iter().map(|(_, cells)| cells).collect::<Vec<_>>(), rows);
            }
        }
    }
}
