//! Tables over text files: NDJSON, compressed files, and CSV with other delimiters.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::govern::testing;

async fn rows(lake: &Path, keys: &str, sql: &str) -> Result<Vec<String>, Vec<String>> {
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\nlocation = \"t/\"\n{keys}\n");
    let project = testing::try_project(lake, &config, &[("e", sql)]).await?;
    let plan = testing::governed(&project, &testing::principal(""), "e", "{}").unwrap();
    Ok(testing::rows(plan).await.unwrap())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn lake(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

const ALL: &str = "SELECT id, name FROM t ORDER BY id";

#[tokio::test]
async fn lines_of_json_are_rows_whatever_they_are_called_and_packed_in() {
    let (one, two) = ("{\"id\":1,\"name\":\"a\"}\n{\"id\":2}\n", "{\"name\":\"c\",\"id\":3,\"more\":{\"x\":[1]}}");
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for files in [
        [("t/1.ndjson", one.as_bytes().to_vec()), ("t/2.jsonl", two.as_bytes().to_vec())],
        [("t/1.json", one.as_bytes().to_vec()), ("t/2.json", two.as_bytes().to_vec())],
        [("t/1.ndjson.gz", gzip(one)), ("t/2.json.gz", gzip(two))],
        [("t/1.jsonl.zst", zstd(one)), ("t/2.ndjson.zst", zstd(two))],
    ] {
        let files = files.iter().map(|(path, content)| (*path, content.as_slice())).collect::<Vec<_>>();
        assert_eq!(rows(lake(&files).path(), "", ALL).await.unwrap(), ["1|a", "2|NULL", "3|c"], "{}", files[0].0);
    }
    let mixed = lake(&[("t/1.ndjson", one.as_bytes()), ("t/2.ndjson.gz", &gzip(two))]);
    assert!(rows(mixed.path(), "", ALL).await.unwrap_err()[0].contains("the compression `gzip`"));
}

#[tokio::test]
async fn csv_is_read_packed_and_with_other_delimiters() {
    let text = "id,name\n1,a\n2,\n";
    let expected = ["1|a", "2|NULL"];
    assert_eq!(rows(lake(&[("t/1.csv.gz", &gzip(text))]).path(), "", ALL).await.unwrap(), expected);
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert_eq!(rows(lake(&[("t/1.csv.zst", &zstd)]).path(), "", ALL).await.unwrap(), expected);
    let semicolons = lake(&[("t/1.csv", b"id;name\n1;a\n2;\n")]);
    assert_eq!(rows(semicolons.path(), "delimiter = \";\"", ALL).await.unwrap(), expected);
    let unnamed = lake(&[("t/1.csv", b"1,a\n2,\n")]);
    let sql = "SELECT column_1, column_2 FROM t ORDER BY column_1";
    assert_eq!(rows(unnamed.path(), "header = false", sql).await.unwrap(), expected);
    let odd = lake(&[("t/export.dat", &gzip(text))]);
    let keys = "format = \"csv\"\ncompression = \"gzip\"";
    assert_eq!(rows(odd.path(), keys, ALL).await.unwrap(), expected);
}

/// Numbers in text have no declared type, so a column takes the widest type that its files need.
#[tokio::test]
async fn numbers_of_text_files_widen() {
    let files: [(&str, &[u8]); 2] = [("t/1.csv", b"id,name\n1,1\n"), ("t/2.csv", b"id,name\n2,2.5\n")];
    assert_eq!(rows(lake(&files).path(), "", ALL).await.unwrap(), ["1|1.0", "2|2.5"]);
    let files: [(&str, &[u8]); 2] =
        [("t/1.ndjson", b"{\"id\":1,\"name\":1}"), ("t/2.ndjson", b"{\"id\":2,\"name\":2.5}")];
    assert_eq!(rows(lake(&files).path(), "", ALL).await.unwrap(), ["1|1.0", "2|2.5"]);
}

/// A JSON description beside the data is not data, but NDJSON beside other files is ambiguous.
#[tokio::test]
async fn a_json_file_beside_others_is_no_data() {
    let files: [(&str, &[u8]); 2] = [("t/1.csv", b"id,name\n1,a\n"), ("t/schema.json", b"{\"id\":\"integer\"}")];
    assert_eq!(rows(lake(&files).path(), "", ALL).await.unwrap(), ["1|a"]);
    let files: [(&str, &[u8]); 2] = [("t/1.csv", b"id,name\n1,a\n"), ("t/2.jsonl", b"{\"id\":2}")];
    assert!(rows(lake(&files).path(), "", ALL).await.unwrap_err()[0].contains("files of several formats"));
}

/// A row filter over a column that some objects lack.
#[tokio::test]
async fn a_policy_holds_over_lines_of_json() {
    let lake = lake(&[("t/1.ndjson", b"{\"id\":1,\"c\":1}\n{\"id\":2}\n{\"id\":3,\"c\":2}\n{\"id\":4,\"c\":null}\n")]);
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t/\"\nrow_filter = \"c IN (principal('c'))\"\n";
    let project = testing::project(lake.path(), config, &[("e", "SELECT id FROM t")]).await;
    for (caller, expected) in [("c=1", vec!["1"]), ("c=2", vec!["3"]), ("c=9", vec![])] {
        let plan = testing::governed(&project, &testing::principal(caller), "e", "{}").unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), expected, "{caller}");
    }
}
