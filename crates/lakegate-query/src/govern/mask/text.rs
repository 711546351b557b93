//! Masks text in every Arrow type of text: plain, large, views and dictionaries.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, DictionaryArray, GenericStringBuilder, OffsetSizeTrait, PrimitiveArray,
    StringViewBuilder, downcast_dictionary_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType, DataType};
use lakegate_core::project::Step;

use super::key::Pseudonyms;
use super::{grid, standard};

/// Replaces any text.
const REDACTED: &str = "[redacted]";
/// Replaces a part of a text, whatever the length of the part.
const PADDING: &str = "****";
/// Minimum number of hidden characters. A text that would hide fewer is not shown in part.
const LEAST_HIDDEN: usize = 4;

/// A mask of text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TextMask {
    Redact,
    Partial {
        prefix: u8,
        suffix: u8,
    },
    Email,
    Hash(Pseudonyms),
    Grid(Step),
    /// Shows the first and last characters, and the class of each other character.
    Alphanum {
        first: usize,
        last: usize,
    },
    /// SHA-256 with a salt, which may be empty.
    Digest {
        salt: String,
    },
}

impl TextMask {
    /// Returns `None` for an array that is not text, or if the masked text does not fit into one array.
    pub(super) fn apply(&self, array: &ArrayRef, hidden: Option<&NullBuffer>) -> Option<ArrayRef> {
        match array.data_type() {
            DataType::Utf8 => self.plain::<i32>(array.as_string_opt::<i32>()?, hidden),
            DataType::LargeUtf8 => self.plain::<i64>(array.as_string_opt::<i64>()?, hidden),
            DataType::Utf8View => {
                let mut masked = StringViewBuilder::with_capacity(array.len());
                self.each(array.as_string_view_opt()?, hidden, |text| {
                    masked.append_option(text);
                    Some(())
                })?;
                Some(Arc::new(masked.finish()))
            }
            DataType::Dictionary(..) => downcast_dictionary_array!(
                array => self.dictionary(array, hidden),
                _ => None
            ),
            _ => None,
        }
    }

    /// Appends the masked form of a text, or of NULL, to `out`; `false` if it is NULL.
    fn write(&self, text: Option<&str>, out: &mut String) -> bool {
        let Some(text) = text else {
            if *self == Self::Redact {
                out.push_str(REDACTED);
            }
            return *self == Self::Redact;
        };
        match self {
            Self::Redact => out.push_str(REDACTED),
            Self::Partial { prefix, suffix } => partial(text, usize::from(*prefix), usize::from(*suffix), out),
            Self::Email => email(text, out),
            Self::Hash(pseudonyms) => pseudonyms.write(text, out),
            Self::Grid(step) => return grid::write_cell(text, *step, out),
            Self::Alphanum { first, last } => standard::write_alphanum(text, *first, *last, out),
            Self::Digest { salt } => standard::write_digest(salt, text, out),
        }
        true
    }

