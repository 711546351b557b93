//! Helpers for encoder tests: a batch with every type, and decoders. It contains no tests.

use std::io::{self, Read};
use std::sync::Arc;

use datafusion::arrow::array::builder::{Int32Builder, MapBuilder, StringBuilder};
use datafusion::arrow::array::*;
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::*;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use lakegate_core::format::{Coding, Format, Representation};
use lakegate_core::project::Formats;

/// The complete response for these batches.
pub(super) fn answer(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    encoded(&Representation::plain(format), &schema, batches)
}

pub(super) fn encoded(representation: &Representation, schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let (mut bytes, end) = in_two(representation, schema, batches);
    bytes.extend_from_slice(&end);
    bytes
}

/// The bytes before the last call, and the bytes of `finish`.
pub(super) fn in_two(
    representation: &Representation,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> (Vec<u8>, Vec<u8>) {
    let mut encoder = super::encoder(representation, schema, &Formats::default()).unwrap();
    let pieces = batches.iter().map(|batch| encoder.write(batch).unwrap());
    let bytes = pieces.collect::<Vec<_>>().concat();
    (bytes, encoder.finish().unwrap().to_vec())
}

/// The decompressed bytes; an error when they are truncated.
pub(super) fn decoded(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader(coding, bytes).read_to_end(&mut out)?;
    Ok(out)
}

/// The bytes that a decoder returns for a truncated input.
pub(super) fn decoded_so_far(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = reader(coding, bytes).read_to_end(&mut out);
    out
}

fn reader(coding: Coding, bytes: &[u8]) -> Box<dyn Read + '_> {
    match coding {
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
    }
}

pub(super) fn read_arrow(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(bytes, None)?.collect()
}

pub(super) fn read_parquet(bytes: Vec<u8>) -> Result<Vec<RecordBatch>, ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))?;
    builder.build()?.collect()
}

/// The bytes of a response, followed by the decompressed content inside it.
pub(super) fn unpacked(format: Format, bytes: &[u8]) -> Vec<u8> {
    let mut all = bytes.to_vec();
    match format {
        Format::Parquet => {
            let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
            for group in 0..reader.num_row_groups() {
                let group = reader.get_row_group(group).unwrap();
                for column in 0..group.num_columns() {
                    for page in group.get_column_page_reader(column).unwrap() {
                        all.extend_from_slice(page.unwrap().buffer());
                    }
                }
            }
        }
        Format::Xlsx => {
            // Inflate after each local file header; the decoder ignores trailing bytes.
            let heads = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"PK\x03\x04");
            for (at, _) in heads {
                let short = |from: usize| usize::from(u16::from_le_bytes([bytes[at + from], bytes[at + from + 1]]));
                let packed = &bytes[at + 30 + short(26) + short(28)..];
                let _ = flate2::read::DeflateDecoder::new(packed).read_to_end(&mut all);
            }
        }
        _ => {}
    }
    all
}

pub(super) type ArrowError = datafusion::arrow::error::ArrowError;

fn nulls() -> Option<NullBuffer> {
    Some(NullBuffer::from(vec![true, false, true]))
}

fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, true))
}

