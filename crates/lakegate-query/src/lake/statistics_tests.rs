//! Files with wrong statistics return the same results as files without statistics, from files and from memory.
//!
//! When a trusted writer's statistics are wrong, rows may be missing, but no wrong row appears.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::data_type::{Int64Type, Int96, Int96Type};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;

use tokio::sync::OnceCell;

use super::testing::footer::{Fields, Footer, Thrift, statistics};
use crate::govern::testing;

const NAN: f64 = f64::NAN;

/// Name, values of 12 rows, and two values as SQL literals.
type Column = (&'static str, ArrayRef, [&'static str; 2]);

fn columns() -> Vec<Column> {
    fn dec(precision: u8, scale: i8, values: [Option<i128>; 12]) -> ArrayRef {
        let array = values.into_iter().collect::<Decimal128Array>();
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    }
    let int = [Some(5), Some(-3), None, Some(7), Some(100), Some(90), Some(90), Some(90), None, None, None, None];
    let long = int.map(|value| value.map(i64::from));
    let wide = int.map(|value| value.map(i128::from));
    let text = ["aé", "az", "b", "", "é", "z", "z", "z", "ab", "abc", "ABC", "ÿ"];
    let mut texts = text.map(Some).to_vec();
    texts[3] = None;
    let day = 86_400_000_000;
    vec![
        ("i", Arc::new(Int32Array::from(int.to_vec())), ["7", "90"]),
        ("j", Arc::new(Int16Array::from(int.map(|value| value.map(|value| value as i16)).to_vec())), ["7", "-3"]),
        ("l", Arc::new(Int64Array::from(long.to_vec())), ["100", "5"]),
        (
            "u",
            Arc::new(UInt32Array::from(vec![1, 2, 3_000_000_000, 4, 5, 6, 7, 8, 4_000_000_000, 4, 3_000_000_000, 0])),
            ["3000000000", "6"],
        ),
        (
            "w",
            Arc::new(UInt64Array::from(vec![1, 2, u64::MAX, 4, 5, 6, 7, 8, u64::MAX - 1, 4, 1 << 63, 0])),
            ["18446744073709551615", "6"],
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![1.0, NAN, 3.0, 3.0, -0.0, 0.0, 8.0, NAN, 5.0, 5.0, f64::INFINITY, NAN])),
            ["0.0", "4.0"],
        ),
        (
            "g",
            Arc::new(Float32Array::from(vec![1.0, f32::NAN, 3.0, 3.0, -0.0, -0.0, 8.0, 9.0, 5.0, 5.0, 5.0, f32::NAN])),
            ["-0.0", "CAST('NaN' AS REAL)"],
        ),
        ("t", Arc::new(StringArray::from(texts)), ["'az'", "'é'"]),
        ("b", Arc::new(BinaryArray::from_iter_values(text.map(str::as_bytes))), ["X'617A'", "X'C3BF'"]),
        ("d", dec(9, 2, wide), ["0.07", "0.9"]),
        ("e", dec(18, 4, wide), ["0.0090", "-0.0003"]),
        (
            "h",
            dec(30, 3, wide.map(|value| value.map(|value| value * 1_000_000_000_000_000_000_000))),
            [
                "CAST('90000000000000000000.000' AS DECIMAL(30, 3))",
                "CAST('-3000000000000000000.000' AS DECIMAL(30, 3))",
            ],
        ),
        ("y", Arc::new(Date32Array::from(int.to_vec())), ["DATE '1970-01-08'", "DATE '1970-04-01'"]),
        (
            "m",
            Arc::new(TimestampMicrosecondArray::from(long.map(|value| value.map(|value| value * day)).to_vec())),
            ["TIMESTAMP '1970-01-08T00:00:00'", "TIMESTAMP '1970-04-01T00:00:00'"],
        ),
        (
            "z",
            Arc::new(
                TimestampMillisecondArray::from(long.map(|value| value.map(|value| value * day / 1000)).to_vec())
                    .with_timezone("UTC"),
            ),
            ["TIMESTAMP '1970-01-08T00:00:00Z'", "TIMESTAMP '1970-04-01T02:00:00+02:00'"],
        ),
        (
            "n",
            Arc::new(TimestampNanosecondArray::from(long.map(|value| value.map(|value| value * day * 1000)).to_vec())),
            ["TIMESTAMP '1970-01-08T00:00:00'", "TIMESTAMP '1970-04-01T00:00:00'"],
        ),
        (
            "o",
            Arc::new(BooleanArray::from(int.map(|value| value.map(|value| value == 90)).to_vec())),
            ["true", "false"],
        ),
    ]
}

