//! Broken and malicious files: each fails with a clear fault that names the file, in bounded memory.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
};
use datafusion::parquet::file::properties::WriterProperties;

use super::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use crate::govern::testing;

/// A Parquet file of numbers.
fn parquet(path: &Path, rows: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let columns = [Column::new("id", ColumnKind::Integer)];
    let mut writer = TableWriter::create(path, &columns, &WriteOptions::default()).unwrap();
    writer.write(vec![ColumnData::Integer((0..rows).map(Some).collect())]).unwrap();
    writer.finish().unwrap();
}

/// The fault of a lake whose only table is this file.
async fn fault(name: &str, content: impl AsRef<[u8]>, keys: &str) -> String {
    let lake = tempfile::tempdir().unwrap();
    fs::create_dir_all(lake.path().join("t")).unwrap();
    fs::write(lake.path().join("t").join(name), content).unwrap();
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\nlocation = \"t/\"\n{keys}\n");
    match testing::try_project(lake.path(), &config, &[("e", "SELECT count(*) AS n FROM t")]).await {
        Ok(_) => panic!("{name} is taken"),
        Err(faults) => {
            let path = lake.path().to_string_lossy().into_owned();
            assert!(!faults[0].contains(&path), "{faults:?}");
            assert!(faults[0].contains(&format!("t/{name}")) || faults[0].contains("at `t/`"), "{faults:?}");
            faults[0].clone()
        }
    }
}

fn bytes_of_parquet(rows: i64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    parquet(&path, rows);
    fs::read(path).unwrap()
}

/// Replaces the footer of a Parquet file.
fn with_footer(bytes: &[u8], change: impl FnOnce(ParquetMetaData) -> ParquetMetaData) -> Vec<u8> {
    let whole = bytes::Bytes::copy_from_slice(bytes);
    let footer = ParquetMetaDataReader::new().parse_and_finish(&whole).unwrap();
    let length = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize;
    let mut forged = bytes[..bytes.len() - 8 - length].to_vec();
    let footer = change(footer);
    ParquetMetaDataWriter::new(&mut forged, &footer).finish().unwrap();
    forged
}

fn with_rows(footer: &ParquetMetaData, rows: i64) -> FileMetaData {
    let file = footer.file_metadata();
    FileMetaData::new(
        file.version(),
        rows,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    )
}

#[tokio::test]
async fn parquet_that_is_cut_or_none_is_told() {
    let whole = bytes_of_parquet(10_000);
    for cut in [1, 7, 8, 100, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        let said = fault("a.parquet", &whole[..cut], "").await;
        assert!(said.contains("cannot be read as parquet"), "{said}");
    }
    fault("a.parquet", "id,name\n1,x\n", "").await;
    fault("a.parquet", [b"PAR1".as_slice(), &[0xff; 100], b"PAR1"].concat(), "").await;
    fault("a.parquet", [b"PAR1".as_slice(), &[0xff, 0xff, 0xff, 0x7f], b"PAR1"].concat(), "").await;
}

#[tokio::test]
async fn forged_counts_are_not_believed() {
    let whole = bytes_of_parquet(1_000);
    // The encoded row counts 1000 and 1001, with the byte before them and the list header behind them.
    let (told, forged) = ([0x16, 0xd0, 0x0f, 0x19], [0x16, 0xd2, 0x0f, 0x19]);
    let at = whole.windows(4).position(|bytes| bytes == told).unwrap();
    let of_file = [&whole[..at], &forged, &whole[at + 4..]].concat();
    assert!(fault("a.parquet", of_file, "").await.contains("it says that it has 1001 rows"));
    for rows in [2_000, 500, -1, i64::MAX] {
        let of_group = with_footer(&whole, |footer| {
            let groups = footer
                .row_groups()
                .iter()
                .map(|group| group.clone().into_builder().set_num_rows(rows).build().unwrap());
            ParquetMetaDataBuilder::new(with_rows(&footer, rows)).set_row_groups(groups.collect()).build()
        });
        fault("a.parquet", of_group, "").await;
    }
    for (packed, unpacked) in [(i64::MAX, 100), (-1, 100), (1 << 40, 1 << 40), (10, i64::MAX), (10, 1 << 30)] {
        let of_column = with_footer(&whole, |footer| {
            let groups = footer.row_groups().iter().map(|group| {
                let columns = group.columns().iter().map(|column| {
                    let column = column.clone().into_builder();
                    column.set_total_compressed_size(packed).set_total_uncompressed_size(unpacked).build().unwrap()
                });
                group.clone().into_builder().set_column_metadata(columns.collect()).build().unwrap()
            });
            ParquetMetaDataBuilder::new(footer.file_metadata().clone()).set_row_groups(groups.collect()).build()
        });
        fault("a.parquet", of_column, "").await;
    }
}

