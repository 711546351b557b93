//! Compares random text files, read in pieces of random sizes and compressed or not, with the `csv` crate and
//! serde_json. Rows and types must not depend on the pieces.

use std::io::Write;

use ::bytes::Bytes;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::stream::{self, StreamExt};
use lakegate_core::project::ingest::PlainKind;
use proptest::prelude::*;

use super::bytes::Pieces;
use super::look::look_at;
use super::rows::Rows;
use super::source::Scan;
use super::*;

/// The rows of `bytes`, cut into pieces whose sizes repeat `sizes`.
async fn rows(bytes: &[u8], sizes: &[usize], layout: &Layout) -> Rows {
    let mut sizes = sizes.iter().copied().cycle();
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
        pieces.push(Ok(Bytes::copy_from_slice(piece)));
        rest = after;
    }
    let pieces = Pieces::new(stream::iter(pieces).boxed(), layout.compression).unwrap();
    Rows::new(pieces, layout).await.unwrap()
}

/// All columns with their types, and all rows as text.
async fn scanned(
    bytes: &[u8],
    sizes: &[usize],
    layout: &Layout,
    batch_rows: usize,
) -> (Vec<Field>, Vec<Vec<Option<String>>>) {
    let looked = look_at(rows(bytes, sizes, layout).await, layout).await.unwrap();
    let object = [object()];
    let fields = match layout.format {
        FileFormat::NdJson => json_fields(&[looked], &object, &layout.text).unwrap(),
        _ => csv_fields(&[looked], &object, &layout.text).unwrap(),
    };
    let schema = Arc::new(Schema::new(fields.clone()));
    let mut scan = Scan::new(rows(bytes, sizes, layout).await, layout, schema, batch_rows).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = scan.next().await.unwrap() {
        assert!(batch.num_rows() <= batch_rows);
        found.extend(cells(&batch));
    }
    (fields, found)
}

fn object() -> ObjectMeta {
    let location = datafusion::object_store::path::Path::from("t/a");
    ObjectMeta { location, last_modified: Default::default(), size: 0, e_tag: None, version: None }
}

fn cells(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let shown = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
    let shown = shown.collect::<Vec<_>>();
    let cell = |column: usize, row: usize| {
        let is_null = batch.column(column).logical_nulls().is_some_and(|nulls| nulls.is_null(row));
        (!is_null).then(|| shown[column].value(row).to_string())
    };
    (0..batch.num_rows()).map(|row| (0..batch.num_columns()).map(|column| cell(column, row)).collect()).collect()
}

fn layout(format: FileFormat, compression: FileCompression, types: Vec<(String, PlainKind)>) -> Layout {
    let text = TextFiles { types, ..TextFiles::default() };
    Layout { format, compression, text, skipped: Skipped::default() }
}

fn packed(text: &[u8], compression: FileCompression) -> Vec<u8> {
    match compression {
        FileCompression::None => text.to_vec(),
        FileCompression::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text).unwrap();
            packer.finish().unwrap()
        }
        FileCompression::Zstd => zstd::encode_all(text, 1).unwrap(),
    }
}

fn compression() -> impl Strategy<Value = FileCompression> {
    prop::sample::select(vec![FileCompression::None, FileCompression::Gzip, FileCompression::Zstd])
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1_usize..9, 1..6),
        prop::collection::vec(1_usize..300, 1..6),
        Just(vec![8_192]),
        Just(vec![usize::MAX])
    ]
}