/// Writes row groups of four rows and pages of two, with every kind of statistics or with none.
fn write(path: &Path, has_statistics: bool) {
    let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
    fields.push(Field::new("id", datafusion::arrow::datatypes::DataType::Int64, true));
    arrays.push(Arc::new((0..12).map(Some).collect::<Int64Array>()));
    for (name, array, _) in columns() {
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let level = if has_statistics { EnabledStatistics::Page } else { EnabledStatistics::None };
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(4))
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .set_statistics_enabled(level)
        .set_offset_index_disabled(!has_statistics)
        .set_bloom_filter_enabled(has_statistics);
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A random number generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// The min and max values of all chunks, by column.
fn pools(footer: &mut Footer) -> Vec<Vec<Vec<u8>>> {
    let mut pools = Vec::<Vec<Vec<u8>>>::new();
    footer.chunks(|_, at, _, chunk| {
        pools.resize(pools.len().max(at + 1), Vec::new());
        for field in [5, 6] {
            if let Some(Thrift::Bytes(bound)) = statistics(chunk).get(&field) {
                pools[at].push(bound.clone());
            }
        }
    });
    pools
}

/// Sets arbitrary statistics: min and max values of other chunks, and an arbitrary NULL count.
fn lie(of: &mut Fields, rows: i64, pool: &[Vec<u8>], dice: &mut Dice) {
    of.clear();
    match dice.roll(6) {
        0 => {}
        1 => drop(of.insert(3, Thrift::Long(rows))),
        2 => drop(of.insert(3, Thrift::Long(1))),
        _ => drop(of.insert(3, Thrift::Long(0))),
    }
    of.insert(4, Thrift::Long(1));
    if dice.roll(5) == 0 || pool.is_empty() {
        return;
    }
    let one = &pool[dice.roll(pool.len())];
    let other = if dice.roll(2) == 0 { one } else { &pool[dice.roll(pool.len())] };
    for (field, bound) in [(1, one), (2, other), (5, one), (6, other)] {
        of.insert(field, Thrift::Bytes(bound.clone()));
    }
    of.insert(7, Thrift::Bool(true));
    of.insert(8, Thrift::Bool(true));
}

fn lie_of_all(footer: &mut Footer, dice: &mut Dice) {
    let pools = pools(footer);
    footer.chunks(|_, at, rows, chunk| lie(statistics(chunk), rows, &pools[at], dice));
    footer.column_indexes(|_, at, index| {
        let pages = index.get_mut(&1).unwrap().items().len();
        for field in [2, 3] {
            let bounds = (0..pages).map(|_| match pools[at].as_slice() {
                [] => Thrift::Bytes(Vec::new()),
                pool => Thrift::Bytes(pool[dice.roll(pool.len())].clone()),
            });
            index.insert(field, Thrift::List(8, bounds.collect()));
        }
        index.insert(1, Thrift::List(1, (0..pages).map(|_| Thrift::Bool(dice.roll(3) == 0)).collect()));
        index.insert(5, Thrift::List(6, (0..pages).map(|_| Thrift::Long(dice.roll(3) as i64)).collect()));
    });
    // The Bloom filter of another row group excludes nearly every value.
    let mut filters = Vec::new();
    footer.chunks(|_, _, _, chunk| filters.push(chunk[&3].clone().fields().get(&14).cloned()));
    let (mut at, count) = (0, filters.len());
    footer.chunks(|_, _, _, chunk| {
        if let Some(filter) = &filters[(at + count / 3) % count] {
            chunk.get_mut(&3).unwrap().fields().insert(14, filter.clone());
        }
        at += 1;
    });
}

/// Keeps only the deprecated min and max, and removes the column orders.
fn deprecated(footer: &mut Footer, of_text: Option<(&[u8], &[u8])>) {
    footer.file.fields().remove(&7);
    footer.chunks(|_, at, _, chunk| {
        for field in [4, 5, 6, 7] {
            chunk.remove(&field);
        }
        chunk.get_mut(&3).unwrap().fields().remove(&14);
        let of = statistics(chunk);
        let (greatest, least) = (of.remove(&5), of.remove(&6));
        of.remove(&7);
        of.remove(&8);
        if let (Some(greatest), Some(least)) = (greatest, least) {
            of.insert(1, greatest);
            of.insert(2, least);
        }
        let name = columns().get(at.wrapping_sub(1)).map(|(name, ..)| *name);
        if let (Some("t" | "b" | "u" | "w" | "f" | "g" | "h"), Some((least, greatest))) = (name, of_text) {
            let width = of.get(&1).map_or(0, |bound| match bound {
                Thrift::Bytes(bound) => bound.len(),
                _ => 0,
            });
            let fit = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                if !matches!(name, Some("t" | "b")) {
                    bytes.resize(width, 0);
                }
                Thrift::Bytes(bytes)
            };
            of.insert(1, fit(greatest));
            of.insert(2, fit(least));
        }
    });
}

