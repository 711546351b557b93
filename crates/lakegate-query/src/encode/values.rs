//! Defines the form of each type in JSON, and in formats that derive their text from it. docs/formats.md has the table.
//!
//! Arrow's writer does most of it: integers and decimals with all digits, floats that are not finite as `null`, bytes
//! in hexadecimal. This module changes three things: times outside of the calendar are `null` instead of an error text,
//! intervals are ISO 8601, and map keys need not be text. Text, times and decimals make up most of a large response, so
//! they have encoders of their own, which write the same bytes without an allocation per value.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, MapArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{NullableEncoder, make_encoder};
use datafusion::arrow::json::{Encoder, EncoderFactory, EncoderOptions};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::decimal::Decimals;
use super::interval;
use super::moment::Moments;
use super::quoted::Texts;
use crate::uuids;

/// The encoder options that produce these forms.
pub(super) fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Forms))
}

/// Whether values of this type are text.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

#[derive(Debug)]
struct Forms;

impl EncoderFactory for Forms {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Interval(_) => Box::new(Intervals(array)),
            temporal if temporal.is_temporal() => {
                let usual = Times::new(array)?;
                match Moments::of(array) {
                    Some(moments) => Box::new(Quick { moments, usual }),
                    None => Box::new(usual),
                }
            }
            DataType::FixedSizeBinary(uuids::BYTES) if uuids::is_uuid(field) => {
                Box::new(uuids::Hyphenated(array.as_fixed_size_binary()))
            }
            DataType::Utf8 => Box::new(Texts(array.as_string::<i32>())),
            DataType::LargeUtf8 => Box::new(Texts(array.as_string::<i64>())),
            DataType::Utf8View => Box::new(Texts(array.as_string_view())),
            decimal if decimal.is_decimal() => match Decimals::of(array) {
                Some(decimals) => Box::new(decimals),
                None => return Ok(None),
            },
            DataType::Map(..) if !is_text(array.as_map().keys().data_type()) => {
                Box::new(KeyedMap::new(field, array.as_map(), options)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// An encoder for dates, times, timestamps and durations.
struct Times<'a> {
    formatter: ArrayFormatter<'a>,
    text: String,
}

impl<'a> Times<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        // The format of dates in milliseconds; no other type uses it.
        let options = FormatOptions::new().with_datetime_format(Some("%Y-%m-%d"));
        Ok(Self { formatter: ArrayFormatter::try_new(array, &options)?, text: String::new() })
    }
}

impl Encoder for Times<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.text.clear();
        let written = self.formatter.value(row).write(&mut self.text);
        // Arrow writes an invalid duration in angle brackets.
        if written.is_err() || self.text.starts_with('<') {
            return out.extend_from_slice(b"null");
        }
        out.push(b'"');
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'"');
    }
}

/// An encoder for times: fast for years with four digits, and arrow's formatter for all others.
struct Quick<'a> {
    moments: Moments<'a>,
    usual: Times<'a>,
}

impl Encoder for Quick<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        if !self.moments.write(row, out) {
            self.usual.encode(row, out);
        }
    }
}

struct Intervals<'a>(&'a dyn Array);

impl Encoder for Intervals<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match interval::of(self.0, row) {
            Some(interval) => out.extend_from_slice(format!("\"{interval}\"").as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
    }
}

/// An encoder for maps with keys that are not text: each key is written in its usual form, in quotes.
struct KeyedMap<'a> {
    offsets: &'a OffsetBuffer<i32>,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
    key: Vec<u8>,
}

impl<'a> KeyedMap<'a> {
    fn new(field: &'a FieldRef, map: &'a MapArray, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let keys = make_encoder(field, map.keys().as_ref(), options)?;
        let values = make_encoder(field, map.values().as_ref(), options)?;
        if keys.has_nulls() {
            return Err(ArrowError::InvalidArgumentError("a map has a key that is NULL".to_owned()));
        }
        Ok(Self { offsets: map.offsets(), keys, values, key: Vec::new() })
    }
}

impl Encoder for KeyedMap<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        out.push(b'{');
        for entry in start..end {
            if entry != start {
                out.push(b',');
            }
            self.key.clear();
            self.keys.encode(entry, &mut self.key);
            let quote: &[u8] = if self.key.starts_with(b"\"") { b"" } else { b"\"" };
            for part in [quote, &self.key, quote, b":"] {
                out.extend_from_slice(part);
            }
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null");
            } else {
                self.values.encode(entry, out);
            }
        }
        out.push(b'}');
    }
}