#[tokio::test]
async fn text_that_never_ends_is_told_before_it_fills_the_memory() {
    let bomb = |head: &str, bytes: u8| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(head.as_bytes()).unwrap();
        let piece = vec![bytes; 1 << 20];
        for _ in 0..40 {
            packer.write_all(&piece).unwrap();
        }
        packer.finish().unwrap()
    };
    let packed = bomb("id\n", b'1');
    assert!(packed.len() < 1 << 20);
    assert!(fault("a.csv.gz", &packed, "").await.contains("longer than 16 MiB"));
    let packed = bomb("{\"id\":", b'1');
    assert!(fault("a.ndjson.gz", &packed, "").await.contains("longer than 16 MiB"));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..100_000).for_each(|id| writeln!(packer, "{id}").unwrap());
    let packed = packer.finish().unwrap();
    assert!(fault("a.csv.gz", &packed[..packed.len() / 2], "").await.contains("a.csv.gz`: it is not whole"));
    assert!(fault("a.csv.gz", "id\n1\n", "").await.contains("not gzip"));
    assert!(fault("a.csv.zst", "id\n1\n", "").await.contains("not zstd"));
    let line = "1".repeat(17 << 20);
    assert!(fault("a.csv", format!("id\n{line}"), "").await.contains("longer than 16 MiB"));
    assert!(fault("a.csv", "id\n\"1\n2\n3\n", "").await.contains("a.csv`: line 2: it ends within a quoted value"));
}

/// A file of a few kilobytes whose column decompresses to a hundred megabytes.
#[tokio::test]
async fn parquet_that_is_much_larger_when_it_is_unpacked_is_told() {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|_| "a".repeat(1 << 20))));
    let batch = RecordBatch::try_from_iter([("v", values)]).unwrap();
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).set_dictionary_enabled(false).build();
    let mut bomb = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bomb, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let said = fault("a.parquet", &bomb, "").await;
    assert!(said.contains("column `v` is more than 1000 times larger when it is unpacked"), "{said}");
}

#[tokio::test]
async fn tables_that_are_too_wide_are_told() {
    let names = (0..10_000).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
    assert!(fault("a.csv", format!("{names}\n"), "").await.contains("more than 2000 columns"));
    let object = (0..10_000).map(|at| format!("\"c{at}\":1")).collect::<Vec<_>>().join(",");
    assert!(fault("a.ndjson", format!("{{{object}}}\n"), "").await.contains("more than 2000 columns"));
}

#[tokio::test]
async fn other_encodings_are_told_and_where_they_begin() {
    let said = fault("a.csv", b"id,name\n1,Jos\xe9\n", "").await;
    assert!(said.contains("a.csv`: line 2: it is not UTF-8") && said.contains("ingested"), "{said}");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    for text in ["id\n1\n", "\u{feff}id\n1\n"] {
        let said = fault("a.csv", utf16(text), "").await;
        assert!(said.contains("line 1: ") && said.contains("not UTF-8"), "{said}");
    }
    assert!(fault("a.ndjson", utf16("\u{feff}{\"a\":1}\n"), "").await.contains("a.ndjson`: line 1: it is in UTF-16"));
}

#[tokio::test]
async fn lines_that_are_no_objects_are_told() {
    for text in ["{\"id\":1}\n{\"id\":", "[1,2]\n", "{\"id\":1}\n{\"id\":\"x\"}\n{\"id\":[1]}\n", "nonsense\n"] {
        fault("a.ndjson", text, "").await;
    }
}

/// Paths that leave the lake, in every spelling.
#[tokio::test]
async fn no_location_leaves_the_lake() {
    let outer = tempfile::tempdir().unwrap();
    parquet(&outer.path().join("secret.parquet"), 1);
    fs::create_dir(outer.path().join("lake")).unwrap();
    for location in [
        "../secret.parquet",
        "x/../../secret.parquet",
        "%2e%2e/secret.parquet",
        "..%2fsecret.parquet",
        "..\\\\secret.parquet",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://b/../x",
        "./../secret.parquet",
        "x/%2E%2E/%2e%2e/secret.parquet",
    ] {
        let config = format!(
            "[lake]\nlocation = \"lake\"\n[tables.t]\nshared = true\nformat = \"parquet\"\nlocation = \"{location}\"\n"
        );
        let opened = testing::try_project(outer.path(), &config, &[("e", "SELECT count(*) AS n FROM t")]).await;
        assert!(opened.is_err(), "{location}");
    }
}
