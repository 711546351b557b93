//! Implements the actions of Iceberg's read restrictions. The results match the standard to the byte, so that all
//! readers that obey a catalog return the same values.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use lakegate_core::project::Granularity;
use sha2::{Digest, Sha256};

use super::rebuild::primitives;
use super::text::TextMask;
use super::time;
use crate::lake::{CatalogAction as Action, fixed_value};

/// Number of characters that some actions show.
const SHOWN: usize = 4;

/// The values after an action; `None` if the result can only be NULLs.
pub(super) fn apply(action: Action, array: &ArrayRef, hidden: Option<&NullBuffer>) -> Option<ArrayRef> {
    match action {
        Action::ReplaceWithNull => None,
        // NULL becomes the value, too: a caller who may not see the values may not see which of them exist.
        Action::MaskToFixedValue => fixed_value(array.data_type())?.to_array_of_size(array.len()).ok(),
        Action::TruncateToYear => time::truncate(array, hidden, Granularity::Year),
        Action::TruncateToMonth => time::truncate(array, hidden, Granularity::Month),
        Action::MaskAlphanum => TextMask::Alphanum { first: 0, last: 0 }.apply(array, hidden),
        Action::ShowFirst4 => TextMask::Alphanum { first: SHOWN, last: 0 }.apply(array, hidden),
        Action::ShowLast4 => TextMask::Alphanum { first: 0, last: SHOWN }.apply(array, hidden),
        Action::Sha256Global => salted(array, hidden, ""),
        // Without the salt of the query, there is no value to return.
        Action::Sha256QueryLocal => None,
    }
}

/// The digests of values with a salt.
pub(super) fn salted(array: &ArrayRef, hidden: Option<&NullBuffer>, salt: &str) -> Option<ArrayRef> {
    let digest = |bytes: &[u8]| digest(salt, bytes);
    let nulls = NullBuffer::union(array.nulls(), hidden);
    let is_there = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    match array.data_type() {
        // Numbers are hashed and read as little-endian bytes.
        DataType::Int32 => primitives::<Int32Type>(array, hidden, |value| {
            Some(i32::from_le_bytes(*digest(&value.to_le_bytes()).first_chunk()?))
        }),
        DataType::Int64 => primitives::<Int64Type>(array, hidden, |value| {
            Some(i64::from_le_bytes(*digest(&value.to_le_bytes()).first_chunk()?))
        }),
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            let masked = (0..array.len()).map(|row| Some(row).filter(is_there).map(|row| digest(values.value(row))));
            Some(Arc::new(masked.collect::<BinaryArray>()))
        }
        DataType::BinaryView => {
            let values = array.as_binary_view();
            let masked = (0..array.len()).map(|row| Some(row).filter(is_there).map(|row| digest(values.value(row))));
            Some(Arc::new(masked.collect::<BinaryViewArray>()))
        }
        _ => TextMask::Digest { salt: salt.to_owned() }.apply(array, hidden),
    }
}

/// Whether an action can return NULL for a value that is not NULL.
pub(super) fn can_give_null(action: Action) -> bool {
    matches!(
        action,
        Action::ReplaceWithNull | Action::TruncateToYear | Action::TruncateToMonth | Action::Sha256QueryLocal
    )
}

/// Writes a text that shows its first and last characters as they are. Among the others, a digit becomes `n`, some
/// signs stay, and the rest become `x`. A text no longer than the shown characters stays unchanged.
pub(super) fn write_alphanum(text: &str, first: usize, last: usize, out: &mut String) {
    let count = text.chars().count();
    let is_shown = |at: usize| at < first || at + last >= count;
    out.extend(text.chars().enumerate().map(|(at, each)| match each {
        shown if is_shown(at) => shown,
        '0'..='9' => 'n',
        '(' | ')' | ',' | '.' | '-' | '@' => each,
        _ => 'x',
    }));
}

