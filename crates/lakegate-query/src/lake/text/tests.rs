//! Tests text files as a user sees them: the rows as written, or an error with file, line and column.

use std::fs;
use std::io::Write;

use tempfile::TempDir;

use crate::govern::testing;

fn lake(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("t")).unwrap();
    for (name, content) in files {
        fs::write(folder.path().join("t").join(name), content).unwrap();
    }
    folder
}

/// The rows, read from files, or the first error; checks that the resident table returns the same rows.
async fn read(files: &[(&str, &[u8])], keys: &str, sql: &str) -> Result<Vec<String>, String> {
    let lake = lake(files);
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\nlocation = \"t/\"\n{keys}\n");
    let project =
        testing::try_project(lake.path(), &config, &[("e", sql)]).await.map_err(|faults| faults[0].clone())?;
    let governed = || testing::governed(&project, &testing::principal(""), "e", "{}").unwrap();
    let from_files = testing::rows(governed()).await.unwrap();
    project.keep_hot(1 << 20).await.unwrap();
    assert_eq!(testing::rows(governed()).await.unwrap(), from_files);
    Ok(from_files)
}

async fn values(files: &[(&str, &str)], keys: &str) -> Result<Vec<String>, String> {
    let files = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect::<Vec<_>>();
    read(&files, keys, "SELECT v FROM t ORDER BY v").await
}

#[tokio::test]
async fn a_quoted_line_break_where_a_read_ends_is_part_of_its_value() {
    for end in ["\n", "\r\n"] {
        let rows = 0..5_000;
        let text =
            rows.clone().map(|id| format!("{id},\"first line of {id}{end}second line\"{end}")).collect::<String>();
        let text = format!("id,note{end}{text}");
        let sql = "SELECT count(*) AS n, sum(id) AS s, count(DISTINCT note) AS d FROM t";
        let expected = [format!("5000|{}|5000", rows.sum::<i64>())];
        assert_eq!(read(&[("a.csv", text.as_bytes())], "", sql).await.unwrap(), expected);
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        assert_eq!(read(&[("a.csv.gz", &packer.finish().unwrap())], "", sql).await.unwrap(), expected);
    }
}

