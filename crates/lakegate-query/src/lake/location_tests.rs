//! Tables over real folders: which files are found, and their partition values.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use crate::govern::testing;

/// A lake of text files, given as pairs of path and content.
fn lake(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes a Parquet file with one column `id`.
fn write_ids(folder: &Path, path: &str, ids: &[i64]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let columns = [Column::new("id", ColumnKind::Integer)];
    let mut writer = TableWriter::create(&path, &columns, &WriteOptions::default()).unwrap();
    writer.write(vec![ColumnData::Integer(ids.iter().copied().map(Some).collect())]).unwrap();
    writer.finish().unwrap();
}

/// The rows of a query over one shared table `t` with these configuration lines.
async fn rows(lake: &Path, table: &str, sql: &str) -> Result<Vec<String>, Vec<String>> {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\n{table}\n");
    let project = testing::try_project(lake, &config, &[("e", sql)]).await?;
    let plan = testing::governed(&project, &testing::principal(""), "e", "{}").unwrap();
    Ok(testing::rows(plan).await.unwrap())
}

async fn ids(lake: &Path, location: &str) -> Vec<String> {
    let found = rows(lake, &format!("location = \"{location}\""), "SELECT id FROM t ORDER BY id").await;
    found.unwrap_or_else(|faults| panic!("{location}: {}", faults.join("\n")))
}

#[tokio::test]
async fn a_location_is_a_file_a_folder_or_a_name_without_extension() {
    let lake = lake(&[
        ("a.csv", "id\n1\n"),
        ("folder/one.csv", "id\n1\n"),
        ("folder/two.csv", "id\n2\n"),
        ("folder/deeper/three.csv", "id\n3\n"),
        ("folder_of_others/x.csv", "id\n9\n"),
        ("with space/é#%.csv", "id\n4\n"),
        ("UPPER.CSV", "id\n5\n"),
    ]);
    for (location, expected) in [
        ("a.csv", vec!["1"]),
        ("a", vec!["1"]),
        ("a/", vec!["1"]),
        ("./a.csv", vec!["1"]),
        ("folder", vec!["1", "2", "3"]),
        ("folder/", vec!["1", "2", "3"]),
        ("folder/deeper", vec!["3"]),
        ("folder/one", vec!["1"]),
        ("with space", vec!["4"]),
        ("UPPER.CSV", vec!["5"]),
    ] {
        assert_eq!(ids(lake.path(), location).await, expected, "{location}");
    }
}

#[tokio::test]
async fn a_folder_is_meant_before_a_file_of_its_name() {
    let lake = lake(&[("t.csv", "id\n1\n"), ("t/x.csv", "id\n2\n")]);
    assert_eq!(ids(lake.path(), "t").await, ["2"]);
    assert_eq!(ids(lake.path(), "t.csv").await, ["1"]);
}

#[tokio::test]
async fn a_glob_matches_within_a_folder() {
    let lake = lake(&[
        ("a1.csv", "id\n1\n"),
        ("a2.csv", "id\n2\n"),
        ("b.csv", "id\n3\n"),
        ("x/a1.csv", "id\n4\n"),
        ("x/y/a1.csv", "id\n5\n"),
        ("x/_a1.csv", "id\n6\n"),
        ("z/a1.csv", "id\n7\n"),
    ]);
    for (location, expected) in [
        ("*.csv", vec!["1", "2", "3"]),
        ("a*.csv", vec!["1", "2"]),
        ("a?.csv", vec!["1", "2"]),
        ("a[1].csv", vec!["1"]),
        ("*/a1.csv", vec!["4", "7"]),
        ("x/*.csv", vec!["4"]),
        ("x/**/*.csv", vec!["4", "5"]),
        ("[xz]/a1.csv", vec!["4", "7"]),
    ] {
        assert_eq!(ids(lake.path(), location).await, expected, "{location}");
    }
}

#[tokio::test]
async fn hidden_files_are_no_data_and_empty_ones_are_told() {
    let lake = lake(&[
        ("t/a.csv", "id\n1\n"),
        ("t/_SUCCESS", ""),
        ("t/_temporary/b.csv", "id\n2\n"),
        ("t/.c.csv", "id\n3\n"),
        ("t/.crc/d.csv", "id\n4\n"),
        ("t/readme.md", "text"),
        ("t/only_header.csv", "id\n"),
    ]);
    assert_eq!(ids(lake.path(), "t").await, ["1"]);
    // An interrupted upload would silently shorten the results.
    fs::write(lake.path().join("t/empty.csv"), "").unwrap();
    let faults = rows(lake.path(), "location = \"t\"", "SELECT id FROM t").await.unwrap_err();
    assert!(faults[0].contains("`t/empty.csv`: it is empty"), "{faults:?}");
    let keys = "location = \"t\"\non_error = \"reject\"";
    assert_eq!(rows(lake.path(), keys, "SELECT id FROM t").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn parquet_and_csv_are_told_apart_by_their_names_or_by_the_format() {
    let lake = lake(&[("t/a.csv", "id\n1\n"), ("u.data", "id\n2\n")]);
    write_ids(lake.path(), "t/b.parquet", &[7, 8]);
    let sql = "SELECT id FROM t ORDER BY id";
    assert_eq!(rows(lake.path(), "location = \"t\"\nformat = \"parquet\"", sql).await.unwrap(), ["7", "8"]);
    assert_eq!(rows(lake.path(), "location = \"t\"\nformat = \"csv\"", sql).await.unwrap(), ["1"]);
    assert_eq!(rows(lake.path(), "location = \"u.data\"\nformat = \"csv\"", sql).await.unwrap(), ["2"]);
    assert!(rows(lake.path(), "location = \"t\"", sql).await.unwrap_err()[0].contains("files of several formats"));
    assert!(rows(lake.path(), "location = \"u.data\"", sql).await.is_err());
}

#[tokio::test]
async fn partition_folders_are_columns_of_their_declared_types() {
    let lake = lake(&[
        ("t/year=2022/month=01/a.csv", "id\n1\n"),
        ("t/year=2022/month=10/a.csv", "id\n2\n"),
        ("t/year=2023/month=__HIVE_DEFAULT_PARTITION__/a.csv", "id\n3\n"),
    ]);
    let untyped = "location = \"t\"";
    let typed = "location = \"t\"\n[tables.t.partitions]\nyear = \"integer\"\nmonth = \"integer\"";
    let sql = "SELECT id, year, month FROM t ORDER BY id";
    assert_eq!(rows(lake.path(), untyped, sql).await.unwrap(), ["1|2022|01", "2|2022|10", "3|2023|NULL"]);
    assert_eq!(rows(lake.path(), typed, sql).await.unwrap(), ["1|2022|1", "2|2022|10", "3|2023|NULL"]);
    let by_type = "SELECT id FROM t WHERE year = 2022 AND month > 2";
    assert_eq!(rows(lake.path(), typed, by_type).await.unwrap(), ["2"]);
    let counted = "SELECT year, count(*) AS n FROM t GROUP BY year ORDER BY year";
    assert_eq!(rows(lake.path(), typed, counted).await.unwrap(), ["2022|2", "2023|1"]);
    let least = "SELECT min(year) AS least, max(month) AS most, count(month) AS n FROM t";
    assert_eq!(rows(lake.path(), typed, least).await.unwrap(), ["2022|10|2"]);
}

#[tokio::test]
async fn partitions_of_parquet_files_are_columns_too() {
    let lake = lake(&[]);
    write_ids(lake.path(), "t/day=2022-10-01/a.parquet", &[1, 2]);
    write_ids(lake.path(), "t/day=2022-10-02/a.parquet", &[3]);
    write_ids(lake.path(), "t/day=2022-10-02/b.parquet", &[4]);
    let table = "location = \"t\"\n[tables.t.partitions]\nday = \"date\"";
    let sql = "SELECT id, day FROM t WHERE day >= DATE '2022-10-02' ORDER BY id";
    assert_eq!(rows(lake.path(), table, sql).await.unwrap(), ["3|2022-10-02", "4|2022-10-02"]);
    let all = "SELECT count(*) AS n, min(day) AS first, max(day) AS last, min(id) AS least FROM t";
    assert_eq!(rows(lake.path(), table, all).await.unwrap(), ["4|2022-10-01|2022-10-02|1"]);
    let only_partition = "SELECT DISTINCT day FROM t ORDER BY day";
    assert_eq!(rows(lake.path(), table, only_partition).await.unwrap(), ["2022-10-01", "2022-10-02"]);
}

#[tokio::test]
async fn partition_values_are_decoded_and_exact() {
    let lake = lake(&[
        ("t/city=S%C3%A3o%20Paulo%2FX/a.csv", "id\n1\n"),
        ("t/city=a b/a.csv", "id\n2\n"),
        ("t/city=/a.csv", "id\n3\n"),
        ("t/city=50%/a.csv", "id\n4\n"),
        ("t/city=x=y/a.csv", "id\n5\n"),
    ]);
    let sql = "SELECT id, city FROM t ORDER BY id";
    let found = rows(lake.path(), "location = \"t\"", sql).await.unwrap();
    assert_eq!(found, ["1|São Paulo/X", "2|a b", "3|", "4|50%", "5|x=y"]);
}

/// A policy can use a partition column like any other, and then prunes whole files.
#[tokio::test]
async fn a_row_filter_over_a_partition_leaves_other_files_out() {
    let lake = lake(&[]);
    write_ids(lake.path(), "t/client=1/a.parquet", &[1, 2]);
    write_ids(lake.path(), "t/client=2/a.parquet", &[3]);
    write_ids(lake.path(), "t/client=__HIVE_DEFAULT_PARTITION__/a.parquet", &[4]);
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nrow_filter = \"client IN (principal('client'))\"\n\
                  [tables.t.partitions]\nclient = \"integer\"\n";
    for (caller, expected) in [
        ("client=1", vec!["1", "2"]),
        ("client=2", vec!["3"]),
        ("client=0", vec![]),
        ("client:integer[]=1,2", vec!["1", "2", "3"]),
    ] {
        let project = testing::project(
            lake.path(),
            config,
            &[("e", "SELECT id FROM t ORDER BY id"), ("n", "SELECT count(*) AS n FROM t")],
        )
        .await;
        let who = testing::principal(caller);
        let plan = testing::governed(&project, &who, "e", "{}").unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), expected, "{caller}");
        let count = testing::governed(&project, &who, "n", "{}").unwrap();
        assert_eq!(testing::rows(count).await.unwrap(), [expected.len().to_string()], "{caller}");
    }
}

#[tokio::test]
async fn files_that_lack_a_column_have_null_in_it() {
    let lake = lake(&[]);
    write_ids(lake.path(), "t/a.parquet", &[1]);
    let columns = [Column::new("name", ColumnKind::Text), Column::new("id", ColumnKind::Integer)];
    let mut writer = TableWriter::create(&lake.path().join("t/b.parquet"), &columns, &WriteOptions::default()).unwrap();
    writer.write(vec![ColumnData::Text(vec![Some("x".into())]), ColumnData::Integer(vec![Some(2)])]).unwrap();
    writer.finish().unwrap();
    assert_eq!(
        rows(lake.path(), "location = \"t\"", "SELECT id, name FROM t ORDER BY id").await.unwrap(),
        ["1|NULL", "2|x"]
    );
    // A policy over that column hides them.
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nrow_filter = \"name = principal('name')\"\n";
    let project = testing::project(lake.path(), config, &[("e", "SELECT id FROM t")]).await;
    let plan = testing::governed(&project, &testing::principal("name=x"), "e", "{}").unwrap();
    assert_eq!(testing::rows(plan).await.unwrap(), ["2"]);
}

#[tokio::test]
async fn columns_in_another_order_are_read_by_name_and_others_refused() {
    let lake = lake(&[("c/1.csv", "id,tenant\n1,2\n"), ("c/2.csv", "tenant,id\n2,1\n")]);
    assert_eq!(rows(lake.path(), "location = \"c\"", "SELECT id, tenant FROM t").await.unwrap(), ["1|2", "1|2"]);
    for other in ["id,owner\n1,2\n", "id\n1\n", "id,tenant,more\n1,2,3\n"] {
        fs::write(lake.path().join("c/2.csv"), other).unwrap();
        let refused = rows(lake.path(), "location = \"c\"", "SELECT id FROM t").await.unwrap_err();
        let header = other.lines().next().unwrap();
        let told = format!("`c/2.csv` has the columns `{header}`, and the files before it `id,tenant`");
        assert!(refused[0].contains(&told), "{refused:?}");
    }
    let options = WriteOptions::default();
    for (file, names) in [("p/1.parquet", ["id", "tenant"]), ("p/2.parquet", ["tenant", "id"])] {
        let columns = names.map(|name| Column::new(name, ColumnKind::Integer));
        fs::create_dir_all(lake.path().join("p")).unwrap();
        let mut writer = TableWriter::create(&lake.path().join(file), &columns, &options).unwrap();
        let value = |name: &str| ColumnData::Integer(vec![Some(if name == "id" { 1 } else { 2 })]);
        writer.write(names.iter().map(|name| value(name)).collect()).unwrap();
        writer.finish().unwrap();
    }
    assert_eq!(rows(lake.path(), "location = \"p\"", "SELECT id, tenant FROM t").await.unwrap(), ["1|2", "1|2"]);
}

#[tokio::test]
async fn quoted_text_of_csv_is_read_as_it_is() {
    let lake = lake(&[("t.csv", "id,text\n1,\"a,b\"\n2,\"line\nbreak\"\n3,\"say \"\"hi\"\"\"\n4,\n5,\"\"\n6, x \n")]);
    let found = rows(lake.path(), "location = \"t.csv\"", "SELECT id, text FROM t ORDER BY id").await.unwrap();
    assert_eq!(found, ["1|a,b", "2|line\nbreak", "3|say \"hi\"", "4|NULL", "5|NULL", "6| x "]);
}

/// Statistics truncate long texts; query results must not.
#[tokio::test]
async fn the_greatest_text_is_whole() {
    let lake = lake(&[]);
    let long = "z".repeat(500);
    let columns = [Column::new("text", ColumnKind::Text)];
    let mut writer = TableWriter::create(&lake.path().join("t.parquet"), &columns, &WriteOptions::default()).unwrap();
    writer.write(vec![ColumnData::Text(vec![Some("a".repeat(300)), Some(long.clone()), None])]).unwrap();
    writer.finish().unwrap();
    let sql = "SELECT max(text) AS most, min(text) AS least, count(text) AS n FROM t";
    assert_eq!(rows(lake.path(), "location = \"t\"", sql).await.unwrap(), [format!("{long}|{}|2", "a".repeat(300))]);
}

/// `ü` and `ò` in Latin-1: a guessed conversion to UTF-8 would merge two tenants.
#[tokio::test]
async fn a_partition_that_is_not_utf8_is_refused_and_not_guessed() {
    let latin = lake(&[("t/tenant=M%FCller/a.csv", "id\n1\n"), ("t/tenant=M%F2ller/a.csv", "id\n2\n")]);
    let faults = rows(latin.path(), "location = \"t\"", "SELECT id, tenant FROM t").await.unwrap_err();
    assert!(faults[0].contains("is not UTF-8 once it is decoded"), "{faults:?}");
    let utf8 = lake(&[("t/tenant=M%C3%BCller/a.csv", "id\n1\n")]);
    let found = rows(utf8.path(), "location = \"t\"", "SELECT tenant FROM t").await.unwrap();
    assert_eq!(found, ["Müller"]);
}

#[tokio::test]
async fn two_partition_folders_of_one_name_in_a_path_are_a_fault_of_the_table() {
    let lake = lake(&[("t/tenant=1/tenant=2/a.csv", "id\n1\n")]);
    let faults = rows(lake.path(), "location = \"t\"", "SELECT id FROM t").await.unwrap_err();
    assert!(faults[0].contains("two partition folders of the name `tenant`"), "{faults:?}");
}
