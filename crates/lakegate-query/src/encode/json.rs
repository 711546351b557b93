//! JSON: an array of records, `[{"a":1,"b":null},…]`, or a record on each line.
//!
//! Every column is in every record, NULL as `null`. How each type looks is said in `values`.

use bytes::Bytes;
use datafusion::arrow::json::writer::{JsonArray as ArrayFormat, JsonFormat, LineDelimited, Writer};
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::tail::Tail;
use super::{Encoder, plain, unwritable_as, values};

/// The default format.
pub struct JsonArray {
    writer: Writer<Vec<u8>, ArrayFormat>,
}

/// A record a line. The end of the last line waits for the next, so that a cut answer ends inside a record.
pub(super) struct JsonLines {
    writer: Writer<Vec<u8>, LineDelimited>,
    tail: Tail,
}

impl JsonArray {
    /// An empty answer so far.
    pub fn new() -> Self {
        Self { writer: values::writer() }
    }
}

impl Default for JsonArray {
    fn default() -> Self {
        Self::new()
    }
}

impl JsonLines {
    pub(super) fn new() -> Self {
        // The closing brace and the line feed.
        Self { writer: values::writer(), tail: Tail::of(2) }
    }
}

fn written<F: JsonFormat>(
    writer: &mut Writer<Vec<u8>, F>,
    batch: &RecordBatch,
    format: Format,
) -> Result<Vec<u8>, Error> {
    let batch = plain::batch(batch).map_err(unwritable_as(format))?;
    writer.write(&batch).map_err(unwritable_as(format))?;
    Ok(std::mem::take(writer.get_mut()))
}

impl Encoder for JsonArray {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        written(&mut self.writer, batch, Format::Json).map(Bytes::from)
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.writer.finish().map_err(unwritable_as(Format::Json))?;
        Ok(std::mem::take(self.writer.get_mut()).into())
    }
}

impl Encoder for JsonLines {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let lines = written(&mut self.writer, batch, Format::Ndjson)?;
        Ok(self.tail.after(lines))
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.writer.finish().map_err(unwritable_as(Format::Ndjson))?;
        Ok(self.tail.released(std::mem::take(self.writer.get_mut())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, every_type};
    use super::*;

    #[test]
    fn an_empty_answer_is_an_empty_array_or_no_line() {
        assert_eq!(answer(Format::Json, &[]), b"[]");
        assert_eq!(answer(Format::Ndjson, &[]), b"");
    }

    #[test]
    fn lines_are_the_records_of_the_array() {
        let batch = every_type();
        let (array, lines) = (answer(Format::Json, &[batch.clone()]), answer(Format::Ndjson, &[batch]));
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        assert!(lines.ends_with("}\n"));
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>();
        assert_eq!(lines, array);
    }
}