/// Two zstd frames or two gzip members: the output of many tools that join two files.
#[tokio::test]
async fn packed_files_that_were_joined_are_read_to_their_end() {
    let gzip = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let long = (0..100_000).map(|id| format!("{id}\n")).collect::<String>();
    for (name, pack) in [("a.csv.gz", &gzip as &dyn Fn(&str) -> Vec<u8>), ("a.csv.zst", &zstd)] {
        let joined = [pack("v\n"), pack(&long), pack("-1\n")].concat();
        let sql = "SELECT count(*) AS n, min(v) AS least, max(v) AS most FROM t";
        assert_eq!(read(&[(name, &joined)], "", sql).await.unwrap(), ["100001|-1|99999"]);
        let cut = &joined[..joined.len() - 3];
        assert!(read(&[(name, cut)], "", sql).await.unwrap_err().contains("it is not whole"), "{name}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_the_text() {
    assert_eq!(values(&[("a.csv", "\u{feff}v\n1\n")], "").await.unwrap(), ["1"]);
    assert_eq!(values(&[("a.csv", "\u{feff}\"v\"\n\"\u{feff}x\"\n")], "").await.unwrap(), ["\u{feff}x"]);
    assert_eq!(values(&[("a.ndjson", "\u{feff}{\"v\":1}\n")], "").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn odd_values_are_what_is_written() {
    assert_eq!(values(&[("a.csv", "v,w\n5\" nail,1\n")], "").await.unwrap(), ["5\" nail"]);
    assert_eq!(values(&[("a.csv", "v,w\nx\0y,1\n")], "").await.unwrap(), ["x\0y"]);
    assert_eq!(values(&[("a.csv", "v\r1\r2\r")], "").await.unwrap(), ["1", "2"]);
    let escapes = "{\"v\":\"\\ud842\\udfb7\"}\n{\"v\":\"\\uDBFF\\uDFFF\"}\n{\"v\":\"a\\u0000b\"}\n";
    assert_eq!(values(&[("a.ndjson", escapes)], "").await.unwrap(), ["a\0b", "\u{20BB7}", "\u{10FFFF}"]);
    assert_eq!(values(&[("a.ndjson", "{\"v\":6.02e23}\n{\"v\":1}\n")], "").await.unwrap(), ["1.0", "6.02e23"]);
    let long = "{\"v\":123456789012345678901234567890}\n{\"v\":1}\n";
    assert_eq!(values(&[("a.ndjson", long)], "").await.unwrap(), ["1", "123456789012345678901234567890"]);
}

#[tokio::test]
async fn one_odd_value_or_file_makes_a_column_text_and_keeps_every_value_as_it_is() {
    for (files, expected) in [
        (&[("a.csv", "v\n1\n007\n"), ("b.csv", "v\nx\n")][..], &["007", "1", "x"][..]),
        (&[("a.csv", "v\ntrue\n"), ("b.csv", "v\nNA\n")], &["NA", "true"]),
        (&[("a.csv", "v\n2024-01-31\n2024-02-30\n")], &["2024-01-31", "2024-02-30"]),
        (
            &[("a.csv", "v\n2024-01-01T10:00:00\n2024-01-01T25:00:00\n")],
            &["2024-01-01T10:00:00", "2024-01-01T25:00:00"],
        ),
        (&[("a.csv", "v\n١٢\n")], &["١٢"]),
        (&[("a.csv", "v\n1.1\n1.10\n")], &["1.1", "1.10"]),
        (&[("a.csv", "v\n1.10\n"), ("b.csv", "v\n1.1\n")], &["1.1", "1.10"]),
        (&[("a.csv", "v\n9007199254740993\n"), ("b.csv", "v\n0.5\n")], &["0.5", "9007199254740993"]),
        (&[("a.ndjson", "{\"v\":\"a\"}\n{\"v\":1.50}\n{\"v\":true}\n")], &["1.50", "a", "true"]),
        (&[("a.ndjson", "{\"v\":1}\n"), ("b.ndjson", "{\"v\":\"x\"}\n{\"w\":1}")], &["1", "x", "NULL"]),
    ] {
        assert_eq!(values(files, "").await.unwrap(), expected, "{files:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_file_line_and_column_and_without_a_value() {
    for (name, text, told) in [
        ("a.csv", "v,w\n1,2\n\n3\n", "`t/a.csv`: line 4: it has 1 cells, and the first line 2"),
        ("a.csv", "v,w,v\n1,2,3\n", "`t/a.csv`: line 1: columns 1 and 3 are both called `v`"),
        ("a.csv", "v\n\"secret\"x\n", "`t/a.csv`: line 2: text stands behind a closing quote"),
        ("a.csv", "v\n\n\"secret\n", "`t/a.csv`: line 3: it ends within a quoted value"),
        (
            "a.ndjson",
            "{\"v\":1}\n{\"v\":[\"secret\"]}\n",
            "`t/a.ndjson`: line 2, column `v`: it holds a list, and a whole number",
        ),
        ("a.ndjson", "{\"v\":1}\n\n{\"v\":secret}\n", "`t/a.ndjson`: line 3: it is not JSON"),
        ("a.ndjson", "[\"secret\"]\n", "`t/a.ndjson`: line 1: it is JSON, and not an object"),
        ("a.ndjson", "{\"v\":\"secret\",\"v\":2}\n", "`t/a.ndjson`: line 1: two members of an object are called `v`"),
        ("a.ndjson", "{\"v\":\"\\ud842secret\"}\n", "`t/a.ndjson`: line 1, column `v`: "),
        ("a.ndjson", "{}\n{}\n", "no column is in them"),
        ("a.ndjson", " \n\n", "no column is in them"),
        ("a.ndjson", "", "`t/a.ndjson`: it is empty"),
        ("a.csv", "\u{feff}", "`t/a.csv`: it is empty"),
    ] {
        let fault = values(&[(name, text)], "").await.unwrap_err();
        assert!(fault.contains(told) && !fault.contains("secret"), "{fault}");
    }
    let fault =
        values(&[("a.ndjson", "{\"v\":1}\n"), ("b.ndjson", "{}\n{\"v\":{\"secret\":1}}\n")], "").await.unwrap_err();
    assert!(fault.contains("`t/b.ndjson`: line 2, column `v`: it holds an object, and a whole number"), "{fault}");
}

/// An object without members is a row.
#[tokio::test]
async fn objects_without_members_are_counted() {
    let files: [(&str, &[u8]); 3] =
        [("a.ndjson", b"{}\n{}\n"), ("b.ndjson", b"{\"v\":1,\"o\":{}}\n"), ("c.ndjson", b" \n")];
    assert_eq!(read(&files, "", "SELECT count(*) AS n, count(v) AS v, max(o) AS o FROM t").await.unwrap(), ["3|1|{}"]);
    let files: [(&str, &[u8]); 1] = [("a.ndjson", b"{}\n{}\n")];
    assert_eq!(
        read(&files, "types = { v = \"integer\" }", "SELECT count(*) AS n, sum(v) AS v FROM t").await.unwrap(),
        ["2|NULL"]
    );
}

#[tokio::test]
async fn a_declared_type_wins_over_what_values_look_like() {
    let text = "v,w\n1,007\n2,8\n";
    assert_eq!(values(&[("a.csv", text)], "types = { v = \"string\" }").await.unwrap(), ["1", "2"]);
    let sum = |keys: &'static str| read_sum(text, keys);
    assert_eq!(sum("types = { w = \"integer\" }").await.unwrap(), ["15"]);
    let fault = values(&[("a.csv", "v\n1\nsecret\n")], "types = { v = \"integer\" }").await.unwrap_err();
    let told = "`t/a.csv`: line 3, column `v`: it holds text, and `types` says `integer`: it is not a whole number";
    assert!(fault.contains(told) && !fault.contains("secret"), "{fault}");
    let fault = values(&[("a.csv", "v\n1\n")], "types = { w = \"integer\" }").await.unwrap_err();
    assert!(fault.contains("`types` names column `w`, which is not in them"), "{fault}");
    let nested = "{\"v\":[1, 2]}\n{\"v\":{\"a\":1}}\n{\"v\":\"x\"}\n{\"v\":1.0}\n";
    let expected = ["1.0", "[1, 2]", "x", "{\"a\":1}"];
    assert_eq!(values(&[("a.ndjson", nested)], "types = { v = \"string\" }").await.unwrap(), expected);
    let days = "{\"v\":\"2024-02-29\"}\n{\"v\":null}\n{}\n";
    assert_eq!(
        values(&[("a.ndjson", days)], "types = { v = \"date\" }").await.unwrap(),
        ["2024-02-29", "NULL", "NULL"]
    );
    // Numbers that the type cannot hold are not rounded.
    for text in ["9007199254740993", "1e999"] {
        let fault = values(&[("a.csv", &format!("v\n{text}\n"))], "types = { v = \"number\" }").await.unwrap_err();
        assert!(fault.contains("line 2, column `v`"), "{fault}");
    }
}

async fn read_sum(text: &str, keys: &str) -> Result<Vec<String>, String> {
    read(&[("a.csv", text.as_bytes())], keys, "SELECT sum(w) AS s FROM t").await
}

#[tokio::test]
async fn values_and_rows_that_do_not_fit_are_null_or_left_out_where_the_project_says_so() {
    let text = "v,w\n1,a\nx,b\n3,c\n4\n";
    let sql = "SELECT count(*) AS n, sum(v) AS s, max(w) AS w FROM t";
    let files: [(&str, &[u8]); 1] = [("a.csv", text.as_bytes())];
    let types = "types = { v = \"integer\" }\n";
    let rejected = read(&files, &format!("{types}on_error = \"reject\""), sql).await.unwrap();
    assert_eq!(rejected, ["2|4|c"]);
    // A query of other columns leaves the same rows out.
    let other = read(&files, &format!("{types}on_error = \"reject\""), "SELECT w FROM t ORDER BY w").await.unwrap();
    assert_eq!(other, ["a", "c"]);
    // A row with too few cells has no values that could become NULL.
    let fault = read(&files, &format!("{types}on_error = \"null\""), sql).await.unwrap_err();
    assert!(fault.contains("line 5: it has 1 cells"), "{fault}");
    let files: [(&str, &[u8]); 1] = [("a.csv", &text.as_bytes()[..text.len() - 2])];
    assert_eq!(read(&files, &format!("{types}on_error = \"null\""), sql).await.unwrap(), ["3|4|c"]);
    let files: [(&str, &[u8]); 1] = [("a.ndjson", b"{\"v\":1}\nnonsense\n{\"v\":[]}\n[]\n{\"v\":2}\n")];
    let sql = "SELECT sum(v) AS s, count(*) AS n FROM t";
    assert_eq!(read(&files, &format!("{types}on_error = \"reject\""), sql).await.unwrap(), ["3|2"]);
}

/// A row filter on a column that became text shows only the rows of that key.
#[tokio::test]
async fn codes_that_look_like_one_number_are_two_clients() {
    let lake = lake(&[("a.csv", b"id,c\n1,1.1\n2,1.10\n3,1.100\n"), ("b.csv", b"c,id\n1.10,4\n")]);
    let config = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t/\"\nrow_filter = \"c = principal('c')\"\n";
    let project = testing::project(lake.path(), config, &[("e", "SELECT id FROM t ORDER BY id")]).await;
    for hot in [false, true] {
        if hot {
            project.keep_hot(1 << 20).await.unwrap();
        }
        for (caller, expected) in [("c=1.1", vec!["1"]), ("c=1.10", vec!["2", "4"]), ("c=1.100", vec!["3"])] {
            let plan = testing::governed(&project, &testing::principal(caller), "e", "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), expected, "{caller}");
        }
    }
}

/// A file that is written while it is read could return rows that were never in it together.
#[tokio::test]
async fn a_file_of_another_length_than_was_listed_is_not_read() {
    use datafusion::object_store::local::LocalFileSystem;
    use datafusion::object_store::path::Path;
    use datafusion::object_store::{Error, ObjectStore, ObjectStoreExt};
    use lakegate_core::project::FileCompression;

    use super::bytes::Pieces;
    use super::fault::Unread;

    let lake = lake(&[("a.csv", b"id\n1\n2\n")]);
    let store: std::sync::Arc<dyn ObjectStore> =
        std::sync::Arc::new(LocalFileSystem::new_with_prefix(lake.path()).unwrap());
    let object = store.head(&Path::from("t/a.csv")).await.unwrap();
    for text in ["id\n1\n", "id\n1\n2\n3\n"] {
        fs::write(lake.path().join("t/a.csv"), text).unwrap();
        let mut pieces = Pieces::open(&store, &object, FileCompression::None).await.unwrap();
        let read = loop {
            match pieces.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(matches!(read, Some(Unread::Store(Error::Precondition { .. }))), "{read:?}");
    }
}