/// Writes the digest of a text in hexadecimal digits.
pub(super) fn write_digest(salt: &str, text: &str, out: &mut String) {
    HEXLOWER.encode_append(&digest(salt, text.as_bytes()), out);
}

fn digest(salt: &str, bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{BooleanArray, Date32Array, Int32Array, Int64Array, StringViewArray};

    use super::*;

    fn texts(action: Action, values: &[Option<&str>]) -> Vec<Option<String>> {
        let array = Arc::new(StringViewArray::from(values.to_vec())) as ArrayRef;
        let masked = apply(action, &array, None).unwrap();
        masked.as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).chain([None]).collect()
    }

    #[test]
    fn text_is_masked_as_the_standard_says() {
        let values =
            [Some("prashant010696@gmail.com"), Some("4111-1111-1111-4444"), Some("é😀 x"), Some("a1"), Some(""), None];
        assert_eq!(
            texts(Action::MaskAlphanum, &values),
            some(&["xxxxxxxxnnnnnn@xxxxx.xxx", "nnnn-nnnn-nnnn-nnnn", "xxxx", "xn", ""])
        );
        assert_eq!(
            texts(Action::ShowFirst4, &values),
            some(&["prasxxxxnnnnnn@xxxxx.xxx", "4111-nnnn-nnnn-nnnn", "é😀 x", "a1", ""])
        );
        assert_eq!(
            texts(Action::ShowLast4, &values),
            some(&["xxxxxxxxnnnnnn@xxxxx.com", "nnnn-nnnn-nnnn-4444", "é😀 x", "a1", ""])
        );
        // As published by NIST.
        assert_eq!(
            texts(Action::Sha256Global, &[Some("abc"), None])[0].as_deref(),
            Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
        let array = Arc::new(StringViewArray::from(vec!["c"])) as ArrayRef;
        assert_eq!(
            salted(&array, None, "ab").unwrap().as_string_view().value(0),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(apply(Action::Sha256QueryLocal, &array, None).is_none());
        assert_eq!(
            texts(Action::MaskToFixedValue, &[Some("a"), None]),
            [Some("XXXXXXXX".into()), Some("XXXXXXXX".into())]
        );
    }

    #[test]
    fn other_types_are_masked_as_the_standard_says() {
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let masked = apply(Action::Sha256Global, &whole, None).unwrap();
        // The first bytes of SHA-256(01 00 00 00) are 67 ab dd 72.
        let first = masked.as_primitive::<Int32Type>();
        assert_eq!((first.value(0), first.is_null(1)), (i32::from_le_bytes([0x67, 0xab, 0xdd, 0x72]), true));
        let fixed = |array: ArrayRef| apply(Action::MaskToFixedValue, &array, None).unwrap();
        let (zeros, dates) =
            (fixed(Arc::new(Int64Array::from(vec![Some(7), None]))), fixed(Arc::new(Date32Array::from(vec![7]))));
        assert_eq!(zeros.as_primitive::<Int64Type>(), &Int64Array::from(vec![0, 0]));
        assert_eq!(dates.as_ref(), &Date32Array::from(vec![0]) as &dyn Array);
        let truths = fixed(Arc::new(BooleanArray::from(vec![Some(true), None])));
        assert_eq!(truths.as_boolean(), &BooleanArray::from(vec![false, false]));
        let day: ArrayRef = Arc::new(Date32Array::from(vec![19_919]));
        let month = apply(Action::TruncateToMonth, &day, None).unwrap();
        let year = apply(Action::TruncateToYear, &day, None).unwrap();
        // 2024-07-15, 2024-07-01 and 2024-01-01.
        assert_eq!(month.as_ref(), &Date32Array::from(vec![19_905]) as &dyn Array);
        assert_eq!(year.as_ref(), &Date32Array::from(vec![19_723]) as &dyn Array);
        assert!(apply(Action::ReplaceWithNull, &day, None).is_none());
    }
}
