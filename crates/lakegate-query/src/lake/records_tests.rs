//! Whole, unusual and broken files of both formats.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, StringArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{Int8Type, Int32Type};
use datafusion::parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;

/// A file with these bytes. Dropping the guard deletes its folder.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(bytes: &[u8]) -> Result<Records, RecordsError> {
    let (_folder, path) = file(bytes);
    read_records(&path)
}

fn parquet_bytes(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn text(text: &str) -> Option<Scalar> {
    Some(Scalar::String(text.to_owned()))
}

/// The cells read from a Parquet file with this one column.
fn column(array: ArrayRef) -> Vec<Option<Scalar>> {
    read(&parquet_bytes(vec![("x", array)])).unwrap().rows.into_iter().flatten().collect()
}

#[test]
fn parquet_types_become_plain_values() {
    assert_eq!(
        column(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        [Some(Scalar::Boolean(true)), None, Some(Scalar::Boolean(false))]
    );
    assert_eq!(column(Arc::new(Int64Array::from(vec![i64::MIN]))), [Some(Scalar::Integer(i64::MIN))]);
    assert_eq!(column(Arc::new(Int32Array::from(vec![-7]))), [Some(Scalar::Integer(-7))]);
    assert_eq!(column(Arc::new(UInt64Array::from(vec![7]))), [Some(Scalar::Integer(7))]);
    assert_eq!(column(Arc::new(Float64Array::from(vec![1.5]))), [Some(Scalar::Number(1.5))]);
    assert_eq!(column(Arc::new(StringArray::from(vec![Some("é"), None, Some("")]))), [text("é"), None, text("")]);
    assert_eq!(
        column(Arc::new(StringViewArray::from(vec!["a long string of more than twelve bytes"]))),
        [text("a long string of more than twelve bytes")]
    );
    assert_eq!(column(Arc::new(BinaryArray::from(vec![b"key".as_slice()]))), [text("key")]);
    let dictionary: DictionaryArray<Int8Type> = vec!["a", "b", "a"].into_iter().collect();
    assert_eq!(column(Arc::new(dictionary)), [text("a"), text("b"), text("a")]);
    let decimal = Decimal128Array::from(vec![4562]).with_precision_and_scale(38, 0).unwrap();
    assert_eq!(column(Arc::new(decimal)), [Some(Scalar::Integer(4562))]);
    let date = NaiveDate::from_ymd_opt(2022, 10, 1).unwrap();
    assert_eq!(column(Arc::new(Date32Array::from(vec![19_266]))), [Some(Scalar::Date(date))]);
    let time = DateTime::from_timestamp(1, 500_000_000).unwrap();
    assert_eq!(column(Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000]))), [Some(Scalar::Timestamp(time))]);
}

