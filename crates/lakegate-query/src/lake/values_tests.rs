//! Parquet values that are easily misread: intervals, decimals with too many digits, duplicate column names and empty
//! files. Each is read correctly or is a fault.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use datafusion::parquet::data_type::{ByteArray, FixedLenByteArray, FixedLenByteArrayType, Int64Type};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use lakegate_core::error::Code;

use super::testing::footer::{Footer, Thrift};
use crate::govern::testing;

const TABLE: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\nformat = \"parquet\"\n";

/// The values of a column to write.
enum Values {
    Numbers(Vec<i64>),
    /// Values, and a definition level per row: 1 for a value, 0 for NULL.
    Bytes(Vec<Vec<u8>>, Vec<i16>),
}

fn write(path: &Path, schema: &str, columns: Vec<Values>, level: EnabledStatistics) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_statistics_enabled(level).build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        match values {
            Values::Numbers(values) => {
                let levels = vec![1; values.len()];
                column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            }
            Values::Bytes(values, levels) => {
                let values = values.into_iter().map(|value| FixedLenByteArray::from(ByteArray::from(value)));
                let values = values.collect::<Vec<_>>();
                column.typed::<FixedLenByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

async fn fault(lake: &Path) -> String {
    match testing::try_project(lake, TABLE, &[("e", "SELECT count(*) AS n FROM t")]).await {
        Ok(_) => panic!("it is taken"),
        Err(faults) => faults.join("\n"),
    }
}

fn interval(months: u32, days: u32, millis: u32) -> Vec<u8> {
    [months, days, millis].map(u32::to_le_bytes).concat()
}

#[tokio::test]
async fn intervals_keep_their_months() {
    let lake = tempfile::tempdir().unwrap();
    let path = lake.path().join("t/a.parquet");
    let values = vec![interval(14, 3, 0), interval(0, 0, 1_500), interval(0, 40, 0)];
    let schema = "message m { optional int64 id; optional fixed_len_byte_array(12) v (INTERVAL); }";
    let columns = vec![Values::Numbers(vec![0, 1, 2, 3]), Values::Bytes(values, vec![1, 0, 1, 1])];
    write(&path, schema, columns, EnabledStatistics::Page);
    let queries = [
        ("all", "SELECT id, v FROM t ORDER BY id"),
        ("add", "SELECT DATE '2020-01-31' + v AS d FROM t WHERE id = 0"),
        ("null", "SELECT id FROM t WHERE v IS NULL"),
    ];
    let project = testing::project(lake.path(), TABLE, &queries).await;
    for is_hot in [false, true] {
        if is_hot {
            project.keep_hot(1 << 20).await.unwrap();
        }
        let rows = async |name| {
            testing::rows(testing::governed(&project, &testing::principal(""), name, "{}").unwrap()).await.unwrap()
        };
        assert_eq!(rows("all").await, ["0|14 mons 3 days", "1|NULL", "2|1.500000000 secs", "3|40 days"]);
        assert_eq!(rows("add").await.len(), 1);
        assert!(rows("add").await[0].starts_with("2021-04-03"), "{:?}", rows("add").await);
        assert_eq!(rows("null").await, ["1"]);
    }
}

#[tokio::test]
async fn an_interval_that_may_be_negative_is_not_guessed() {
    let lake = tempfile::tempdir().unwrap();
    let schema = "message m { optional fixed_len_byte_array(12) v (INTERVAL); }";
    let columns = vec![Values::Bytes(vec![interval(0, u32::MAX, 0)], vec![1])];
    write(&lake.path().join("t/a.parquet"), schema, columns, EnabledStatistics::None);
    let project = testing::project(lake.path(), TABLE, &[("all", "SELECT v FROM t")]).await;
    let plan = testing::governed(&project, &testing::principal(""), "all", "{}").unwrap();
    assert_eq!(testing::rows(plan).await.unwrap_err().code, Code::LakeUnavailable);
}

#[tokio::test]
async fn a_decimal_of_more_digits_than_its_type_is_a_fault_and_is_not_cut() {
    let lake = tempfile::tempdir().unwrap();
    let path = lake.path().join("t/a.parquet");
    let schema = "message m { optional int64 id; optional int64 v (DECIMAL(9,2)); }";
    let columns = || vec![Values::Numbers(vec![0, 1]), Values::Numbers(vec![1, 12_345_678_912])];
    write(&path, schema, columns(), EnabledStatistics::Page);
    let said = fault(lake.path()).await;
    assert!(said.contains("t/a.parquet") && said.contains("`v`") && said.contains("more digits"), "{said}");
    // Without min/max statistics, the scan finds it.
    write(&path, schema, columns(), EnabledStatistics::None);
    let queries =
        [("all", "SELECT id, v FROM t"), ("first", "SELECT v FROM t WHERE id = 0"), ("ids", "SELECT id FROM t")];
    let project = testing::project(lake.path(), TABLE, &queries).await;
    for is_hot in [false, true] {
        if is_hot {
            project.keep_hot(1 << 20).await.unwrap();
        }
        let rows =
            async |name| testing::rows(testing::governed(&project, &testing::principal(""), name, "{}").unwrap()).await;
        assert_eq!(rows("all").await.unwrap_err().code, Code::LakeUnavailable, "hot {is_hot}");
        assert_eq!(rows("ids").await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_decimal_of_bytes_that_is_too_long_is_a_fault() {
    let lake = tempfile::tempdir().unwrap();
    let schema = "message m { optional fixed_len_byte_array(5) v (DECIMAL(9,2)); }";
    // -12345678912 and 1 as five bytes each.
    let values = vec![(-12_345_678_912_i64).to_be_bytes()[3..].to_vec(), vec![0, 0, 0, 0, 1]];
    let columns = vec![Values::Bytes(values, vec![1, 1])];
    write(&lake.path().join("t/a.parquet"), schema, columns, EnabledStatistics::Page);
    assert!(fault(lake.path()).await.contains("more digits"));
}

#[tokio::test]
async fn a_file_whose_writer_has_not_counted_its_rows_has_those_of_its_parts() {
    let lake = tempfile::tempdir().unwrap();
    let path = lake.path().join("t/a.parquet");
    let columns = vec![Values::Numbers(vec![7, 8])];
    write(&path, "message m { optional int64 id; }", columns, EnabledStatistics::Page);
    let mut footer = Footer::read(&path);
    footer.file.fields().insert(3, Thrift::Long(0));
    footer.write(&path);
    let queries = [("all", "SELECT id FROM t"), ("count", "SELECT count(*) AS n FROM t")];
    let project = testing::project(lake.path(), TABLE, &queries).await;
    for is_hot in [false, true] {
        if is_hot {
            project.keep_hot(1 << 20).await.unwrap();
        }
        let rows = async |name| {
            testing::rows(testing::governed(&project, &testing::principal(""), name, "{}").unwrap()).await.unwrap()
        };
        assert_eq!(rows("all").await, ["7", "8"]);
        assert_eq!(rows("count").await, ["2"]);
    }
}

#[tokio::test]
async fn two_columns_of_one_name_are_a_fault_that_names_them() {
    let numbers = || Values::Numbers(vec![1]);
    for (schema, columns, name) in [
        ("message m { optional int64 a; optional int64 b; optional int64 a; }", 3, "`a`"),
        ("message m { required group s { optional int64 x; optional int64 x; } }", 2, "`s.x`"),
    ] {
        let lake = tempfile::tempdir().unwrap();
        let columns = (0..columns).map(|_| numbers()).collect();
        write(&lake.path().join("t/a.parquet"), schema, columns, EnabledStatistics::Page);
        let said = fault(lake.path()).await;
        assert!(said.contains("t/a.parquet") && said.contains(&format!("two columns {name}")), "{said}");
    }
}

#[tokio::test]
async fn a_parquet_file_without_a_byte_is_not_left_out() {
    let lake = tempfile::tempdir().unwrap();
    let columns = vec![Values::Numbers(vec![1, 2])];
    write(&lake.path().join("t/a.parquet"), "message m { optional int64 id; }", columns, EnabledStatistics::Page);
    for empty in ["t/b.parquet", "t/k=1/c.parquet"] {
        fs::create_dir_all(lake.path().join(empty).parent().unwrap()).unwrap();
        File::create(lake.path().join(empty)).unwrap();
        let said = fault(lake.path()).await;
        assert!(said.contains(&format!("`{empty}` has no bytes")), "{said}");
        fs::remove_file(lake.path().join(empty)).unwrap();
    }
    // Marker files of writers do not belong to the table.
    for mark in ["t/_SUCCESS", "t/.a.parquet.crc", "t/note"] {
        File::create(lake.path().join(mark)).unwrap();
    }
    testing::project(lake.path(), TABLE, &[("e", "SELECT id FROM t")]).await;
}
