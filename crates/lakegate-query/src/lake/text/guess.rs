//! Infers the type of a CSV column: the narrowest type that fits all its values, over all files of a table.
//!
//! The type does not depend on the order of rows or files, nor on where a read ends. Values that fit no other type stay
//! text, as written.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

use super::cell;
use super::forms::Forms;

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 4;
const DATE: u8 = 8;
const TIMESTAMP: u8 = 16;

/// The types that a column can still have.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    kinds: u8,
    has_values: bool,
    forms: Forms,
    /// The finest unit of its timestamps.
    unit: TimeUnit,
    /// Whether all its timestamps fit in nanoseconds.
    is_in_range: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            kinds: BOOLEAN | INTEGER | NUMBER | DATE | TIMESTAMP,
            has_values: false,
            forms: Forms::default(),
            unit: TimeUnit::Second,
            is_in_range: true,
        }
    }
}

impl Guess {
    /// Narrows the types by a cell. An empty cell is NULL.
    pub(super) fn see(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.has_values = true;
        if self.kinds & BOOLEAN != 0 && cell::boolean(text).is_none() {
            self.kinds &= !BOOLEAN;
        }
        if self.kinds & (INTEGER | NUMBER) != 0 {
            self.see_number(text);
        }
        if self.kinds & DATE != 0 && cell::date(text).is_none() {
            self.kinds &= !DATE;
        }
        if self.kinds & TIMESTAMP != 0 {
            match cell::timestamp(text) {
                Some((time, unit)) => {
                    self.unit = self.unit.max(unit);
                    self.is_in_range &= cell::since_1970(time, TimeUnit::Nanosecond).is_some();
                }
                None => self.kinds &= !TIMESTAMP,
            }
        }
    }

    fn see_number(&mut self, text: &str) {
        // `-0` is a floating-point number, not the integer 0.
        if self.kinds & INTEGER != 0 && (text == "-0" || cell::integer(text).is_none()) {
            self.kinds &= !INTEGER;
        }
        let is_number = cell::number(text).is_some_and(|number| self.forms.see(text, number));
        if !is_number {
            self.kinds &= !(NUMBER | INTEGER);
        }
    }

    /// Combines this with the same column of another file.
    pub(super) fn merge(&mut self, other: &Self) {
        self.kinds &= other.kinds;
        self.has_values |= other.has_values;
        self.forms.merge(&other.forms);
        self.unit = self.unit.max(other.unit);
        self.is_in_range &= other.is_in_range;
    }

    /// The narrowest type of all values; `Null` if there are none.
    pub(super) fn data_type(&self) -> DataType {
        let is = |kind: u8| self.kinds & kind != 0;
        let is_timestamp = is(TIMESTAMP) && (self.unit != TimeUnit::Nanosecond || self.is_in_range);
        match self.has_values {
            false => DataType::Null,
            true if is(BOOLEAN) => DataType::Boolean,
            true if is(INTEGER) => DataType::Int64,
            true if is(NUMBER) && self.forms.are_told_apart() => DataType::Float64,
            true if is(DATE) => DataType::Date32,
            true if is_timestamp => DataType::Timestamp(self.unit, None),
            true => DataType::Utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(texts: &[&str]) -> Guess {
        let mut guess = Guess::default();
        texts.iter().for_each(|text| guess.see(text));
        guess
    }

    #[test]
    fn a_column_is_of_the_narrowest_type_of_all_its_values_in_whatever_files_they_are() {
        use DataType::{Boolean, Date32, Float64, Int64, Null, Timestamp, Utf8};
        for (texts, expected) in [
            (&["", ""][..], Null),
            (&["true", "", "FALSE"], Boolean),
            (&["true", "1"], Utf8),
            (&["1", "-2"], Int64),
            (&["1", "2.5"], Float64),
            (&["1", "x"], Utf8),
            (&["1", "1.0"], Utf8),
            (&["-0", "1"], Float64),
            (&["9007199254740993", "1"], Int64),
            (&["9223372036854775808", "1"], Utf8),
            (&["007", "1"], Utf8),
            (&["+7", "1"], Utf8),
            (&["2024-01-31", ""], Date32),
            (&["2024-01-31", "2024-02-30"], Utf8),
            (&["2024-01-31", "2024-01-31T10:00:00.25Z"], Timestamp(TimeUnit::Millisecond, None)),
            (&["2024-01-31 10:00:00", "2024-01-31 25:00:00"], Utf8),
            (&["9999-12-31", "2024-01-31T10:00:00.1234567"], Utf8),
            (&["9999-12-31", "2024-01-31T10:00:00.123456"], Timestamp(TimeUnit::Microsecond, None)),
            (&["٣", "1"], Utf8),
            (&["2024-01-31", "1"], Utf8),
        ] {
            assert_eq!(guess(texts).data_type(), expected, "{texts:?}");
            for at in 0..=texts.len() {
                let mut merged = guess(&texts[at..]);
                merged.merge(&guess(&texts[..at]));
                assert_eq!(merged.data_type(), expected, "{texts:?} in two files");
            }
        }
    }
}