const CONDITIONS: [&str; 7] =
    ["v = {a}", "v < {a}", "v >= {a}", "v <> {a}", "NOT (v < {b})", "v IN ({a}, {b})", "v BETWEEN {a} AND {b}"];

/// All queries: the endpoint's name, its SQL, and whether rows may be missing when a trusted writer is wrong.
fn queries() -> Vec<(String, String, bool)> {
    let mut queries = Vec::new();
    for (column, _, [a, b]) in columns() {
        let conditions = CONDITIONS.iter().chain(&["v IS NULL", "v IS NOT NULL"]);
        for (at, condition) in conditions.enumerate() {
            let condition = condition.replace('v', column).replace("{a}", a).replace("{b}", b);
            queries.push((
                format!("{column}_where_{at}"),
                format!("SELECT id, {column} FROM t WHERE {condition} ORDER BY id"),
                true,
            ));
        }
        queries.push((format!("{column}_all"), format!("SELECT id, {column} FROM t ORDER BY id"), false));
        let all = format!("SELECT min({column}) AS a, max({column}) AS b, count({column}) AS c, count(*) AS n FROM t");
        queries.push((format!("{column}_sum"), all, false));
        let first = format!("SELECT {column}, id FROM t ORDER BY {column} DESC, id LIMIT 3");
        queries.push((format!("{column}_first"), first, false));
        queries.push((format!("{column}_own"), format!("SELECT id, {column} FROM own_{column} ORDER BY id"), true));
    }
    queries
}

/// The results of all queries, from files or from memory.
async fn answers(lake: &Path, file: &str, is_hot: bool) -> Vec<Vec<String>> {
    let mut config = format!("[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"{file}\"\nshared = true\n");
    for (column, _, [a, b]) in columns() {
        config += &format!(
            "[tables.own_{column}]\nlocation = \"{file}\"\nrow_filter = '''{column} = {a} OR {column} = {b}'''\n"
        );
    }
    let queries = queries();
    let endpoints = queries.iter().map(|(name, sql, _)| (name.as_str(), sql.as_str())).collect::<Vec<_>>();
    let project = testing::project(lake, &config, &endpoints).await;
    if is_hot {
        project.keep_hot(16 << 20).await.unwrap();
    }
    let mut answers = Vec::new();
    for (name, sql, _) in &queries {
        // Twice, because the second run uses what the first one cached.
        for _ in 0..if is_hot { 2 } else { 1 } {
            let plan = testing::governed(&project, &testing::principal(""), name, "{}").unwrap();
            let rows = testing::rows(plan).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            answers.push(rows);
        }
    }
    answers
}

/// The results of the same rows without statistics, computed once for all tests.
async fn plain(is_hot: bool) -> &'static [Vec<String>] {
    static ANSWERS: [OnceCell<Vec<Vec<String>>>; 2] = [OnceCell::const_new(), OnceCell::const_new()];
    let made = ANSWERS[usize::from(is_hot)].get_or_init(|| async {
        let lake = tempfile::tempdir().unwrap();
        write(&lake.path().join("plain.parquet"), false);
        answers(lake.path(), "plain.parquet", is_hot).await
    });
    made.await
}

/// The results of a file with a changed footer, and those of the same rows without statistics.
async fn both(is_hot: bool, change: impl FnOnce(&mut Footer)) -> (Vec<Vec<String>>, &'static [Vec<String>]) {
    let lake = tempfile::tempdir().unwrap();
    let path = lake.path().join("t.parquet");
    write(&path, true);
    let mut footer = Footer::read(&path);
    change(&mut footer);
    footer.write(&path);
    (answers(lake.path(), "t.parquet", is_hot).await, plain(is_hot).await)
}

