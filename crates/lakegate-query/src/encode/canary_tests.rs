//! No response contains bytes that are not in its rows: no hidden rows, masked cells, values under NULLs, unused bytes
//! of views, dictionaries and nested values, or metadata of the lake's files.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::*;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use lakegate_core::format::{Format, Representation};
use proptest::prelude::*;

use super::testing::{answer, encoded, every_type, read_arrow, read_parquet, unpacked};

/// Must not occur in a response, in any encoding that a format has.
const CANARY: &str = "CANARY-of-a-row-that-is-hidden";
const CANARY_NUMBER: i64 = 0x5EC2_E7C0_FFEE_F00D;

fn holds(bytes: &[u8], canary: &[u8]) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary)
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let number = CANARY_NUMBER.to_le_bytes();
    for canary in [CANARY.as_bytes(), &CANARY.as_bytes()[..12], &number, CANARY_NUMBER.to_string().as_bytes()] {
        assert!(!holds(bytes, canary), "{what}: {}", String::from_utf8_lossy(canary));
    }
}

/// Rows 1 to 3 of five. Row 2 is NULL over a canary; rows 0 and 4 are canaries.
fn shown(array: ArrayRef) -> ArrayRef {
    let nulls = NullBuffer::from(vec![true, true, false, true, true]);
    let data = array.to_data().into_builder().nulls(Some(nulls)).build().unwrap();
    make_array(data).slice(1, 3)
}

fn field(name: &str, data_type: &DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type.clone(), true))
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let texts = [CANARY, "first of the caller", CANARY, "second of the caller", CANARY];
    let numbers = [CANARY_NUMBER, 1, CANARY_NUMBER, 2, CANARY_NUMBER];
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let view: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let number: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let keys = Int8Array::from(vec![0, 1, 0, 2, 0]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![CANARY, texts[1], texts[3]]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys.clone(), values));
    // A NULL value in the dictionary, with a canary under it.
    let under = StringArray::from(vec![CANARY, texts[1], CANARY]).into_data().into_builder();
    let under = under.nulls(Some(NullBuffer::from(vec![true, true, false]))).build().unwrap();
    let null_value: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys, make_array(under)));
    let runs =
        RunArray::try_new(&Int32Array::from(vec![1, 2, 3, 4, 5]), &StringArray::from_iter_values(texts)).unwrap();

    let offsets = || OffsetBuffer::from_lengths([1; 5]);
    let list: ArrayRef = Arc::new(ListArray::new(field("item", view.data_type()), offsets(), Arc::clone(&view), None));
    let large: ArrayRef = Arc::new(LargeListArray::new(
        field("item", dictionary.data_type()),
        OffsetBuffer::from_lengths([1; 5]),
        Arc::clone(&dictionary),
        None,
    ));
    let list_view: ArrayRef = Arc::new(ListViewArray::new(
        field("item", view.data_type()),
        vec![0, 1, 2, 3, 4].into(),
        vec![1; 5].into(),
        Arc::clone(&view),
        None,
    ));
    let fixed: ArrayRef =
        Arc::new(FixedSizeListArray::new(field("item", number.data_type()), 1, Arc::clone(&number), None));
    let object: ArrayRef = Arc::new(StructArray::new(
        vec![field("text", view.data_type()), field("list", list.data_type()), field("n", number.data_type())].into(),
        vec![Arc::clone(&view), Arc::clone(&list), Arc::clone(&number)],
        None,
    ));
    let entries = StructArray::new(
        vec![Arc::new(Field::new("key", text.data_type().clone(), false)), field("value", object.data_type())].into(),
        vec![Arc::clone(&text), Arc::clone(&object)],
        None,
    );
    let entries_field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map: ArrayRef = Arc::new(MapArray::new(entries_field, offsets(), entries, None, false));
    let objects: ArrayRef =
        Arc::new(ListArray::new(field("item", object.data_type()), offsets(), Arc::clone(&object), None));
    let named: Vec<(&str, ArrayRef)> = vec![
        ("text", text),
        ("view", view),
        ("number", number),
        ("dictionary", dictionary),
        ("null_value", null_value),
        ("list", list),
        ("large", large),
        ("list_view", list_view),
        ("fixed", fixed),
        ("object", object),
        ("map", map),
        ("objects", objects),
    ];
    let mut shown = named.into_iter().map(|(name, column)| (name, shown(column))).collect::<Vec<_>>();
    // Run-end encoded arrays have no null buffer of their own.
    let run: ArrayRef = Arc::new(runs.slice(1, 1));
    shown.push(("runs", datafusion::arrow::compute::concat(&[&run, &run, &run]).unwrap_or(run)));
    shown.retain(|(_, column)| column.len() == 3);
    shown
}

/// A batch with canary metadata on its schema and on each field, as a file of the lake may have.
fn batch() -> RecordBatch {
    let metadata = || HashMap::from([("lake.comment".to_owned(), CANARY.to_owned())]);
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, column) in columns() {
        fields.push(Field::new(name, column.data_type().clone(), true).with_metadata(metadata()));
        arrays.push(column);
    }
    let pandas =
        HashMap::from([("pandas".to_owned(), CANARY.to_owned()), ("ARROW:schema".to_owned(), CANARY.to_owned())]);
    RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, pandas)), arrays).unwrap()
}

