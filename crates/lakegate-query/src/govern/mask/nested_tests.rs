//! Tests masks of fields and items: the masked parts, the unchanged parts, and the bytes left under NULLs.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int32Array, Int64Array, ListArray, ListViewArray, MapArray,
    StringArray, StringViewArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int32Type};
use lakegate_core::project::MaskSpec;

use super::testing::{compile, hash, holds, round, shown, text_types};
use super::{Mask, MaskRule};

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// Buyers with an address, a name and a number. The second is NULL but has values underneath.
fn buyers() -> ArrayRef {
    let email: ArrayRef = Arc::new(StringArray::from(vec!["CANARY-1@x.org", "CANARY-2@x.org", "CANARY-3@y.org"]));
    let name: ArrayRef = Arc::new(StringViewArray::from(vec!["shown and long enough", "HIDDEN and long enough", "c"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::from_le_bytes(*b"HIDDEN!!"), 3]));
    let fields = Fields::from(vec![
        field("email", DataType::Utf8),
        field("name", DataType::Utf8View),
        Field::new("number", DataType::Int64, false),
    ]);
    let nulls = NullBuffer::from(vec![true, false, true]);
    Arc::new(StructArray::new(fields, vec![email, name, number], Some(nulls)))
}

#[test]
fn a_masked_field_leaves_the_others_and_nothing_under_a_null_struct() {
    let buyers = buyers();
    assert!(holds(&buyers, b"HIDDEN"));
    let masked = compile("email", &MaskSpec::Email, buyers.data_type()).unwrap().apply(&buyers);
    assert_eq!(masked.data_type(), buyers.data_type());
    assert_eq!(
        shown(&masked),
        [
            "{email: ****@x.org, name: shown and long enough, number: 1}",
            "NULL",
            "{email: ****@y.org, name: c, number: 3}"
        ]
    );
    assert!(!holds(&masked, b"CANARY") && !holds(&masked, b"HIDDEN"));
    let email = masked.as_struct().column(0);
    assert!(email.is_null(1) && masked.as_struct().column(1).is_null(1));
    masked.to_data().validate_full().unwrap();
}

#[test]
fn null_leaves_nothing_of_a_struct_list_or_map() {
    let buyers = buyers();
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["CANARY-k"; 3]));
    let map_fields = Fields::from(vec![Field::new("key", DataType::Utf8, false), buyers_field()]);
    let entries = StructArray::new(map_fields.clone(), vec![keys, Arc::clone(&buyers)], None);
    let entries_field = Arc::new(Field::new("entries", DataType::Struct(map_fields), false));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 2, 3]));
    let map: ArrayRef = Arc::new(MapArray::new(entries_field, offsets, entries, None, false));
    let list: ArrayRef = Arc::new(list_of(&buyers, vec![0, 2, 3], None));
    for array in [buyers, map, list] {
        let masked = compile("", &MaskSpec::Null, array.data_type()).unwrap().apply(&array);
        assert_eq!((masked.len(), masked.null_count()), (array.len(), array.len()));
        assert_eq!(masked.data_type(), array.data_type());
        assert!(!holds(&masked, b"CANARY") && !holds(&masked, b"HIDDEN"));
        assert!(compile("", &MaskSpec::Redact, array.data_type()).is_err());
    }
}

fn buyers_field() -> Field {
    field("value", buyers().data_type().clone())
}

fn list_of(items: &ArrayRef, offsets: Vec<i32>, nulls: Option<Vec<bool>>) -> ListArray {
    let item = Arc::new(field("item", items.data_type().clone()));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    ListArray::new(item, offsets, Arc::clone(items), nulls.map(NullBuffer::from))
}

#[test]
fn items_of_every_kind_of_list_are_masked() {
    for text in text_types() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some("CANARY-0"),
            Some("CANARY-1"),
            None,
            Some("CANARY-3"),
            Some("CANARY-4"),
            Some("CANARY-5"),
        ]));
        let items = cast(&texts, &text).unwrap();
        let item = Arc::new(field("item", text.clone()));
        let list: ArrayRef = Arc::new(list_of(&items, vec![1, 3, 5, 5, 6], Some(vec![true, false, true, true])));
        let large = cast(&list, &DataType::LargeList(Arc::clone(&item))).unwrap();
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(
            Arc::clone(&item),
            2,
            Arc::clone(&items),
            Some(NullBuffer::from(vec![true, false, true])),
        ));
        let view: ArrayRef = Arc::new(ListViewArray::new(
            item,
            ScalarBuffer::from(vec![3, 1, 0]),
            ScalarBuffer::from(vec![2, 2, 1]),
            items,
            Some(NullBuffer::from(vec![true, true, false])),
        ));
        let expected: [(ArrayRef, &[&str]); 4] = [
            (list, &["[[redacted], [redacted]]", "NULL", "[]", "[[redacted]]"]),
            (large, &["[[redacted], [redacted]]", "NULL", "[]", "[[redacted]]"]),
            (fixed, &["[[redacted], [redacted]]", "NULL", "[[redacted], [redacted]]"]),
            (view, &["[[redacted], [redacted]]", "[[redacted], [redacted]]", "NULL"]),
        ];
        for (array, expected) in expected {
            let mask = compile("", &MaskSpec::Redact, array.data_type()).unwrap();
            let masked = mask.apply(&array);
            assert_eq!(shown(&masked), expected, "{}", array.data_type());
            assert_eq!(masked.data_type(), array.data_type());
            assert!(!holds(&masked, b"CANARY"));
            for start in 0..array.len() {
                let part = array.slice(start, array.len() - start);
                assert_eq!(&mask.apply(&part), &masked.slice(start, part.len()));
            }
        }
    }
}

