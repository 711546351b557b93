//! A truncated response never reads as a complete one, in any format and coding.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringViewArray};
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::format::{Coding, Compression, Format, Representation};

use super::testing::{decoded, encoded, in_two, read_arrow, read_parquet};

fn batches() -> Vec<RecordBatch> {
    let batch = |from: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 5_000));
        let texts = (from..from + 5_000).map(|n| Some(format!("text of number {n}")));
        let texts: ArrayRef = Arc::new(texts.collect::<StringViewArray>());
        RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap()
    };
    vec![batch(0), batch(5_000), batch(10_000)]
}

/// The rows that a reader of the format finds, or its error.
fn rows(format: Format, bytes: &[u8]) -> Result<usize, String> {
    let count = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum();
    match format {
        Format::Json => {
            let rows = serde_json::from_slice::<Vec<serde_json::Value>>(bytes);
            rows.map(|rows| rows.len()).map_err(|error| error.to_string())
        }
        Format::Ndjson => {
            let rows = serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>();
            rows.map(|row| row.map(|_| 1)).sum::<Result<usize, _>>().map_err(|error| error.to_string())
        }
        Format::Csv => {
            let rows = csv::Reader::from_reader(bytes).records().map(|row| row.map(|_| 1)).sum::<Result<usize, _>>();
            rows.map_err(|error| error.to_string())
        }
        Format::Arrow => read_arrow(bytes).map(count).map_err(|error| error.to_string()),
        Format::Parquet => read_parquet(bytes.to_vec()).map(count).map_err(|error| error.to_string()),
        // The directory of a ZIP archive is at its end.
        Format::Xlsx => match bytes.windows(4).any(|window| window == b"PK\x05\x06") {
            true => Ok(15_000),
            false => Err("no workbook".to_owned()),
        },
    }
}

#[test]
fn no_cut_answer_reads_as_a_whole_one() {
    let batches = batches();
    let schema = batches[0].schema();
    for format in Format::ALL {
        for coding in [None, Some(Coding::Zstd), Some(Coding::Brotli), Some(Coding::Gzip)] {
            let compression = coding.map(|coding| Compression { coding, always: true });
            let representation = Representation { compression, ..Representation::plain(format) };
            let read = |bytes: &[u8]| {
                let bytes = match coding {
                    Some(coding) => decoded(coding, bytes).map_err(|error| error.to_string())?,
                    None => bytes.to_vec(),
                };
                rows(format, &bytes)
            };
            let whole = encoded(&representation, &schema, &batches);
            assert_eq!(read(&whole), Ok(15_000), "{representation}");
            // CSV has no end marker and its lines are complete, so only the coding or HTTP shows the truncation.
            if representation == Representation::plain(Format::Csv) {
                continue;
            }
            for batches in [&batches[..1], &batches] {
                let (cut, _) = in_two(&representation, &schema, batches);
                assert!(read(&cut).is_err(), "{representation} cut after {} batches: {:?}", batches.len(), read(&cut));
            }
        }
    }
}