async fn are_as_without(change: impl Fn(&mut Footer)) {
    for is_hot in [false, true] {
        let (got, wanted) = both(is_hot, &change).await;
        let asked = queries();
        for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
            let query = &asked[if is_hot { at / 2 } else { at }].1;
            assert_eq!(got, wanted, "hot {is_hot}: {query}");
        }
    }
}

#[tokio::test]
async fn true_statistics_of_a_known_writer_change_no_answer() {
    are_as_without(|_| ()).await;
}

#[tokio::test]
async fn wrong_statistics_of_unknown_writers_change_no_answer() {
    let writers = [None, Some("Parquet.Net v4.25.0 (build x)"), Some("parquet-rs version 4.3.0"), Some("DuckDB")];
    for (seed, writer) in writers.into_iter().enumerate() {
        are_as_without(|footer| {
            lie_of_all(footer, &mut Dice(seed as u64));
            footer.written_by(writer);
        })
        .await;
    }
}

#[tokio::test]
async fn bounds_without_an_order_of_their_column_change_no_answer() {
    are_as_without(|footer| {
        let (pools, mut dice) = (pools(footer), Dice(7));
        footer.file.fields().remove(&7);
        footer.chunks(|_, at, rows, chunk| {
            let of = statistics(chunk);
            let nulls = of.get(&3).cloned();
            lie(of, rows, &pools[at], &mut dice);
            of.extend(nulls.map(|nulls| (3, nulls)));
        });
    })
    .await;
}

#[tokio::test]
async fn deprecated_bounds_are_believed_of_signed_integers_alone() {
    for writer in ["parquet-mr version 1.6.0", "parquet-mr version 1.12.3", "parquet-rs version 59.3.2"] {
        are_as_without(|footer| {
            footer.written_by(Some(writer));
            // Old writers compared signed bytes: `aé` sorts before `az` and `b`.
            deprecated(footer, Some(("aé".as_bytes(), b"b")));
        })
        .await;
    }
}

#[tokio::test]
async fn nulls_that_are_not_counted_are_not_taken_for_none() {
    are_as_without(|footer| {
        footer.chunks(|_, _, _, chunk| drop(statistics(chunk).remove(&3)));
        footer.column_indexes(|_, _, index| drop(index.remove(&5)));
    })
    .await;
}

#[tokio::test]
async fn statistics_that_contradict_themselves_change_no_answer() {
    are_as_without(|footer| {
        footer.chunks(|_, at, rows, chunk| {
            let of = statistics(chunk);
            match at % 3 {
                0 => drop(of.insert(3, Thrift::Long(rows + 1))),
                // Min and max of a chunk with only NULLs.
                1 => {
                    let bound = of.get(&5).cloned();
                    of.insert(3, Thrift::Long(rows));
                    of.extend(bound.map(|bound| (6, bound)));
                    if of.get(&5).is_none() {
                        of.insert(3, Thrift::Long(rows - 1));
                    }
                }
                _ => {
                    let (greatest, least) = (of.remove(&5), of.remove(&6));
                    of.extend(least.map(|least| (5, least)));
                    of.extend(greatest.map(|greatest| (6, greatest)));
                }
            }
        });
        footer.chunks(|_, at, _, chunk| {
            let of = statistics(chunk);
            if at % 3 == 2 && of.get(&5) == of.get(&6) {
                of.remove(&5);
                of.remove(&6);
            }
        });
    })
    .await;
}

#[tokio::test]
async fn page_indexes_that_are_not_of_their_columns_change_no_answer() {
    are_as_without(|footer| {
        let mut indexes = Vec::new();
        footer.chunks(|_, _, _, chunk| indexes.push((chunk.get(&4).cloned(), chunk.get(&5).cloned())));
        let (mut at, count) = (0, indexes.len());
        footer.chunks(|_, _, _, chunk| {
            let (offset, length) = indexes[(at + 1) % count].clone();
            chunk.insert(4, offset.unwrap());
            chunk.insert(5, length.unwrap());
            at += 1;
        });
    })
    .await;
    // Bytes that are not an index.
    are_as_without(|footer| {
        footer.chunks(|_, _, _, chunk| {
            chunk.insert(4, Thrift::Long(4));
            chunk.insert(6, Thrift::Long(5));
        });
    })
    .await;
}