#[test]
fn fields_of_structs_in_lists_are_masked() {
    let list: ArrayRef = Arc::new(list_of(&buyers(), vec![0, 1, 2, 3], Some(vec![true, true, false])));
    let outer: ArrayRef = Arc::new(StructArray::new(
        Fields::from(vec![field("items", list.data_type().clone()), field("n", DataType::Int32)]),
        vec![list, Arc::new(Int32Array::from(vec![1, 2, 3]))],
        Some(NullBuffer::from(vec![true, true, true])),
    ));
    let rules: [(&[String], &MaskSpec); 3] = [
        (&["items".to_owned(), "email".to_owned()], &MaskSpec::Redact),
        (&["items".to_owned(), "number".to_owned()], &hash("n")),
        (&["n".to_owned()], &round("2")),
    ];
    let rules = rules.map(|(path, spec)| MaskRule { path, spec, or_null: false });
    let mask = Mask::compile(&rules, outer.data_type(), Some(&super::testing::key())).unwrap();
    let masked = mask.apply(&outer);
    assert!(!holds(&masked, b"CANARY") && !holds(&masked, b"HIDDEN"));
    let items = masked.as_struct().column(0);
    assert!(shown(items)[0].starts_with("[{email: [redacted], name: shown and long enough, number: "));
    assert!(items.as_list::<i32>().value(1).is_null(0));
    assert!(items.is_null(2));
    assert_eq!(masked.as_struct().column(1).as_primitive::<Int32Type>().values(), &[2, 2, 4]);
}

#[test]
fn a_field_that_can_not_be_null_becomes_one_that_can() {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let fields = Fields::from(vec![Field::new("number", DataType::Int64, false)]);
    let array: ArrayRef = Arc::new(StructArray::new(fields, vec![number], None));
    let mask = compile("number", &MaskSpec::Null, array.data_type()).unwrap();
    let masked = mask.apply(&array);
    assert_eq!(masked.data_type(), &DataType::Struct(Fields::from(vec![field("number", DataType::Int64)])));
    assert_eq!(masked.data_type(), &mask.data_type(array.data_type()));
    assert_eq!((masked.null_count(), masked.as_struct().column(0).null_count()), (0, 2));
    assert!(!mask.can_give_null());
}

#[test]
fn a_path_that_leads_nowhere_is_a_fault() {
    let buyers = buyers();
    let fault = |path: &str, data_type: &DataType| compile(path, &MaskSpec::Null, data_type).unwrap_err();
    assert_eq!(fault("emial", buyers.data_type()), "there is no field `emial`; did you mean `email`?");
    assert_eq!(fault("email.x", buyers.data_type()), "field `email`: it is no struct and has no fields");
    let of_number = compile("number", &MaskSpec::Redact, buyers.data_type()).unwrap_err();
    assert!(of_number.starts_with("field `number`: a `redact` mask takes text, not `Int64`"), "{of_number}");
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), field("value", DataType::Utf8)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    assert_eq!(fault("value", &map), "it is a map, which is masked as a whole or not at all");
}

#[test]
fn another_type_than_the_mask_was_made_for_gives_nulls() {
    let buyers = buyers();
    let mask = compile("email", &MaskSpec::Redact, buyers.data_type()).unwrap();
    let other: ArrayRef = Arc::new(StringArray::from(vec!["CANARY", "x"]));
    let masked = mask.apply(&other);
    assert_eq!((masked.null_count(), masked.data_type()), (2, &DataType::Utf8));
    let masked = compile("", &round("1"), &DataType::Int64).unwrap().apply(&other);
    assert_eq!((masked.null_count(), masked.data_type()), (2, &DataType::Utf8));
}
