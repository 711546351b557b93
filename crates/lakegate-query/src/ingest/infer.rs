//! Infers the type of a column from all its values: the narrowest type that fits each of them.
//!
//! Text that only resembles a number stays text: leading zeros, a plus sign, an exponent. So do columns that mix whole
//! numbers over 2^53 with fractions, and integers over 64 bits, because a double would merge different values.

use lakegate_core::project::ingest::{ColumnType, PlainKind, TextOptions};
use serde_json::Value as Json;

use super::numbers::MOST_WHOLE;
use super::text::Cell;
use super::values::{Reading, Value};

/// Candidate types from the narrowest to the widest. Text fits every value.
const KINDS: [ColumnType; 8] = [
    ColumnType::Plain(PlainKind::Boolean),
    ColumnType::Plain(PlainKind::Integer),
    ColumnType::Plain(PlainKind::Number),
    ColumnType::Plain(PlainKind::Date),
    ColumnType::Plain(PlainKind::Timestamp),
    ColumnType::List(PlainKind::Integer),
    ColumnType::List(PlainKind::Number),
    ColumnType::List(PlainKind::String),
];

/// The types that still fit a column.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    readings: Vec<(ColumnType, Reading)>,
    has_values: bool,
}

impl Guess {
    pub(super) fn new(options: &TextOptions, formats: &[String], nulls: &[String]) -> Self {
        // Inference accepts only these two words, because others, such as `yes`, may be plain text.
        let words = |word: &str| vec![word.to_owned()];
        let options = TextOptions { true_words: words("true"), false_words: words("false"), ..options.clone() };
        let reading = |kind: ColumnType| {
            let (plain, is_list) = match kind {
                ColumnType::Plain(plain) => (plain, false),
                ColumnType::List(plain) => (plain, true),
            };
            let (formats, nulls) = (formats.to_vec(), nulls.to_vec());
            let range = (i64::MIN, i64::MAX);
            (kind, Reading { kind: plain, is_list, formats, nulls, options: options.clone(), range, is_single: false })
        };
        Self { readings: KINDS.into_iter().map(reading).collect(), has_values: false }
    }

    pub(super) fn see(&mut self, cell: Cell<'_>) {
        self.readings.retain(|(kind, reading)| match reading.read(cell) {
            Ok(None) => true,
            Ok(Some(value)) => looks_like(cell, *kind, &value),
            Err(_) => false,
        });
        let is_null = |reading: &Reading| matches!(reading.read(cell), Ok(None));
        self.has_values |=
            !matches!(cell, Cell::Missing) && !self.readings.first().is_some_and(|(_, reading)| is_null(reading));
    }

    /// The inferred type. A column without values is text.
    pub(super) fn kind(&self) -> ColumnType {
        let narrowest = self.readings.first().filter(|_| self.has_values).map(|(kind, _)| *kind);
        narrowest.unwrap_or(ColumnType::Plain(PlainKind::String))
    }
}

/// Whether a value that parses as this kind is also written like one.
fn looks_like(cell: Cell<'_>, kind: ColumnType, value: &Value) -> bool {
    match (cell, kind) {
        (Cell::Text(text), ColumnType::Plain(PlainKind::Boolean)) => text.len() > 1,
        (Cell::Text(text), ColumnType::Plain(PlainKind::Integer | PlainKind::Number)) => {
            is_number_like(text) && is_kept(value)
        }
        // Each item is checked as text too: `{01,02}` contains no integers.
        (Cell::Text(text), ColumnType::List(PlainKind::Integer | PlainKind::Number)) => {
            let mut items = text.trim_matches(['{', '}', '[', ']', ' ']).split(',');
            items.all(|item| item.is_empty() || is_number_like(item.trim())) && is_kept(value)
        }
        (Cell::Json(Json::String(_)), ColumnType::Plain(PlainKind::Date | PlainKind::Timestamp)) => true,
        // JSON values carry their types, so numbers and lists are known.
        (Cell::Json(Json::String(_)), _) => false,
        (Cell::Json(Json::Number(number)), ColumnType::Plain(PlainKind::Integer)) => number.is_i64(),
        (Cell::Json(Json::Number(number)), ColumnType::Plain(PlainKind::Number)) => number.is_f64() || is_kept(value),
        (Cell::Json(Json::Array(items)), ColumnType::List(kind)) => items.iter().all(|item| match kind {
            PlainKind::Integer => item.is_i64() || item.is_null(),
            PlainKind::Number => item.is_f64() || item.is_null() || item.as_f64().is_some_and(is_small),
            _ => item.is_string() || item.is_null(),
        }),
        (_, ColumnType::List(_)) => matches!(value, Value::List(_)),
        _ => true,
    }
}

/// Whether doubles are exact in the range of this number, or of each item of a list. A larger number makes the column
/// text, unless all its values are integers.
fn is_kept(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_small(*number),
        Value::List(items) => items.iter().flatten().all(is_kept),
        _ => true,
    }
}

fn is_small(number: f64) -> bool {
    number.abs() <= MOST_WHOLE
}

fn is_number_like(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let has_leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits[1..].starts_with(['.', ',']);
    !has_leading_zero && digits.starts_with(|first: char| first.is_ascii_digit()) && !digits.contains(['e', 'E', ' '])
}