/// Three rows, the second one NULL, with a column for each type that has a representation.
pub(super) fn every_type() -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("null", Arc::new(NullArray::new(3))),
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("int8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(1)]))),
        ("int64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(9_007_199_254_740_993)]))),
        ("uint64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]))),
        (
            "float16",
            Arc::new(Float16Array::from(
                vec![Some(1.5f32), None, Some(0.1)].into_iter().map(|x| x.map(half)).collect::<Vec<_>>(),
            )),
        ),
        ("float32", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::NAN)]))),
        ("float64", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::INFINITY)]))),
        (
            "decimal32",
            Arc::new(Decimal32Array::from(vec![Some(12_345), None, Some(-5)]).with_precision_and_scale(9, 2).unwrap()),
        ),
        (
            "decimal128",
            Arc::new(
                Decimal128Array::from(vec![Some(10_i128.pow(37) + 1), None, Some(-1)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "decimal256",
            Arc::new(
                Decimal256Array::from(vec![Some(i256::from_i128(i128::MAX)), None, Some(i256::ONE)])
                    .with_precision_and_scale(76, 0)
                    .unwrap(),
            ),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("a\"\n,é"), None, Some("")]))),
        ("large_text", Arc::new(LargeStringArray::from(vec![Some("=1"), None, Some(" x")]))),
        ("text_view", Arc::new(StringViewArray::from(vec![Some("longer than twelve bytes"), None, Some("short")]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")]))),
        ("bytes_view", Arc::new(BinaryViewArray::from(vec![Some(&b"longer than twelve bytes"[..]), None, Some(b"x")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19_266), None, Some(-1)]))),
        ("date64", Arc::new(Date64Array::from(vec![Some(1_664_582_400_000), None, Some(0)]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(30_600_000_001), None, Some(0)]))),
        ("time32", Arc::new(Time32SecondArray::from(vec![Some(30_600), None, Some(0)]))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_664_612_345_678_901), None, Some(0)]))),
        ("timestamp_s", Arc::new(TimestampSecondArray::from(vec![Some(1_664_612_345), None, Some(0)]))),
        ("timestamp_ns", Arc::new(TimestampNanosecondArray::from(vec![Some(1), None, Some(-1)]))),
        (
            "instant",
            Arc::new(
                TimestampMillisecondArray::from(vec![Some(1_664_612_345_678), None, Some(0)]).with_timezone("UTC"),
            ),
        ),
        (
            "zoned",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_664_612_345_000_000), None, Some(0)])
                    .with_timezone("America/Bogota"),
            ),
        ),
        ("duration", Arc::new(DurationMillisecondArray::from(vec![Some(90_500), None, Some(-1)]))),
        (
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(14, 3, 1_500_000_000)),
                None,
                Some(IntervalMonthDayNano::new(0, 0, 0)),
            ])),
        ),
        ("interval_ym", Arc::new(IntervalYearMonthArray::from(vec![Some(14), None, Some(-1)]))),
        (
            "interval_dt",
            Arc::new(IntervalDayTimeArray::from(vec![
                Some(IntervalDayTime::new(1, 500)),
                None,
                Some(IntervalDayTime::new(0, 0)),
            ])),
        ),
    ];
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([1, 2]), None, Some([0, 0])].into_iter(), 2);
    columns.push(("fixed", Arc::new(fixed.unwrap())));
    let dictionary = DictionaryArray::<Int8Type>::from_iter([Some("b"), None, Some("a")]);
    columns.push(("dictionary", Arc::new(dictionary)));
    let runs: StringArray = vec![Some("run"), None, Some("end")].into();
    let runs = RunArray::try_new(&Int32Array::from(vec![1, 2, 3]), &runs).unwrap();
    columns.push(("runs", Arc::new(runs)));
    columns.extend(nested());
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn half(number: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32(number)
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let items: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None, Some("under a NULL"), Some("z")]));
    let offsets = OffsetBuffer::from_lengths([2, 1, 0]);
    let list = ListArray::new(item(DataType::Utf8View), offsets, Arc::clone(&items), nulls());
    let view = ListViewArray::new(
        item(DataType::Utf8View),
        vec![3, 0, 0].into(),
        vec![1, 1, 2].into(),
        Arc::clone(&items),
        nulls(),
    );
    let pairs: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(7), Some(7), Some(3), Some(4)]));
    let pairs = FixedSizeListArray::new(item(DataType::Int32), 2, pairs, nulls());
    let fields = vec![Field::new("a", DataType::Int64, true), Field::new("b", list.data_type().clone(), true)];
    let parts: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![Some(1), Some(7), None])), Arc::new(list.clone())];
    let object = StructArray::new(fields.into(), parts, nulls());
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.keys().append_value("n");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let mut keyed = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    keyed.keys().append_value(-5);
    keyed.values().append_value("five");
    keyed.append(true).unwrap();
    keyed.append(false).unwrap();
    keyed.append(true).unwrap();
    vec![
        ("list", Arc::new(list)),
        ("list_view", Arc::new(view)),
        ("pairs", Arc::new(pairs)),
        ("object", Arc::new(object)),
        ("map", Arc::new(map.finish())),
        ("keyed", Arc::new(keyed.finish())),
    ]
}
