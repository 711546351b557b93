//! Encodes JSON: an array of records, `[{"a":1,"b":null},…]`, or one record per line.
//!
//! Each record has every column, with NULL as `null`. `values` defines the form of each type.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, StructArray};
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::make_encoder;
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::Error;
use lakegate_core::format::Format;

use super::tail::Tail;
use super::{Encoder, plain, unwritable_as, values};

/// A JSON array, which is the default format.
#[derive(Default)]
pub struct JsonArray {
    records: Records,
    is_begun: bool,
}

/// One record per line. Each line's end is held back until the next write, so truncation cuts a record.
pub(super) struct JsonLines {
    records: Records,
    tail: Tail,
}

/// Writes records one after another.
#[derive(Default)]
struct Records {
    /// Approximate size of a record in the previous batch, in bytes. It sizes the buffer of the next batch.
    each: usize,
}

impl JsonArray {
    /// An encoder that has written nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl JsonLines {
    pub(super) fn new() -> Self {
        // The closing brace and the line feed.
        Self { records: Records::default(), tail: Tail::of(2) }
    }
}

impl Records {
    /// Encodes a batch. Calls `before` ahead of each record, and appends `after` to each.
    fn write(
        &mut self,
        batch: &RecordBatch,
        mut before: impl FnMut(&mut Vec<u8>),
        after: &[u8],
    ) -> Result<Vec<u8>, ArrowError> {
        let batch = plain::batch(batch)?;
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let field: FieldRef = Arc::new(Field::new_struct("", batch.schema().fields().clone(), false));
        let records =
            StructArray::try_new_with_length(batch.schema().fields().clone(), batch.columns().to_vec(), None, rows)?;
        let options = values::options();
        let mut encoder = make_encoder(&field, &records, &options)?;
        let mut out = Vec::with_capacity((self.each + self.each / 8) * rows + 64);
        for row in 0..records.len() {
            before(&mut out);
            encoder.encode(row, &mut out);
            out.extend_from_slice(after);
        }
        self.each = out.len() / rows + 1;
        Ok(out)
    }
}

impl Encoder for JsonArray {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let is_begun = &mut self.is_begun;
        let before = |out: &mut Vec<u8>| out.push(if std::mem::replace(is_begun, true) { b',' } else { b'[' });
        self.records.write(batch, before, b"").map(Bytes::from).map_err(unwritable_as(Format::Json))
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        Ok(Bytes::from_static(if self.is_begun { b"]" } else { b"[]" }))
    }
}

impl Encoder for JsonLines {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let lines = self.records.write(batch, |_| (), b"\n").map_err(unwritable_as(Format::Ndjson))?;
        Ok(self.tail.after(lines))
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        Ok(self.tail.released(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, DurationSecondArray, TimestampSecondArray};

    use super::super::testing::{answer, every_type};
    use super::*;

    #[test]
    fn an_empty_answer_is_an_empty_array_or_no_line() {
        assert_eq!(answer(Format::Json, &[]), b"[]");
        assert_eq!(answer(Format::Ndjson, &[]), b"");
    }

    #[test]
    fn each_type_looks_as_documented() {
        let rows = String::from_utf8(answer(Format::Json, &[every_type()])).unwrap();
        let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&rows).unwrap();
        assert!(rows[1].values().all(serde_json::Value::is_null), "{:?}", rows[1]);
        // Compare the text, because the digits must be unchanged.
        let text = String::from_utf8(answer(Format::Ndjson, &[every_type()])).unwrap();
        let lines = text.lines().map(|line| line.replace(",\"", ",\n\"")).collect::<Vec<_>>();
        assert_eq!(lines[0], FIRST.trim());
        assert_eq!(lines[2], THIRD.trim());
    }

    /// Values far outside of any calendar.
    #[test]
    fn a_time_that_is_none_is_null() {
        let timestamps: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX, 0]));
        let durations: ArrayRef = Arc::new(DurationSecondArray::from(vec![i64::MIN, 0]));
        let batch = RecordBatch::try_from_iter([("t", timestamps), ("d", durations)]).unwrap();
        let wanted = r#"[{"t":null,"d":null},{"t":"1970-01-01T00:00:00","d":"P0D"}]"#;
        assert_eq!(answer(Format::Json, &[batch]), wanted.as_bytes());
    }

    #[test]
    fn lines_are_the_records_of_the_array() {
        let batch = every_type();
        let batch = std::slice::from_ref(&batch);
        let (array, lines) = (answer(Format::Json, batch), answer(Format::Ndjson, batch));
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        assert!(lines.ends_with("}\n"));
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>();
        assert_eq!(lines, array);
    }

    const FIRST: &str = r#"
{"null":null,
"boolean":true,
"int8":-128,
"int64":-9223372036854775808,
"uint64":18446744073709551615,
"float16":1.5,
"float32":0.1,
"float64":0.1,
"decimal32":123.45,
"decimal128":1000000000000000000000000000.0000000001,
"decimal256":170141183460469231731687303715884105727,
"text":"a\"\n,é",
"large_text":"=1",
"text_view":"longer than twelve bytes",
"bytes":"00ff",
"bytes_view":"6c6f6e676572207468616e207477656c7665206279746573",
"date":"2022-10-01",
"date64":"2022-10-01",
"time":"08:30:00.000001",
"time32":"08:30:00",
"timestamp":"2022-10-01T08:19:05.678901",
"timestamp_s":"2022-10-01T08:19:05",
"timestamp_ns":"1970-01-01T00:00:00.000000001",
"instant":"2022-10-01T08:19:05.678Z",
"zoned":"2022-10-01T03:19:05-05:00",
"duration":"PT90.5S",
"interval":"P1Y2M3DT1.5S",
"interval_ym":"P1Y2M",
"interval_dt":"P1DT0.5S",
"fixed":"0102",
"dictionary":"b",
"runs":"run",
"list":["x",null],
"list_view":["z"],
"pairs":[1,null],
"object":{"a":1,
"b":["x",null]},
"map":{"k":1,
"n":null},
"keyed":{"-5":"five"}}
"#;

    const THIRD: &str = r#"
{"null":null,
"boolean":false,
"int8":1,
"int64":9007199254740993,
"uint64":0,
"float16":0.099975586,
"float32":null,
"float64":null,
"decimal32":-0.05,
"decimal128":-0.0000000001,
"decimal256":1,
"text":"",
"large_text":" x",
"text_view":"short",
"bytes":"",
"bytes_view":"78",
"date":"1969-12-31",
"date64":"1970-01-01",
"time":"00:00:00",
"time32":"00:00:00",
"timestamp":"1970-01-01T00:00:00",
"timestamp_s":"1970-01-01T00:00:00",
"timestamp_ns":"1969-12-31T23:59:59.999999999",
"instant":"1970-01-01T00:00:00Z",
"zoned":"1969-12-31T19:00:00-05:00",
"duration":"-PT0.001S",
"interval":"PT0S",
"interval_ym":"P-1M",
"interval_dt":"PT0S",
"fixed":"0000",
"dictionary":"a",
"runs":"end",
"list":[],
"list_view":["x",null],
"pairs":[3,4],
"object":{"a":null,
"b":[]},
"map":{},
"keyed":{}}
"#;
}