#[test]
fn what_does_not_fit_is_an_error_and_not_null() {
    let large = parquet_bytes(vec![("x", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    assert!(matches!(read(&large), Err(RecordsError::Value { column }) if column == "x"));
    let no_text = parquet_bytes(vec![("x", Arc::new(BinaryArray::from(vec![[0xffu8].as_slice()])))]);
    assert!(matches!(read(&no_text), Err(RecordsError::Value { .. })));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    assert!(
        matches!(read(&parquet_bytes(vec![("x", Arc::new(list))])), Err(RecordsError::Type { column, .. }) if column == "x")
    );
}

#[test]
fn many_parquet_rows_keep_their_order() {
    let rows = column(Arc::new(Int64Array::from_iter_values(0..5_000)));
    assert_eq!(rows, (0..5_000).map(|number| Some(Scalar::Integer(number))).collect::<Vec<_>>());
}

#[test]
fn broken_parquet_is_an_error_at_every_cut_and_flip() {
    let keys: StringArray = (0..200).map(|number| Some(format!("key-{number}"))).collect();
    let whole = parquet_bytes(vec![("id", Arc::new(Int64Array::from_iter_values(0..200))), ("key", Arc::new(keys))]);
    assert_eq!(read(&whole).unwrap().rows.len(), 200);
    for cut in (4..whole.len()).step_by(7) {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(error.to_string().contains("Parquet"), "{cut}: {error}");
    }
    for at in (4..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        // Some flips hit a value or padding, but none may crash the process.
        let _ = read(&flipped);
    }
}

#[test]
fn csv_with_commas_semicolons_and_quotes() {
    let expected = [vec![text("1"), text("a,b"), None], vec![text("2"), text("c\nd"), text("TRUE")]];
    let commas = read(b"id,key,x\r\n1,\"a,b\",\r\n2,\"c\nd\",TRUE\r\n").unwrap();
    assert_eq!(commas.columns, ["id", "key", "x"]);
    assert_eq!(commas.rows, expected);
    let semicolons = read(b"id;key;x\n1;a,b;\n2;\"c\nd\";TRUE").unwrap();
    assert_eq!(semicolons.rows, expected);
    assert_eq!(read(b"id,key\n").unwrap().rows, Vec::<Vec<Option<Scalar>>>::new());
}

#[test]
fn csv_in_every_encoding_with_a_mark() {
    let table = "id,näme\n1,é\n";
    let utf16 = |unit: fn(u16) -> [u8; 2], mark: [u8; 2]| {
        mark.into_iter().chain(table.encode_utf16().flat_map(unit)).collect::<Vec<u8>>()
    };
    let files = [
        table.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", table.as_bytes()].concat(),
        utf16(u16::to_le_bytes, [0xFF, 0xFE]),
        utf16(u16::to_be_bytes, [0xFE, 0xFF]),
    ];
    for bytes in files {
        let records = read(&bytes).unwrap();
        assert_eq!(records.columns, ["id", "näme"]);
        assert_eq!(records.rows, [vec![text("1"), text("é")]]);
    }
}

#[test]
fn what_is_no_table_is_an_error() {
    assert!(matches!(read(b""), Err(RecordsError::Empty)));
    assert!(matches!(read(b"PAR1"), Err(RecordsError::Parquet(_))));
    assert!(matches!(read(b"id,key\n1\n"), Err(RecordsError::Csv(_))));
    assert!(matches!(read(b"id,key\n1,2,3\n"), Err(RecordsError::Csv(_))));
    assert!(matches!(read(b"id,key\n1,\xff\n"), Err(RecordsError::NotText)));
    assert!(matches!(read(b"SQLite format 3\0"), Err(RecordsError::NotText)));
    assert!(matches!(read(b"\xFF\xFE\x41"), Err(RecordsError::NotText)));
    assert!(matches!(read(b"\xFF\xFE\x00\xD8"), Err(RecordsError::NotText)));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_records(folder.path()), Err(RecordsError::NotAFile | RecordsError::Io(_))));
    assert!(matches!(read_records(&folder.path().join("none")), Err(RecordsError::Io(_))));
}

#[test]
fn sizes_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.csv");
    std::fs::File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
    let error = read_records(&path).unwrap_err();
    assert_eq!(error.to_string(), "the file is too large: 268435457 bytes, and at most 268435456 are read");

    let wide = vec!["x"; MOST_COLUMNS + 1].join(",");
    assert!(matches!(read(wide.as_bytes()), Err(RecordsError::TooLarge { unit: "columns", .. })));

    // A small file with many rows, because every value is equal.
    let rows = Int64Array::from_value(7, MOST_ROWS + 1);
    let bytes = parquet_bytes(vec![("x", Arc::new(rows))]);
    assert!(bytes.len() < 100_000);
    assert!(matches!(read(&bytes), Err(RecordsError::TooLarge { unit: "rows", .. })));

    // A small file with few and long rows.
    let long = "x".repeat(1_000_000);
    let texts: StringArray = std::iter::repeat_n(Some(long.as_str()), 300).collect();
    let bytes = parquet_bytes(vec![("x", Arc::new(texts))]);
    assert!(matches!(read(&bytes), Err(RecordsError::TooLarge { unit: "cells", .. })));
}

#[test]
fn debug_shows_no_cell() {
    let records = read(b"id,key\n1,secret-key\n").unwrap();
    assert!(!format!("{records:?}").contains("secret"));
}