#[tokio::test]
async fn a_known_writer_that_lies_shows_no_row_that_is_not_there() {
    for seed in 0..3 {
        for is_hot in [false, true] {
            let (got, wanted) = both(is_hot, |footer| lie_of_all(footer, &mut Dice(seed))).await;
            let asked = queries();
            for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                let (_, query, may_lack) = &asked[if is_hot { at / 2 } else { at }];
                match may_lack {
                    true => assert!(got.iter().all(|row| wanted.contains(row)), "hot {is_hot}: {query}: {got:?}"),
                    false => assert_eq!(got, wanted, "hot {is_hot}: {query}"),
                }
            }
        }
    }
}

/// Writes INT96 values, given as Julian day and nanoseconds of the day.
fn write_int96(path: &Path, values: &[Option<(u32, u64)>]) {
    let schema = parse_message_type("message m { required int64 id; optional int96 v; }").unwrap();
    let properties = Arc::new(WriterProperties::builder().set_statistics_enabled(EnabledStatistics::Page).build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), Arc::new(schema), properties).unwrap();
    for (of_group, values) in values.chunks(2).enumerate() {
        let mut group = writer.next_row_group().unwrap();
        let ids = (0..values.len() as i64).map(|at| of_group as i64 * 2 + at).collect::<Vec<_>>();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
        column.close().unwrap();
        let levels = values.iter().map(|value| i16::from(value.is_some())).collect::<Vec<_>>();
        let some = values.iter().flatten().map(|(day, nanos)| {
            let mut value = Int96::new();
            value.set_data(*nanos as u32, (nanos >> 32) as u32, *day);
            value
        });
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int96Type>().write_batch(&some.collect::<Vec<_>>(), Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// The Julian day of 1970-01-01.
const EPOCH: u32 = 2_440_588;

#[tokio::test]
async fn old_timestamps_of_every_century_are_what_they_are() {
    let lake = tempfile::tempdir().unwrap();
    let path = lake.path().join("t.parquet");
    // 9999-12-31 and 0001-01-01 as Julian days.
    let (last, first) = (EPOCH + 2_932_896, EPOCH - 719_162);
    let values = [Some((EPOCH, 3_000)), Some((last, 86_399_999_999_000)), None, Some((first, 0)), Some((EPOCH, 0))];
    write_int96(&path, &values);
    let mut footer = Footer::read(&path);
    // The first row group gets the statistics of the second, which exclude its values.
    let mut bounds = Vec::new();
    footer.chunks(|_, at, _, chunk| bounds.push((at, statistics(chunk).clone())));
    let of_second = bounds[3].1.clone();
    footer.chunks(|of_group, at, _, chunk| {
        if of_group == 0 && at == 1 {
            *statistics(chunk) = of_second.clone();
        }
    });
    footer.write(&path);
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t.parquet\"\nshared = true\n";
    let endpoints = [
        ("all", "SELECT id, v FROM t ORDER BY id"),
        ("late", "SELECT id FROM t WHERE CAST(v AS DATE) > DATE '2300-01-01' ORDER BY id"),
        ("early", "SELECT id FROM t WHERE CAST(v AS DATE) < DATE '1600-01-01' ORDER BY id"),
        ("epoch", "SELECT id FROM t WHERE v >= TIMESTAMP '1970-01-01T00:00:00' ORDER BY id"),
    ];
    let project = testing::project(lake.path(), config, &endpoints).await;
    for is_hot in [false, true] {
        if is_hot {
            project.keep_hot(1 << 20).await.unwrap();
        }
        for (name, wanted) in [
            (
                "all",
                vec![
                    "0|1970-01-01T00:00:00.000003",
                    "1|9999-12-31T23:59:59.999999",
                    "2|NULL",
                    "3|0001-01-01T00:00:00",
                    "4|1970-01-01T00:00:00",
                ],
            ),
            ("late", vec!["1"]),
            ("early", vec!["3"]),
            ("epoch", vec!["0", "1", "4"]),
        ] {
            let plan = testing::governed(&project, &testing::principal(""), name, "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), wanted, "hot {is_hot}: {name}");
        }
    }
}
