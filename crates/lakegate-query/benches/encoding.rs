//! The speed of encoding rows as bytes: batches as a wide listing has them. `cargo bench --workspace --bench encoding`.
//!
//! One binary for all benches of the crate, because each links the engine: what is measured elsewhere in it gets a function
//! here and a line in `criterion_group!`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::format::{Format, Representation};
use lakegate_core::project::Formats;
use lakegate_query::encode::encoder;

const ROWS: i64 = 8_192;

/// Rows with what a listing of parcels is made of: numbers, a time, money, short and long text.
fn listing() -> RecordBatch {
    let number = |row: i64, most: i64| (row * 7_919) % most;
    let addresses = |seed: i64| (0..ROWS).map(move |row| format!("Calle {} # {}-{}", row % 180, seed, number(row, 90)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("trackcode_id", Arc::new((0..ROWS).map(|row| 90_000 + row).collect::<Int64Array>())),
        (
            "creation",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                (0..ROWS).map(|row| 1_664_582_400_000_000 + row * 61_234_567),
            )),
        ),
        ("crossdocking", Arc::new((0..ROWS).map(|row| Some(row % 3 == 0)).collect::<BooleanArray>())),
        ("pickup_address", Arc::new(addresses(1).map(Some).collect::<StringViewArray>())),
        ("drop_address", Arc::new(addresses(2).map(Some).collect::<StringArray>())),
        (
            "product_description",
            Arc::new(
                (0..ROWS)
                    .map(|row| (row % 5 > 0).then(|| format!("A box of \"things\", number {row}")))
                    .collect::<StringViewArray>(),
            ),
        ),
        (
            "product_price",
            Arc::new(
                Decimal128Array::from_iter_values((0..ROWS).map(|row| i128::from(number(row, 9_000_000))))
                    .with_precision_and_scale(18, 2)
                    .unwrap(),
            ),
        ),
        (
            "product_weight",
            Arc::new((0..ROWS).map(|row| (row % 7 > 0).then(|| row as f64 / 8.0)).collect::<Float64Array>()),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn encoding(criterion: &mut Criterion) {
    let batch = listing();
    let mut group = criterion.benchmark_group("encoding");
    for format in [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow] {
        let representation = Representation::plain(format);
        let formats = Formats::default();
        let write = || {
            // The second batch is what all but the first are like.
            let mut encoder = encoder(&representation, &batch.schema(), &formats).unwrap();
            encoder.write(&batch).unwrap();
            encoder
        };
        let bytes = write().write(&batch).unwrap().len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format.name(), |bencher| {
            let mut encoder = write();
            bencher.iter(|| black_box(encoder.write(black_box(&batch)).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, encoding);
criterion_main!(benches);
