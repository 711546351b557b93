//! Tables whose older files have fewer columns or narrower types return the same rows as if every file were rewritten
//! with the new columns, for every caller.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, StructArray,
};
use datafusion::arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use tempfile::TempDir;

use crate::govern::testing;

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let fields =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), array.null_count() > 0));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays).unwrap()
}

fn write(folder: &Path, path: &str, batch: &RecordBatch) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    testing::write_parquet(&path, &batch.schema(), std::slice::from_ref(batch));
}

const SHARED: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\n";

/// One file per array: a column `v` with these values, and a column `id` that counts across the files.
fn lake(files: &[ArrayRef]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 0;
    for (at, values) in files.iter().enumerate() {
        let ids = (next..next + values.len() as i64).collect::<Vec<_>>();
        next += values.len() as i64;
        write(
            folder.path(),
            &format!("t/{at}.parquet"),
            &batch(&[("id", Arc::new(Int64Array::from(ids))), ("v", Arc::clone(values))]),
        );
    }
    folder
}

async fn rows(lake: &Path, config: &str, caller: &str, sql: &str) -> Vec<String> {
    let project = testing::project(lake, config, &[("e", sql)]).await;
    let plan = testing::governed(&project, &testing::principal(caller), "e", "{}").unwrap();
    testing::rows(plan).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

/// Old and new files together give the same results for these conditions as when all files have the wide type.
async fn same_as_written_anew(files: &[ArrayRef], wide: &DataType, literals: &[&str]) {
    let mixed = lake(files);
    let anew = files.iter().map(|file| cast(file, wide).unwrap()).collect::<Vec<_>>();
    let anew = lake(&anew);
    let mut queries = vec![
        "SELECT id, v FROM t ORDER BY id".to_owned(),
        "SELECT count(*) AS n, count(v) AS values, min(v) AS least, max(v) AS most FROM t".to_owned(),
        "SELECT count(*) AS n FROM t WHERE v IS NULL".to_owned(),
        "SELECT v, count(*) AS n FROM t GROUP BY v ORDER BY v".to_owned(),
    ];
    for literal in literals {
        for condition in ["v = {}", "v <> {}", "v < {}", "v >= {}", "v IN ({}, NULL)", "v NOT IN ({})"] {
            queries.push(format!("SELECT id FROM t WHERE {} ORDER BY id", condition.replace("{}", literal)));
        }
    }
    for sql in queries {
        let (got, wanted) = (rows(mixed.path(), SHARED, "", &sql).await, rows(anew.path(), SHARED, "", &sql).await);
        assert_eq!(got, wanted, "{sql}");
        // The condition also works as a row filter.
        if let Some((_, condition)) = sql.split_once(" WHERE ") {
            let condition = condition.trim_end_matches(" ORDER BY id");
            let config = SHARED.replace("shared = true", &format!("row_filter = \"{condition}\""));
            let all = "SELECT id FROM t ORDER BY id";
            let (got, wanted) = (rows(mixed.path(), &config, "", all).await, rows(anew.path(), &config, "", all).await);
            assert_eq!(got, wanted, "{condition}");
        }
    }
}

#[tokio::test]
async fn whole_numbers_that_were_widened_are_found_as_before() {
    let files: [ArrayRef; 4] = [
        Arc::new(Int32Array::from(vec![1, 1, 1])),
        Arc::new(Int32Array::from(vec![Some(2), None, Some(i32::MAX)])),
        Arc::new(Int64Array::from(vec![1, 1])),
        Arc::new(Int64Array::from(vec![Some(1_i64 << 40), None, Some(2)])),
    ];
    same_as_written_anew(&files, &DataType::Int64, &["1", "2", "2147483647", "1099511627776", "-1"]).await;
}

#[tokio::test]
async fn doubles_over_floats_and_whole_numbers_are_found_as_before() {
    let files: [ArrayRef; 4] = [
        Arc::new(Float32Array::from(vec![0.1, 0.1])),
        Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)])),
        Arc::new(Float64Array::from(vec![0.1, 1.5, f64::NAN])),
        Arc::new(Int32Array::from(vec![3, 3])),
    ];
    same_as_written_anew(&files, &DataType::Float64, &["0.1", "1.5", "3", "3.5"]).await;
}

