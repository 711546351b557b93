//! Encodes one value at a time for cell-based formats: text unchanged, all other types as in JSON.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::EncoderOptions;
use datafusion::arrow::json::writer::{NullableEncoder, make_encoder};

use super::values;

/// The kind of the values in a column, which decides how a cell is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Arbitrary text.
    Text,
    /// Digits, a decimal point, an exponent.
    Number,
    Boolean,
    /// Text of a fixed form: dates, times, bytes. It never needs quotes.
    Written,
    /// JSON of lists, objects and maps.
    Nested,
}

impl Kind {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            text if values::is_text(text) => Self::Text,
            number if number.is_numeric() => Self::Number,
            DataType::Boolean => Self::Boolean,
            nested if nested.is_nested() => Self::Nested,
            _ => Self::Written,
        }
    }
}

/// The cells of one column of a plain batch.
pub(super) struct Cells<'a> {
    pub(super) kind: Kind,
    array: &'a ArrayRef,
    texts: Option<Texts<'a>>,
    encoder: NullableEncoder<'a>,
}

/// A downcast text array.
enum Texts<'a> {
    Short(&'a StringArray),
    Long(&'a LargeStringArray),
    Views(&'a StringViewArray),
}

impl<'a> Cells<'a> {
    pub(super) fn new(
        field: &'a FieldRef,
        array: &'a ArrayRef,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let encoder = make_encoder(field, array.as_ref(), options)?;
        let texts = match array.data_type() {
            DataType::Utf8 => Some(Texts::Short(array.as_string())),
            DataType::LargeUtf8 => Some(Texts::Long(array.as_string())),
            DataType::Utf8View => Some(Texts::Views(array.as_string_view())),
            _ => None,
        };
        Ok(Self { kind: Kind::of(array.data_type()), array, texts, encoder })
    }

    /// The underlying array.
    pub(super) fn array(&self) -> &'a ArrayRef {
        self.array
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.encoder.is_null(row)
    }

    /// The text of a row; `None` if the column is not text. The row must not be NULL.
    pub(super) fn text(&self, row: usize) -> Option<&'a str> {
        Some(match self.texts.as_ref()? {
            Texts::Short(texts) => texts.value(row),
            Texts::Long(texts) => texts.value(row),
            Texts::Views(texts) => texts.value(row),
        })
    }

    /// Writes the value of a row that is not text into `out`; `false` when the value has no representation.
    pub(super) fn write(&mut self, row: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.encoder.encode(row, out);
        if out.as_slice() == b"null" {
            return false;
        }
        if self.kind == Kind::Written && out.len() >= 2 {
            out.pop();
            out.remove(0);
        }
        true
    }

    /// The name of a float that is not finite; `None` for all other values.
    pub(super) fn not_finite(&self, row: usize) -> Option<&'static str> {
        let number = match self.array.data_type() {
            DataType::Float16 => self.array.as_primitive::<Float16Type>().value(row).to_f64(),
            DataType::Float32 => f64::from(self.array.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => self.array.as_primitive::<Float64Type>().value(row),
            _ => return None,
        };
        match number {
            number if number.is_nan() => Some("NaN"),
            f64::INFINITY => Some("Infinity"),
            f64::NEG_INFINITY => Some("-Infinity"),
            _ => None,
        }
    }
}

/// The fields of a batch, for `Cells` to borrow.
pub(super) fn fields(batch: &datafusion::arrow::record_batch::RecordBatch) -> Vec<FieldRef> {
    batch.schema().fields().iter().map(Arc::clone).collect()
}
