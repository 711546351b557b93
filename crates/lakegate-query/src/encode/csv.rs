//! Encodes CSV as in RFC 4180: a header line, CR LF line ends, quotes only where needed.
//!
//! NULL is an empty field, and the empty string is `""`. The csv crate cannot tell them apart, so this module writes
//! the quotes itself. Text that a spreadsheet would run as a formula gets a `'` in front, unless the caller opts out.

use bytes::Bytes;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::cells::{self, Cells, Kind};
use super::formula::is_formula;
use super::{Encoder, plain, unwritable_as, values};

/// The CSV encoder: the header until it is written, and whether text is guarded against formulas.
pub(super) struct Csv {
    header: Vec<u8>,
    is_guarded: bool,
}

impl Csv {
    pub(super) fn new(schema: &Schema, is_guarded: bool) -> Self {
        let mut csv = Self { header: Vec::new(), is_guarded };
        let mut header = Vec::new();
        for (at, field) in schema.fields().iter().enumerate() {
            if at > 0 {
                header.push(b',');
            }
            csv.text(field.name(), &mut header);
        }
        header.extend_from_slice(b"\r\n");
        csv.header = header;
        csv
    }

    fn text(&self, text: &str, out: &mut Vec<u8>) {
        if self.is_guarded && is_formula(text) {
            quoted("'", text, out);
        } else if needs_quotes(text) {
            quoted("", text, out);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn cell(&self, cells: &mut Cells<'_>, row: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        if let Some(text) = cells.text(row) {
            return self.text(text, out);
        }
        if !cells.write(row, scratch) {
            out.extend_from_slice(cells.not_finite(row).unwrap_or_default().as_bytes());
            return;
        }
        match cells.kind {
            Kind::Nested => quoted("", &String::from_utf8_lossy(scratch), out),
            // Empty bytes are not NULL.
            _ if scratch.is_empty() => out.extend_from_slice(b"\"\""),
            _ => out.extend_from_slice(scratch),
        }
    }
}

/// Quotes an empty field, which would be NULL, and outer spaces, which some readers trim.
fn needs_quotes(text: &str) -> bool {
    // These bytes are ASCII, so none is part of a multi-byte character.
    let is_special = |byte: &u8| matches!(byte, b'"' | b',' | b'\r' | b'\n');
    text.is_empty()
        || text.as_bytes().iter().fold(false, |any, byte| any | is_special(byte))
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace)
}

fn quoted(before: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(before.as_bytes());
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

impl Encoder for Csv {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let batch = plain::batch(batch).map_err(unwritable_as(Format::Csv))?;
        let (fields, options) = (cells::fields(&batch), values::options());
        let columns = fields.iter().zip(batch.columns()).map(|(field, array)| Cells::new(field, array, &options));
        let mut columns = columns.collect::<Result<Vec<_>, _>>().map_err(unwritable_as(Format::Csv))?;
        let mut out = std::mem::take(&mut self.header);
        out.reserve(batch.num_rows() * columns.len() * 8);
        let mut scratch = Vec::new();
        for row in 0..batch.num_rows() {
            for (at, cells) in columns.iter_mut().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if !cells.is_null(row) {
                    self.cell(cells, row, &mut scratch, &mut out);
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(out.into())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        Ok(std::mem::take(&mut self.header).into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringViewArray};

    use super::super::testing::{answer, encoded, every_type};
    use super::*;
    use lakegate_core::format::Representation;

    fn texts(texts: &[Option<&str>]) -> RecordBatch {
        let column: ArrayRef = Arc::new(texts.iter().copied().collect::<StringViewArray>());
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
        RecordBatch::try_from_iter([("t", column), ("=n", rows)]).unwrap()
    }

    #[test]
    fn null_and_the_empty_text_differ() {
        let csv = answer(Format::Csv, &[texts(&[None, Some(""), Some("a")])]);
        assert_eq!(String::from_utf8(csv).unwrap(), "t,\"'=n\"\r\n,0\r\n\"\",1\r\na,2\r\n");
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let csv = answer(Format::Csv, &[texts(&[Some("a,b"), Some("a\"b"), Some("a\r\nb"), Some(" a"), Some("a;b")])]);
        let wanted = "t,\"'=n\"\r\n\"a,b\",0\r\n\"a\"\"b\",1\r\n\"a\r\nb\",2\r\n\" a\",3\r\na;b,4\r\n";
        assert_eq!(String::from_utf8(csv).unwrap(), wanted);
    }

    #[test]
    fn formulas_are_guarded_unless_they_are_wanted() {
        let batch = texts(&[Some("=1+\"1\""), Some("  @x"), Some("-1")]);
        let guarded = String::from_utf8(answer(Format::Csv, std::slice::from_ref(&batch))).unwrap();
        assert_eq!(guarded, "t,\"'=n\"\r\n\"'=1+\"\"1\"\"\",0\r\n\"'  @x\",1\r\n\"'-1\",2\r\n");
        let raw = Representation { csv_guard: false, ..Representation::plain(Format::Csv) };
        let raw = String::from_utf8(encoded(&raw, &batch.schema(), &[batch])).unwrap();
        assert_eq!(raw, "t,=n\r\n\"=1+\"\"1\"\"\",0\r\n\"  @x\",1\r\n-1,2\r\n");
    }

    #[test]
    fn numbers_are_not_touched_and_none_is_lost() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![-1.5, f64::NAN, f64::NEG_INFINITY]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b"", b"-"]));
        let batch = RecordBatch::try_from_iter([("f", floats), ("b", bytes)]).unwrap();
        let csv = String::from_utf8(answer(Format::Csv, &[batch])).unwrap();
        assert_eq!(csv, "f,b\r\n-1.5,00ff\r\nNaN,\"\"\r\n-Infinity,2d\r\n");
    }

    #[test]
    fn every_line_has_every_field() {
        let batch = every_type();
        let csv = answer(Format::Csv, std::slice::from_ref(&batch));
        let mut reader = csv::ReaderBuilder::new().from_reader(csv.as_slice());
        assert_eq!(reader.headers().unwrap().len(), batch.num_columns());
        let records = reader.records().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(records.len(), batch.num_rows());
    }

    #[test]
    fn an_empty_answer_is_its_header() {
        let batch = texts(&[]);
        let plain = Representation::plain(Format::Csv);
        assert_eq!(encoded(&plain, &batch.schema(), &[]), b"t,\"'=n\"\r\n");
    }
}
