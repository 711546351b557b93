//! Helpers for the tests of masks.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use lakegate_core::project::{Granularity, MaskSpec, Step};

use super::{Mask, MaskKey, MaskRule};

pub(super) const SECRET: &str = "a key of masks for tests, and only for tests";

pub(super) fn key() -> Arc<MaskKey> {
    Arc::new(MaskKey::new(SECRET).unwrap())
}

pub(super) fn step(text: &str) -> Step {
    Step::parse(text).unwrap()
}

pub(super) fn hash(domain: &str) -> MaskSpec {
    MaskSpec::Hash { domain: domain.to_owned() }
}

pub(super) fn truncate(to: Granularity) -> MaskSpec {
    MaskSpec::Truncate { to }
}

pub(super) fn round(by: &str) -> MaskSpec {
    MaskSpec::Round { step: step(by) }
}

pub(super) fn grid(by: &str) -> MaskSpec {
    MaskSpec::Grid { step: step(by) }
}

/// Compiles one rule, whose path has fields separated by dots.
pub(super) fn compile(path: &str, spec: &MaskSpec, data_type: &DataType) -> Result<Mask, String> {
    let path = path.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    Mask::compile(&[MaskRule { path: &path, spec, or_null: false }], data_type, Some(&key()))
}

pub(super) fn apply(spec: &MaskSpec, array: &ArrayRef) -> ArrayRef {
    let masked = compile("", spec, array.data_type()).unwrap().apply(array);
    assert_eq!((masked.data_type(), masked.len()), (array.data_type(), array.len()));
    masked.to_data().validate_full().unwrap();
    masked
}

/// The values as text; NULL is `NULL`.
pub(super) fn shown(array: &ArrayRef) -> Vec<String> {
    let nulls = array.logical_nulls();
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let text = |row: usize| array_value_to_string(array, row).unwrap();
    (0..array.len()).map(|row| if is_null(row) { "NULL".to_owned() } else { text(row) }).collect()
}

/// Every Arrow type of text.
pub(super) fn text_types() -> Vec<DataType> {
    let dictionary = |values: DataType| DataType::Dictionary(Box::new(DataType::Int16), Box::new(values));
    vec![
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary(DataType::Utf8),
        dictionary(DataType::LargeUtf8),
        dictionary(DataType::Utf8View),
    ]
}

/// The masked texts, checked to be equal in every type, whole and as a slice.
pub(super) fn masked_texts(spec: &MaskSpec, texts: &[Option<&str>]) -> Vec<Option<String>> {
    let mut padded = vec![Some("somebody@else.org"), None];
    padded.extend(texts);
    padded.push(Some("POINT (1 2)"));
    let plain: ArrayRef = Arc::new(StringArray::from(padded));
    let mut answers = Vec::new();
    for data_type in text_types() {
        let array = cast(&plain, &data_type).unwrap().slice(2, texts.len());
        let masked = cast(&apply(spec, &array), &DataType::Utf8).unwrap();
        answers.push(masked.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>());
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    answers.remove(0)
}

/// Whether any buffer of the array or of its children contains these bytes, in either order.
pub(super) fn holds(array: &ArrayRef, needle: &[u8]) -> bool {
    fn data_holds(data: &datafusion::arrow::array::ArrayData, needle: &[u8]) -> bool {
        let reversed = needle.iter().rev().copied().collect::<Vec<_>>();
        let found = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle || window == reversed);
        data.buffers().iter().any(|buffer| found(buffer.as_slice()))
            || data.child_data().iter().any(|child| data_holds(child, needle))
    }
    data_holds(&array.to_data(), needle)
}