#[test]
fn no_format_holds_what_is_not_in_the_rows() {
    let batch = batch();
    for (at, field) in batch.schema().fields().iter().enumerate() {
        let column = batch.project(&[at]).unwrap();
        for format in Format::ALL {
            let bytes = answer(format, std::slice::from_ref(&column));
            assert_clean(&format!("{} of {}", format.name(), field.name()), &unpacked(format, &bytes));
        }
    }
    for format in Format::ALL {
        let bytes = unpacked(format, &answer(format, std::slice::from_ref(&batch)));
        assert_clean(format.name(), &bytes);
        // Check that the scanned bytes do contain the rows.
        assert!(holds(&bytes, b"second of the caller"), "{}", format.name());
    }
}

#[test]
fn rows_are_still_there() {
    let batch = batch();
    let json: Vec<serde_json::Value> =
        serde_json::from_slice(&answer(Format::Json, std::slice::from_ref(&batch))).unwrap();
    assert_eq!(json[0]["text"], "first of the caller");
    assert_eq!(json[1]["view"], serde_json::Value::Null);
    assert_eq!(json[2]["dictionary"], "second of the caller");
    assert_eq!(json[2]["null_value"], serde_json::Value::Null);
    assert_eq!(json[2]["objects"][0]["list"][0], "second of the caller");
    assert_eq!(json[0]["map"]["first of the caller"]["n"], 1);
    let arrow = read_arrow(&answer(Format::Arrow, std::slice::from_ref(&batch))).unwrap();
    let parquet = read_parquet(answer(Format::Parquet, std::slice::from_ref(&batch))).unwrap();
    for read in [arrow, parquet] {
        assert_eq!(answer(Format::Json, &read), answer(Format::Json, std::slice::from_ref(&batch)));
    }
}

#[test]
fn arrow_and_parquet_carry_every_type_as_json_does() {
    let batch = every_type();
    let json = |batches: &[RecordBatch]| {
        let json: serde_json::Value = serde_json::from_slice(&answer(Format::Json, batches)).unwrap();
        json
    };
    let wanted = json(std::slice::from_ref(&batch));
    assert_eq!(json(&read_arrow(&answer(Format::Arrow, std::slice::from_ref(&batch))).unwrap()), wanted);
    assert_eq!(json(&read_parquet(answer(Format::Parquet, std::slice::from_ref(&batch))).unwrap()), wanted);
}

#[test]
fn files_say_nothing_of_the_lake_and_only_what_the_rows_say() {
    let batch = batch();
    let file = answer(Format::Parquet, std::slice::from_ref(&batch));
    let reader = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().created_by(), Some("lakegate"));
    let keys = metadata.file_metadata().key_value_metadata().into_iter().flatten().map(|pair| pair.key.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["ARROW:schema"]);
    let text = metadata.row_group(0).column(0).statistics().unwrap();
    assert_eq!(text.min_bytes_opt(), Some(&b"first of the caller"[..]));
    assert_eq!(text.max_bytes_opt(), Some(&b"second of the caller"[..]));
    assert_eq!(text.null_count_opt(), Some(1));
    let arrow = read_arrow(&answer(Format::Arrow, std::slice::from_ref(&batch))).unwrap();
    assert!(arrow[0].schema().metadata().is_empty());
    assert!(arrow[0].schema().fields().iter().all(|field| field.metadata().is_empty()));
}

#[test]
fn an_empty_answer_has_its_schema() {
    let schema = every_type().schema();
    let names = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let read = |schema: SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let arrow = encoded(&Representation::plain(Format::Arrow), &schema, &[]);
    let arrow = datafusion::arrow::ipc::reader::StreamReader::try_new(arrow.as_slice(), None).unwrap();
    assert_eq!(read(arrow.schema()), names);
    let parquet = encoded(&Representation::plain(Format::Parquet), &schema, &[]);
    let parquet =
        datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(parquet));
    assert_eq!(read(Arc::clone(parquet.unwrap().schema())), names);
}

proptest! {
    /// A slice of nested rows reads back as it was written.
    #[test]
    fn slices_of_nested_rows_are_read_back(
        rows in prop::collection::vec(prop::option::of(prop::collection::vec(prop::option::of("[a-z]{0,20}"), 0..4)), 1..20),
        cut in 0_usize..20,
    ) {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        for row in &rows {
            match row {
                Some(items) => {
                    items.iter().for_each(|item| lists.values().append_option(item.as_deref()));
                    lists.append(true);
                }
                None => lists.append(false),
            }
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let batch = RecordBatch::try_from_iter_with_nullable([("l", lists, true)]).unwrap();
        let from = cut.min(rows.len() - 1);
        let batch = batch.slice(from, rows.len() - from);
        let wanted = serde_json::to_value(rows[from..].iter().map(|row| serde_json::json!({ "l": row })).collect::<Vec<_>>()).unwrap();
        for read in [
            read_arrow(&answer(Format::Arrow, std::slice::from_ref(&batch))).unwrap(),
            read_parquet(answer(Format::Parquet, std::slice::from_ref(&batch))).unwrap(),
        ] {
            let got: serde_json::Value = serde_json::from_slice(&answer(Format::Json, &read)).unwrap();
            prop_assert_eq!(&got, &wanted);
        }
    }
}