    /// Masks row by row in one reused buffer. Returns `None` as soon as `take` does.
    fn each<'a>(
        &self,
        array: impl ArrayAccessor<Item = &'a str>,
        hidden: Option<&NullBuffer>,
        mut take: impl FnMut(Option<&str>) -> Option<()>,
    ) -> Option<()> {
        let mut masked = String::new();
        for row in 0..array.len() {
            if hidden.is_some_and(|hidden| hidden.is_null(row)) {
                take(None)?;
                continue;
            }
            masked.clear();
            let is_text = self.write(array.is_valid(row).then(|| array.value(row)), &mut masked);
            take(is_text.then_some(masked.as_str()))?;
        }
        Some(())
    }

    fn plain<'a, O: OffsetSizeTrait>(
        &self,
        array: impl ArrayAccessor<Item = &'a str>,
        hidden: Option<&NullBuffer>,
    ) -> Option<ArrayRef> {
        let mut masked = GenericStringBuilder::<O>::with_capacity(array.len(), 0);
        let most = O::MAX_OFFSET;
        self.each(array, hidden, |text| {
            let end = masked.values_slice().len().checked_add(text.map_or(0, str::len))?;
            (end <= most).then(|| masked.append_option(text))
        })?;
        Some(Arc::new(masked.finish()))
    }

    /// A new dictionary of the masked forms of the used values. Equal forms share one key, because two keys would
    /// reveal that the texts behind them differ.
    fn dictionary<K: ArrowDictionaryKeyType>(
        &self,
        array: &DictionaryArray<K>,
        hidden: Option<&NullBuffer>,
    ) -> Option<ArrayRef> {
        let values = array.values();
        match values.data_type() {
            DataType::Utf8 => self.dictionary_of(array, values.as_string_opt::<i32>()?, hidden),
            DataType::LargeUtf8 => self.dictionary_of(array, values.as_string_opt::<i64>()?, hidden),
            DataType::Utf8View => self.dictionary_of(array, values.as_string_view_opt()?, hidden),
            _ => None,
        }
    }

    fn dictionary_of<'a, K: ArrowDictionaryKeyType>(
        &self,
        array: &DictionaryArray<K>,
        values: impl ArrayAccessor<Item = &'a str>,
        hidden: Option<&NullBuffer>,
    ) -> Option<ArrayRef> {
        /// Adds a masked text to the new dictionary, once.
        fn number(masked: &str, keys: &mut HashMap<String, usize>, texts: &mut Vec<String>) -> usize {
            *keys.entry(masked.to_owned()).or_insert_with(|| {
                texts.push(masked.to_owned());
                texts.len() - 1
            })
        }

        let (mut numbers, mut texts) = (HashMap::new(), Vec::new());
        let mut masked = String::new();
        let null = self.write(None, &mut masked).then(|| number(&masked, &mut numbers, &mut texts));
        // The key of each value that has been masked; the inner `None` is NULL.
        let mut known = vec![None::<Option<usize>>; values.len()];
        let mut keys = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            if hidden.is_some_and(|hidden| hidden.is_null(row)) {
                keys.push(None);
                continue;
            }
            let at = array.is_valid(row).then(|| array.keys().value(row).as_usize());
            let key = match at.filter(|at| *at < values.len() && values.is_valid(*at)) {
                None => null,
                Some(at) => *known[at].get_or_insert_with(|| {
                    masked.clear();
                    self.write(Some(values.value(at)), &mut masked).then(|| number(&masked, &mut numbers, &mut texts))
                }),
            };
            keys.push(match key {
                Some(key) => Some(K::Native::from_usize(key)?),
                None => None,
            });
        }
        let texts: ArrayRef = match array.values().data_type() {
            DataType::Utf8 => plain_array::<i32>(&texts)?,
            DataType::LargeUtf8 => plain_array::<i64>(&texts)?,
            _ => {
                let mut views = StringViewBuilder::with_capacity(texts.len());
                texts.iter().for_each(|text| views.append_value(text));
                Arc::new(views.finish())
            }
        };
        let keys = keys.into_iter().collect::<PrimitiveArray<K>>();
        Some(Arc::new(DictionaryArray::try_new(keys, texts).ok()?))
    }
}

fn plain_array<O: OffsetSizeTrait>(texts: &[String]) -> Option<ArrayRef> {
    let bytes = texts.iter().map(String::len).sum::<usize>();
    if bytes > O::MAX_OFFSET {
        return None;
    }
    let mut array = GenericStringBuilder::<O>::with_capacity(texts.len(), bytes);
    texts.iter().for_each(|text| array.append_value(text));
    Some(Arc::new(array.finish()))
}

/// The first and last characters around padding, or padding alone.
fn partial(text: &str, prefix: usize, suffix: usize, out: &mut String) {
    let is_long = text.chars().nth(prefix + suffix + LEAST_HIDDEN - 1).is_some();
    if !is_long {
        out.push_str(PADDING);
        return;
    }
    let start = text.char_indices().nth(prefix).map_or(text.len(), |(at, _)| at);
    let end = match suffix {
        0 => text.len(),
        _ => text.char_indices().nth_back(suffix - 1).map_or(text.len(), |(at, _)| at),
    };
    out.push_str(&text[..start]);
    out.push_str(PADDING);
    out.push_str(&text[end..]);
}

/// Padding, followed by the domain if the text is an email address.
fn email(text: &str, out: &mut String) {
    out.push_str(PADDING);
    let Some((local, domain)) = text.split_once('@') else { return };
    if is_local_part(local) && is_domain(domain) {
        out.push('@');
        out.extend(domain.chars().map(|each| each.to_ascii_lowercase()));
    }
}

fn is_local_part(text: &str) -> bool {
    let odd = |each: char| each.is_whitespace() || each.is_control() || "\"(),:;<>[\\]".contains(each);
    !text.is_empty() && text.len() <= 64 && !text.contains(odd)
}

/// A domain of at least two labels. A single word after an `@` could be anything.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|each| each.is_ascii_alphanumeric() || each == b'-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}