#[tokio::test]
async fn dates_that_became_times_are_found_as_before() {
    let day = 86_400_000_000;
    let files: [ArrayRef; 3] = [
        Arc::new(Date32Array::from(vec![Some(1), Some(1), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![day, day + 1])),
        Arc::new(Date32Array::from(vec![2, 2])),
    ];
    let wide = files[1].data_type().clone();
    let literals = ["TIMESTAMP '1970-01-02 00:00:00'", "TIMESTAMP '1970-01-02 00:00:00.000001'"];
    same_as_written_anew(&files, &wide, &literals).await;
}

#[tokio::test]
async fn decimals_with_more_digits_are_found_as_before() {
    let decimal = |values: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let files = [decimal(vec![150, 150], 6, 2), decimal(vec![15_000, 15_001], 12, 4), decimal(vec![999_999], 6, 2)];
    same_as_written_anew(&files, &DataType::Decimal128(12, 4), &["1.5", "1.5001", "9999.99"]).await;
}

#[tokio::test]
async fn parts_of_structs_and_lists_widen_as_columns_do() {
    let of = |a: ArrayRef, more: Option<(&str, ArrayRef)>| -> ArrayRef {
        let mut fields = vec![Field::new("a", a.data_type().clone(), true)];
        let mut parts = vec![a];
        if let Some((name, array)) = more {
            fields.insert(0, Field::new(name, array.data_type().clone(), true));
            parts.insert(0, array);
        }
        let nulls = vec![true, false, true].into();
        Arc::new(StructArray::new(fields.into(), parts, Some(nulls)))
    };
    let old = of(Arc::new(Int32Array::from(vec![Some(1), Some(2), None])), None);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("y"), None]));
    let new = of(Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(1 << 40)])), Some(("b", texts)));
    let list = |of: &ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new_list_field(of.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 1]), Arc::clone(of), None))
    };
    let wanted = ["0|1|NULL", "1|NULL|NULL", "2|NULL|NULL", "3|1|x", "4|NULL|NULL", "5|1099511627776|NULL"];
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\n";
    for files in [[&old, &new], [&new, &old]] {
        let mut wanted = wanted.map(str::to_owned);
        if Arc::ptr_eq(files[0], &new) {
            wanted = ["0|1|x", "1|NULL|NULL", "2|1099511627776|NULL", "3|1|NULL", "4|NULL|NULL", "5|NULL|NULL"]
                .map(str::to_owned);
        }
        let structs = lake(&files.map(Arc::clone));
        let sql = "SELECT id, v['a'] AS a, v['b'] AS b FROM t ORDER BY id";
        for answer in testing::both_ways(structs.path(), config, sql).await {
            assert_eq!(answer.unwrap(), wanted);
        }
        let lists = lake(&files.map(list));
        let sql = "SELECT id, v[1]['a'] AS a, array_length(v) AS n FROM t WHERE v[1]['a'] = 1 ORDER BY id";
        for answer in testing::both_ways(lists.path(), config, sql).await {
            assert_eq!(answer.unwrap(), ["0|1|2", "3|1|2"]);
        }
    }
}

/// A caller's number is compared with the widened value, also when it is outside the range of the old type.
#[tokio::test]
async fn a_policy_over_a_widened_column_shows_each_caller_its_own() {
    let files: [ArrayRef; 3] = [
        Arc::new(Int32Array::from(vec![1, 1])),
        Arc::new(Int32Array::from(vec![2, 3])),
        Arc::new(Int64Array::from(vec![1, 1 << 40])),
    ];
    let lake = lake(&files);
    let config = SHARED.replace("shared = true", "row_filter = \"v IN (principal('v'))\"");
    for (caller, expected) in [
        ("v=1", vec!["0", "1", "4"]),
        ("v=2", vec!["2"]),
        ("v=1099511627776", vec!["5"]),
        ("v=4294967297", vec![]),
        ("v:integer[]=3,1099511627776", vec!["3", "5"]),
    ] {
        assert_eq!(rows(lake.path(), &config, caller, "SELECT id FROM t ORDER BY id").await, expected, "{caller}");
        let counted = rows(lake.path(), &config, caller, "SELECT count(*) AS n FROM t").await;
        assert_eq!(counted, [expected.len().to_string()], "{caller}");
    }
}

/// The column is `NOT NULL` in the files that have it, and still NULL in those that do not.
#[tokio::test]
async fn a_column_that_older_files_lack_is_null_in_them_for_policies_too() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |ids: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(ids)) };
    write(folder.path(), "t/1.parquet", &batch(&[("id", ids(vec![1, 2]))]));
    let tenants: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    write(folder.path(), "t/2.parquet", &batch(&[("id", ids(vec![3, 4])), ("tenant", tenants)]));
    write(folder.path(), "t/3.parquet", &batch(&[("id", ids(vec![5]))]));
    let all = "SELECT id, tenant FROM t ORDER BY id";
    assert_eq!(rows(folder.path(), SHARED, "", all).await, ["1|NULL", "2|NULL", "3|a", "4|b", "5|NULL"]);
    for (condition, expected) in [
        ("tenant IS NULL", vec!["1", "2", "5"]),
        ("tenant IS NOT NULL", vec!["3", "4"]),
        ("tenant <> 'a'", vec!["4"]),
        ("tenant NOT IN ('a')", vec!["4"]),
    ] {
        let sql = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
        assert_eq!(rows(folder.path(), SHARED, "", &sql).await, expected, "{condition}");
    }
    for (filter, expected) in
        [("tenant = principal('tenant')", vec!["3"]), ("tenant <> principal('tenant')", vec!["4"])]
    {
        let config = SHARED.replace("shared = true", &format!("row_filter = \"{filter}\""));
        assert_eq!(rows(folder.path(), &config, "tenant:string=a", "SELECT id FROM t").await, expected, "{filter}");
    }
    let counts = "SELECT count(*) AS n, count(tenant) AS tenants, min(tenant) AS least, max(tenant) AS most FROM t";
    assert_eq!(rows(folder.path(), SHARED, "", counts).await, ["5|2|a|b"]);
}

#[tokio::test]
async fn types_that_do_not_go_together_are_told_with_file_and_column() {
    for (one, other, told) in [
        (
            Arc::new(Int64Array::from(vec![1])) as ArrayRef,
            Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
            "`t/1.parquet`: column `v` is of type string, and of type integer in files before it",
        ),
        (
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(Float64Array::from(vec![1.0])),
            "`t/1.parquet`: column `v` is of type number, and of type integer in files before it",
        ),
    ] {
        let lake = lake(&[one, other]);
        let faults = testing::try_project(lake.path(), SHARED, &[("e", "SELECT id FROM t")]).await.unwrap_err();
        assert!(faults[0].contains(told), "{faults:?}");
    }
}
