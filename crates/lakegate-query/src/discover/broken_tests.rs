//! Discovery in lakes with broken or odd files: it finds all other tables, and reports each skipped path.

use std::fs;
use std::path::Path;

use datafusion::parquet::file::metadata::{ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter};
use lakegate_core::project::LakeStore;

use super::{Discovery, Search, discover};
use crate::govern::testing::put;
use crate::lake::Lake;

async fn found(folder: &Path) -> Discovery {
    let lake = Lake::open(folder, ".", &LakeStore::default()).unwrap();
    let search = Search { folder: String::new(), most_files: 1000, taken: Default::default(), known: Vec::new() };
    discover(&lake, &search, &|_, _, _| {}).await.unwrap()
}

fn locations(found: &Discovery) -> Vec<&str> {
    found.tables.iter().map(|table| table.location.as_str()).collect()
}

/// Rewrites the footer so that the column offsets point to `to`.
fn moved(path: &Path, to: i64) {
    let whole = bytes::Bytes::from(fs::read(path).unwrap());
    let footer = ParquetMetaDataReader::new().parse_and_finish(&whole).unwrap();
    let groups = footer.row_groups().iter().map(|group| {
        let columns = group.columns().iter().map(|column| {
            let column = column.clone().into_builder().set_dictionary_page_offset(None).set_data_page_offset(to);
            column.build().unwrap()
        });
        group.clone().into_builder().set_column_metadata(columns.collect()).build().unwrap()
    });
    let forged = ParquetMetaDataBuilder::new(footer.file_metadata().clone()).set_row_groups(groups.collect()).build();
    let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let mut bytes = whole[..whole.len() - 8 - length].to_vec();
    ParquetMetaDataWriter::new(&mut bytes, &forged).finish().unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_broken_file_keeps_nothing_else_from_being_found() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    fs::create_dir_all(lake.join("a")).unwrap();
    put(lake, "good", &[("id", &[1, 2])]);
    put(&lake.join("a"), "beyond", &[("id", &[1, 2])]);
    moved(&lake.join("a/beyond.parquet"), 1 << 40);
    put(&lake.join("a"), "other", &[("name", &[1, 2])]);
    moved(&lake.join("a/other.parquet"), 0);
    for (name, bytes) in [("cut", &b"PAR1PAR1"[..]), ("zeros", &[0; 4096]), ("tail", b"PAR1\xff\xff\xff\x7fPAR1")] {
        fs::write(lake.join(format!("a/{name}.parquet")), bytes).unwrap();
    }
    let found = found(lake).await;
    assert!(locations(&found).contains(&"good.parquet"), "{found:?}");
    let told = found.left_out.iter().map(|left| left.path.as_str()).collect::<Vec<_>>();
    for name in ["a/beyond.parquet", "a/cut.parquet", "a/tail.parquet", "a/zeros.parquet"] {
        assert!(told.contains(&name), "{name}: {found:?}");
    }
    // A broken page behind a valid footer shows only when rows are read.
    let other = found
        .tables
        .iter()
        .find(|table| table.location == "a/")
        .or(found.tables.iter().find(|table| table.location == "a/other.parquet"));
    let notes = other.map(|table| table.notes.join("\n")).unwrap_or_default();
    assert!(notes.contains("`a/other.parquet` cannot be read"), "{found:?}");
}

#[tokio::test]
async fn odd_folders_and_wide_files_are_left_out_and_told() {
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    for folder in ["t/x=1/x=2", "t/x=2/x=1"] {
        fs::create_dir_all(lake.join(folder)).unwrap();
        put(&lake.join(folder), "a", &[("id", &[1])]);
    }
    let header = (0..50_000).map(|at| format!("column_{at}")).collect::<Vec<_>>().join(",");
    fs::write(lake.join("wide.csv"), format!("{header}\n")).unwrap();
    put(lake, "good", &[("id", &[1, 2])]);
    let found = found(lake).await;
    assert_eq!(locations(&found), ["good.parquet"], "{found:?}");
    let reason = |path: &str| found.left_out.iter().find(|left| left.path == path).map(|left| left.reason.clone());
    assert_eq!(reason("t/").as_deref(), Some("its files are in two partition folders of the name `x`"), "{found:?}");
    assert!(reason("wide.csv").is_some(), "{:?}", found.left_out);
}

/// Brackets in file names are literal; they do not form a glob pattern.
#[tokio::test]
async fn names_with_brackets_are_found_and_can_be_served_as_they_are_written() {
    use crate::govern::testing;
    let lake = tempfile::tempdir().unwrap();
    let lake = lake.path();
    for folder in ["in[1]", "in[1]/year[x]=7", "many"] {
        fs::create_dir_all(lake.join(folder)).unwrap();
    }
    put(lake, "a[1]", &[("id", &[1])]);
    put(&lake.join("in[1]/year[x]=7"), "b", &[("id", &[2])]);
    put(&lake.join("many"), "c[1]", &[("id", &[3])]);
    put(&lake.join("many"), "d[2]", &[("name", &[4])]);
    // Names with `?`, which would match other names if they were globs.
    put(lake, "e?f", &[("id", &[5])]);
    put(lake, "exf", &[("id", &[6])]);
    let found = found(lake).await;
    assert_eq!(found.left_out, []);
    assert_eq!(found.tables.len(), 6, "{found:?}");
    for table in &found.tables {
        let config =
            format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\nlocation = \"{}\"\n", table.location);
        let project = testing::try_project(lake, &config, &[("e", "SELECT count(*) AS n FROM t")]).await;
        let project = project.unwrap_or_else(|faults| panic!("{}: {faults:?}", table.location));
        let plan = testing::governed(&project, &testing::principal(""), "e", "{}").unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), ["1"], "{}", table.location);
    }
}
