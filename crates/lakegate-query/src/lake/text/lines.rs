//! Splits pieces that may end anywhere into lines, with any line end and a maximum length. Skips empty lines.

use super::MOST_LINE_BYTES;
use super::fault::TextFault;

/// An incremental line splitter.
pub(super) struct Lines {
    text: Vec<u8>,
    /// Number of the line in `text`; the first line is 1.
    number: u64,
    /// Whether `text` is a complete line.
    is_whole: bool,
    is_after_return: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { text: Vec::new(), number: 1, is_whole: false, is_after_return: false }
    }

    /// Continues to read; true if a non-empty line ended, false if the input is used up.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<bool, TextFault> {
        if self.is_whole {
            self.next();
        }
        loop {
            if self.is_after_return && input.first() == Some(&b'\n') {
                *input = &input[1..];
                self.is_after_return = false;
            }
            if input.is_empty() {
                return Ok(false);
            }
            self.is_after_return = false;
            let length = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &input[..length.unwrap_or(input.len())];
            if self.text.len() + part.len() > MOST_LINE_BYTES {
                return Err(TextFault::at(self.number, format!("a line is longer than {} MiB", MOST_LINE_BYTES >> 20)));
            }
            self.text.extend_from_slice(part);
            let Some(length) = length else {
                *input = &[];
                return Ok(false);
            };
            self.is_after_return = input[length] == b'\r';
            *input = &input[length + 1..];
            if !self.is_blank() {
                self.is_whole = true;
                return Ok(true);
            }
            self.next();
        }
    }

    /// Ends the input; true if that ends a non-empty line.
    pub(super) fn finish(&mut self) -> bool {
        if self.is_whole {
            self.next();
        }
        self.is_whole = !self.is_blank();
        self.is_whole
    }

    pub(super) fn size(&self) -> usize {
        self.text.len()
    }

    /// The number of the line that has ended.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The line that has ended.
    pub(super) fn text(&self) -> Result<&str, TextFault> {
        let told = || TextFault::at(self.number, "it is not UTF-8; files in other encodings are to be ingested");
        std::str::from_utf8(&self.text).map_err(|_| told())
    }

    fn next(&mut self) {
        self.text.clear();
        self.number += 1;
        self.is_whole = false;
    }

    fn is_blank(&self) -> bool {
        self.text.iter().all(|byte| matches!(byte, b' ' | b'\t'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_in_pieces_of_any_size() {
        let text = "{\"a\":1}\r\n\n  \t\r{\"é\":2}\r\r\n\n3";
        let expected = [(1, "{\"a\":1}".to_owned()), (4, "{\"é\":2}".to_owned()), (7, "3".to_owned())];
        for piece in 1..=text.len() {
            let (mut lines, mut found) = (Lines::new(), Vec::new());
            for mut input in text.as_bytes().chunks(piece) {
                while lines.read(&mut input).unwrap() {
                    found.push((lines.number(), lines.text().unwrap().to_owned()));
                }
            }
            if lines.finish() {
                found.push((lines.number(), lines.text().unwrap().to_owned()));
            }
            assert!(!lines.finish());
            assert_eq!(found, expected, "{piece}");
        }
    }
}