fn csv_cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a\"é日,;\r\n 1.0-]{0,6}",
        1 => prop::sample::select(vec!["", "true", "1", "-2", "2.5", "1.10", "007", "2024-02-29", "2024-02-30", "5\" nail",
            "2024-02-29T10:00:00", "1e-05", "\u{1F600}", "NaN"]).prop_map(str::to_owned),
        1 => "[a\n]{0,300}",
    ]
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn csv_is_read_as_it_was_written(
        cells in prop::collection::vec(prop::collection::vec(csv_cell(), 3), 0..12),
        is_quoted in prop::collection::vec(any::<bool>(), 36),
        (end, has_mark, ends_with_line) in (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>(), any::<bool>()),
        compression in compression(),
        sizes in sizes(),
        batch_rows in 1_usize..5,
    ) {
        let mut text = if has_mark { "\u{feff}".to_owned() } else { String::new() };
        text += "a,b,\"c,c\"";
        text += end;
        for (at, cell) in cells.iter().flatten().enumerate() {
            let must = cell.starts_with('"') || cell.contains([',', '\r', '\n']);
            text += &if must || is_quoted[at] { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() };
            text += if at % 3 < 2 { "," } else { end };
        }
        if !ends_with_line {
            text.truncate(text.len() - end.len());
        }
        // Reads the text with the `csv` crate, without any of our code.
        let mut crates = ::csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let of_the_crate = crates.records().map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>());
        let of_the_crate = of_the_crate.collect::<Vec<_>>();
        prop_assert_eq!(&of_the_crate, &cells);
        let bytes = packed(text.as_bytes(), compression);
        let names = ["a", "b", "c,c"];
        let types = names.map(|name| (name.to_owned(), PlainKind::String)).to_vec();
        let (_, found) = run(scanned(&bytes, &sizes, &layout(FileFormat::Csv, compression, types), batch_rows));
        let expected = cells.iter().map(|row| row.iter().map(|cell| (!cell.is_empty()).then(|| cell.clone())).collect::<Vec<_>>());
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
        // Inferred types and values equal those of the text in one piece.
        let guessed = run(scanned(&bytes, &sizes, &layout(FileFormat::Csv, compression, vec![]), batch_rows));
        let whole = run(scanned(text.as_bytes(), &[usize::MAX], &layout(FileFormat::Csv, FileCompression::None, vec![]), 8_192));
        prop_assert_eq!(guessed, whole);
    }

    #[test]
    fn ndjson_is_read_as_it_was_written(
        values in prop::collection::vec(prop::option::of(("\\PC{0,6}", any::<i64>(), any::<f64>(), any::<bool>())), 1..12),
        (end, has_mark, is_escaped) in (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>(), any::<bool>()),
        compression in compression(),
        sizes in sizes(),
        batch_rows in 1_usize..5,
    ) {
        let mut text = if has_mark { "\u{feff}".to_owned() } else { String::new() };
        let mut expected = Vec::new();
        for value in &values {
            let Some((string, whole, number, is_true)) = value else {
                text += "{ \"s\": null }";
                text += end;
                expected.push(vec![None; 4]);
                continue;
            };
            let number = if number.is_finite() { *number } else { 0.5 };
            let line = serde_json::json!({"s": string, "i": whole, "b": is_true, "f": 1}).to_string();
            let line = match is_escaped {
                false => line,
                true => line.chars().map(|each| match each.is_ascii() {
                    true => each.to_string(),
                    false => each.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
                }).collect(),
            };
            text += &line.replace("\"f\":1", &format!("\"f\":{number:e}"));
            text += end;
            expected.push(vec![Some(string.clone()), Some(whole.to_string()), Some(number.to_string()), Some(is_true.to_string())]);
        }
        let types = [("s", PlainKind::String), ("i", PlainKind::Integer), ("f", PlainKind::Number), ("b", PlainKind::Boolean)];
        let types = types.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let bytes = packed(text.as_bytes(), compression);
        let guessed = layout(FileFormat::NdJson, compression, vec![]);
        let (fields, found) = run(scanned(&bytes, &sizes, &guessed, batch_rows));
        let of = |name: &str| fields.iter().position(|field| field.name() == name);
        prop_assert_eq!(found.len(), expected.len());
        for (row, expected) in found.iter().zip(&expected) {
            for (at, (name, _)) in types.iter().enumerate() {
                let cell = of(name).and_then(|place| row[place].clone());
                match (name.as_str(), &cell, &expected[at]) {
                    ("f", Some(cell), Some(expected)) => {
                        prop_assert_eq!(cell.parse::<f64>().unwrap(), expected.parse::<f64>().unwrap());
                    }
                    _ => prop_assert_eq!(&cell, &expected[at]),
                }
            }
        }
    }
}
