//! Ingestion of non-standard CSV, NDJSON and Parquet files.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use lakegate_core::project::ingest::{IngestMode, Recipe};
use lakegate_core::project::{LakeStore, Project, ProjectFiles};
use proptest::prelude::*;

use super::*;
use crate::lake::testing::{DeltaTable, column};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// A temporary folder for test files, with a lake in it.
pub(super) struct Desk {
    pub(super) folder: tempfile::TempDir,
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lake")).unwrap();
        Self { folder }
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn target(&self, format: Option<TableFormat>) -> Target {
        let place = Place::local(&self.folder.path().join("lake")).unwrap();
        Target { place, location: "t".to_owned(), format, reader: None }
    }

    pub(super) async fn ingest(&self, recipe: &str) -> (Result<Summary, IngestError>, Vec<Reject>) {
        self.ingest_into(recipe, None).await
    }

    async fn ingest_into(
        &self,
        recipe: &str,
        format: Option<TableFormat>,
    ) -> (Result<Summary, IngestError>, Vec<Reject>) {
        let (recipe, findings) = Recipe::read("tables/t.ingest.toml", recipe);
        assert!(findings.is_empty(), "{findings:?}");
        let base = self.folder.path();
        let (done, report) =
            ingest(&recipe, base, &self.target(format), false, Report::default(), Arc::new(Silent)).await;
        (done, report.samples().to_vec())
    }

    /// The table's rows as text, sorted, with NULL as `∅`.
    pub(super) async fn rows(&self, format: Option<TableFormat>) -> Vec<String> {
        let target = self.target(format);
        let publication = Publication::begin(&target.place, &target.location, target.format).await.unwrap();
        let Some(schema) = publication.schema().await.unwrap() else { return Vec::new() };
        let batches = publication.rows(&schema).unwrap().try_collect::<Vec<_>>().await.unwrap();
        let mut rows = batches.iter().flat_map(shown).collect::<Vec<_>>();
        rows.sort();
        rows
    }
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
    let columns = columns.collect::<Vec<_>>();
    let row = |at: usize| columns.iter().map(|column| column.value(at).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

pub(super) fn types(summary: &Summary) -> Vec<String> {
    summary.columns.iter().map(|(name, kind)| format!("{name}: {kind}")).collect()
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
    units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[tokio::test]
async fn every_encoding_and_compression_gives_the_same_rows() {
    let text = "id;name;price\r\n1;José;1.5\r\n2;\"a;b\r\nc\";\r\n";
    let latin = text.chars().map(|character| character as u32 as u8).collect::<Vec<_>>();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let cases = [
        ("utf8", text.as_bytes().to_vec(), ""),
        ("utf8 with a mark", format!("\u{FEFF}{text}").into_bytes(), ""),
        ("utf16le with a mark", utf16(text, false, true), ""),
        ("utf16be with a mark", utf16(text, true, true), ""),
        // The byte order mark overrides the recipe.
        ("utf16be said to be latin1", utf16(text, true, true), "encoding = \"latin1\""),
        ("utf16le without a mark", utf16(text, false, false), ""),
        ("utf16be without a mark", utf16(text, true, false), "encoding = \"utf-16be\""),
        ("latin1", latin, "encoding = \"latin1\""),
        ("gzip", gzip.finish().unwrap(), ""),
        ("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap(), ""),
    ];
    for (name, bytes, said) in cases {
        let desk = Desk::new();
        desk.file("t.csv", bytes);
        let (done, rejects) = desk.ingest(&format!("from = [\"t.csv\"]\n[csv]\n{said}")).await;
        let summary = done.unwrap_or_else(|error| panic!("{name}: {error:#?} {rejects:?}"));
        assert_eq!(types(&summary), ["id: integer", "name: string", "price: number"], "{name}");
        assert_eq!(desk.rows(None).await, ["1|José|1.5", "2|a;b\r\nc|∅"], "{name}");
    }
}

#[tokio::test]
async fn types_are_what_all_values_look_like() {
    let desk = Desk::new();
    desk.file(
        "t.csv",
        "i,zip,phone,code,flag,day,at,ids,mixed,empty\n\
         1,01234,+54,68e5,true,2022-12-02,2022-12-02 15:54:51.686 -0500,\"{1,2}\",1,\n\
         -2,9,12,12,false,2022-12-03,2022-12-03T00:00:00Z,[3],x,\n",
    );
    let (done, _) = desk.ingest("from = [\"t.csv\"]").await;
    let expected = [
        "i: integer",
        "zip: string",
        "phone: string",
        "code: string",
        "flag: boolean",
        "day: date",
        "at: timestamp",
        "ids: integer[]",
        "mixed: string",
        "empty: string",
    ];
    assert_eq!(types(&done.unwrap()), expected);
    assert_eq!(
        desk.rows(None).await,
        [
            "-2|9|12|12|false|2022-12-03|2022-12-03T00:00:00|[3]|x|∅",
            "1|01234|+54|68e5|true|2022-12-02|2022-12-02T20:54:51.686|[1, 2]|1|∅",
        ]
    );
}

#[tokio::test]
async fn a_row_that_is_none_is_told_and_the_others_are_in() {
    let desk = Desk::new();
    desk.file("t.csv", b"id,n\n1,10\n2,ten\n3\n4,40,x\n\"5\n\",50\n6,\xff\n7,70\n");
    let recipe =
        "from = [\"t.csv\"]\nmax_rejects = \"60%\"\n[columns.id]\ntype = \"integer\"\n[columns.n]\ntype = \"integer\"";
    let (done, rejects) = desk.ingest(recipe).await;
    let summary = done.unwrap();
    assert_eq!((summary.read, summary.ingested, summary.rejected), (7, 3, 4));
    assert_eq!(desk.rows(None).await, ["1|10", "5|50", "7|70"]);
    let told = rejects.iter().map(|reject| (reject.line, reject.column.as_deref())).collect::<Vec<_>>();
    assert_eq!(told, [(3, Some("n")), (4, None), (5, None), (8, None)]);
    assert_eq!(rejects[0].value.as_deref(), Some("ten"));
    assert!(rejects[3].why.contains("encoding"), "{rejects:?}");
    // Equal rows with Windows line ends and an empty line.
    desk.file("t.csv", b"id,n\r\n1,10\r\n\r\n2,ten\r\n3,\"3\r\n\"\r\n4,40,x\r\n");
    let (_, rejects) = desk.ingest(recipe).await;
    assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), [4, 7], "{rejects:?}");
    desk.file("t.csv", b"id,n\n1,10\n2,ten\n3\n4,40,x\n\"5\n\",50\n6,\xff\n7,70\n");
    // One reject too many, so nothing is ingested.
    let (done, _) = desk.ingest(&recipe.replace("60%", "3")).await;
    assert!(matches!(done, Err(IngestError::TooManyRejects { rejected: 4, read: 7 })), "{done:?}");
    assert_eq!(desk.rows(None).await.len(), 5);
}

#[tokio::test]
async fn words_commas_and_formats_are_those_of_the_recipe() {
    let desk = Desk::new();
    desk.file("t.csv", "price;paid;day;at;note\n1.234,5;si;02.12.2022;02/12/2022 15:54;-\nNULL;no;;;NULL\n");
    let recipe = r#"
from = "t.csv"
nulls = ["NULL"]
true_words = ["si"]
false_words = ["no"]
decimal_comma = true
offset = "-05:00"
[columns.price]
type = "number"
[columns.paid]
type = "boolean"
[columns.day]
type = "date"
formats = ["%d.%m.%Y"]
[columns.at]
type = "timestamp"
formats = ["%d/%m/%Y %H:%M"]
[columns.note]
nulls = ["-"]
[columns.source]
value = "first"
"#;
    let (done, rejects) = desk.ingest(&recipe.replace("\"t.csv\"", "[\"t.csv\"]")).await;
    done.unwrap_or_else(|error| panic!("{error:?} {rejects:?}"));
    assert_eq!(desk.rows(None).await, ["1234.5|true|2022-12-02|2022-12-02T20:54:00|∅|first", "∅|false|∅|∅|∅|first"]);
}

#[tokio::test]
async fn json_lines_say_their_types_themselves() {
    let desk = Desk::new();
    desk.file(
        "t.ndjson",
        "{\"id\": 1, \"code\": \"007\", \"ids\": [1, null], \"at\": \"2022-12-02T00:00:00+01:00\"}\n\n\
         {\"id\": 2, \"n\": 1.5, \"ids\": [], \"code\": null}\n{\"id\": \n[1]\n",
    );
    let (done, rejects) = desk.ingest("from = [\"t.ndjson\"]\nmax_rejects = \"2\"").await;
    let summary = done.unwrap();
    assert_eq!((summary.ingested, summary.rejected), (2, 2), "{rejects:?}");
    assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(desk.rows(None).await, ["1|007|[1, ∅]|2022-12-01T23:00:00|∅", "2|∅|[]|∅|1.5"]);
}

#[tokio::test]
async fn the_last_row_of_a_key_counts_in_every_format() {
    for format in [TableFormat::Parquet, TableFormat::Delta, TableFormat::Iceberg] {
        let desk = Desk::new();
        desk.file("a.csv", "id,name\n1,one\n2,two\n3,three\n");
        desk.file("b.csv", "id,name\n2,zwei\n4,vier\n2,deux\n,nobody\n");
        desk.ingest_into("from = [\"a.csv\"]", Some(format)).await.0.unwrap();
        let upsert = "from = [\"b.csv\"]\nmode = \"upsert\"\nkey = [\"id\"]\nmax_rejects = \"1\"";
        let (done, rejects) = desk.ingest_into(upsert, Some(format)).await;
        let summary = done.unwrap();
        assert_eq!((summary.read, summary.ingested, summary.superseded, summary.updated), (4, 2, 1, 1), "{format:?}");
        assert_eq!(rejects[0].why, "the key is NULL");
        assert_eq!(desk.rows(Some(format)).await, ["1|one", "2|deux", "3|three", "4|vier"], "{format:?}");
        // Ingesting the same files again changes nothing.
        desk.ingest_into(upsert, Some(format)).await.0.unwrap();
        assert_eq!(desk.rows(Some(format)).await, ["1|one", "2|deux", "3|three", "4|vier"], "{format:?}");
    }
}

#[tokio::test]
async fn the_columns_of_a_table_that_is_there_count() {
    let desk = Desk::new();
    desk.file("a.csv", "id,zip\n1,01234\n");
    desk.ingest("from = [\"a.csv\"]").await.0.unwrap();
    // These values look like numbers, but the table's columns are text.
    desk.file("b.csv", "zip,id\n7,2\n");
    desk.ingest("from = [\"b.csv\"]").await.0.unwrap();
    assert_eq!(desk.rows(None).await, ["1|01234", "2|7"]);
    let said = |done: Result<Summary, IngestError>| done.unwrap_err().to_string();
    desk.file("c.csv", "id,zip,note\n3,7,x\n");
    let refused = said(desk.ingest("from = [\"c.csv\"]").await.0);
    assert!(refused.contains("no column `note`") && refused.contains("new_columns"), "{refused}");
    desk.file("d.csv", "id\n3\n");
    let refused = said(desk.ingest("from = [\"d.csv\"]").await.0);
    assert!(refused.contains("no column `zip`"), "{refused}");
    let refused = said(desk.ingest("from = [\"b.csv\"]\n[columns.zip]\ntype = \"integer\"").await.0);
    assert!(refused.contains("`integer` in the recipe"), "{refused}");
    let refused = said(desk.ingest("from = [\"b.csv\"]\n[columns.zap]\nfrom = \"zipp\"").await.0);
    assert!(refused.contains("did you mean `zip`?"), "{refused}");
    desk.ingest("from = [\"c.csv\"]\nnew_columns = true").await.0.unwrap();
    assert_eq!(desk.rows(None).await, ["1|01234|∅", "2|7|∅", "3|7|x"]);
}

#[tokio::test]
async fn files_that_are_no_tables_are_told() {
    let desk = Desk::new();
    let wide = (0..10_000).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
    desk.file("wide.csv", format!("{wide}\n"));
    desk.file("twice.csv", "a,a\n1,2\n");
    desk.file("cut.parquet", "PAR1 and nothing else");
    desk.file("other.csv", "b\n1\n");
    desk.file("one.csv", "a\n1\n");
    for (from, expected) in [
        ("wide.csv", "more than 2000 columns"),
        ("twice.csv", "the column `a` twice"),
        ("cut.parquet", "not valid Parquet"),
        ("missing.csv", "cannot read `missing.csv`"),
        ("no*.csv", "no file is found"),
        ("s3://bucket/a.csv", "is not a file of this machine"),
        ("one.csv\", \"other.csv", "`other.csv` has other columns than `one.csv`"),
        ("one.csv\", \"one.csv", "named twice"),
    ] {
        let error = desk.ingest(&format!("from = [\"{from}\"]")).await.0.unwrap_err().to_string();
        assert!(error.contains(expected), "{from}: {error}");
    }
    assert!(
        fs::read_dir(desk.folder.path().join("lake"))
            .unwrap()
            .flatten()
            .all(|entry| { entry.file_name().to_string_lossy().ends_with(".lock") })
    );
}

#[tokio::test]
async fn a_row_without_an_end_is_an_error_and_takes_no_memory_for_it() {
    let desk = Desk::new();
    let packed = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(b"a,b\n1,\"").unwrap();
        for _ in 0..100 {
            encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    };
    desk.file("bomb.csv.zst", packed);
    let error = desk.ingest("from = [\"bomb.csv.zst\"]\n[csv]\ndelimiter = \",\"").await.0.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("larger than 64 MiB"), "{error}: {cause}");
}

#[tokio::test]
async fn a_table_of_one_file_is_added_to_by_writing_it_anew() {
    let desk = Desk::new();
    desk.file("a.csv", "id\n1\n");
    let run = async |recipe: &str| {
        let (recipe, _) = Recipe::read("t.ingest.toml", recipe);
        let target = Target { location: "one.parquet".to_owned(), ..desk.target(None) };
        ingest(&recipe, desk.folder.path(), &target, false, Report::default(), Arc::new(Silent)).await.0.unwrap()
    };
    for _ in 0..2 {
        assert_eq!(run("from = [\"a.csv\"]").await.ingested, 1);
    }
    let place = Place::local(&desk.folder.path().join("lake")).unwrap();
    let publication = Publication::begin(&place, "one.parquet", None).await.unwrap();
    let schema = publication.schema().await.unwrap().unwrap();
    let batches = publication.rows(&schema).unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(recipe_modes().len(), 3);
}

fn recipe_modes() -> Vec<IngestMode> {
    IngestMode::NAMES.iter().map(|(_, mode)| *mode).collect()
}

type DressedRow = (i64, Option<String>, Option<f64>, Option<i64>);

/// A table with one combination of CSV properties.
#[derive(Clone, Debug)]
struct Dressed {
    rows: Vec<DressedRow>,
    delimiter: u8,
    encoding: usize,
    all_quoted: bool,
    crlf: bool,
}

fn dressed() -> impl Strategy<Value = Dressed> {
    // No U+FFFD, which stands for undecodable bytes, and no byte order mark, which is not part of the text.
    let text = proptest::option::of("[ -~\n\r\téñ€😀]{1,12}");
    let row = (
        any::<i64>(),
        text,
        proptest::option::of((-1_i64 << 40..1 << 40).prop_map(|quarters| quarters as f64 / 4.0)),
        proptest::option::of(0..4_000_000_000_i64),
    );
    let rows = proptest::collection::vec(row, 1..40);
    (rows, proptest::sample::select(b",;\t|".to_vec()), 0..5_usize, any::<bool>(), any::<bool>()).prop_map(
        |(rows, delimiter, encoding, all_quoted, crlf)| Dressed { rows, delimiter, encoding, all_quoted, crlf },
    )
}

fn written(table: &Dressed) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(table.delimiter)
        .quote_style(if table.all_quoted { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
        .terminator(if table.crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
        .from_writer(Vec::new());
    writer.write_record(["id", "name", "price", "at"]).unwrap();
    for (id, name, price, at) in &table.rows {
        let at = at.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
        let at = at.map(|at| at.format("%Y-%m-%d %H:%M:%S -0000").to_string()).unwrap_or_default();
        let price = price.map(|price| price.to_string()).unwrap_or_default();
        writer.write_record([&id.to_string(), name.as_deref().unwrap_or_default(), &price, &at]).unwrap();
    }
    let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
    match table.encoding {
        0 => text.into_bytes(),
        1 => format!("\u{FEFF}{text}").into_bytes(),
        2 => utf16(&text, false, true),
        3 => utf16(&text, true, true),
        _ => zstd::encode_all(text.as_bytes(), 1).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_in_any_dress_is_read_as_it_was(table in dressed()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (summary, got) = runtime.block_on(async {
            let desk = Desk::new();
            desk.file("t.csv", written(&table));
            let delimiter = (table.delimiter as char).to_string().replace('\t', "\\\\t");
            let recipe = format!(
                "from = [\"t.csv\"]\n[csv]\ndelimiter = \"{delimiter}\"\n[columns.id]\ntype = \"integer\"\n[columns.name]\n\
                 type = \"string\"\n[columns.price]\ntype = \"number\"\n[columns.at]\ntype = \"timestamp\""
            );
            let (done, rejects) = desk.ingest(&recipe).await;
            (done.unwrap_or_else(|error| panic!("{error:?} {rejects:?}")), desk.rows(None).await)
        });
        prop_assert_eq!(summary.rejected, 0);
        let null = "∅".to_owned();
        let mut expected = table.rows.iter().map(|(id, name, price, at)| {
            let at = at.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
            let at = at.map(|at| at.format("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_else(|| null.clone());
            let price = price.map(|price| format!("{price:?}")).unwrap_or_else(|| null.clone());
            format!("{id}|{}|{price}|{at}", name.clone().unwrap_or_else(|| null.clone()))
        }).collect::<Vec<_>>();
        expected.sort();
        prop_assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn an_upsert_brings_no_deleted_row_back() {
    let fields = [("id", "long", None), ("tenant", "long", None)];
    let mut table = DeltaTable::new(&fields, &[], &["deletionVectors"]);
    let columns =
        vec![column("id", 0, Int64Array::from(vec![1, 2, 3])), column("tenant", 0, Int64Array::from(vec![1, 1, 1]))];
    let add = table.add("a.parquet", serde_json::json!({}), columns, &[0]);
    table.commit(&[add]);
    let base = table.lake.path();
    fs::write(base.join("t.csv"), "id,tenant\n2,7\n9,7\n").unwrap();
    let config =
        "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nformat = \"delta\"\nshared = true\n".to_owned();
    let (project, findings) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
    assert!(findings.is_empty(), "{findings:?}");
    let lake = Arc::new(Lake::open(base, ".", &LakeStore::default()).unwrap());
    let reader = Some((Arc::clone(&lake), Box::new(project.config.tables["t"].clone())));
    let target = Target { place: lake.place().unwrap(), location: "t".to_owned(), format: None, reader };
    let recipe = "from = [\"t.csv\"]\nmode = \"upsert\"\nkey = [\"id\"]";
    let (recipe, _) = Recipe::read("tables/t.ingest.toml", recipe);
    let done = ingest(&recipe, base, &target, false, Report::default(), Arc::new(Silent)).await.0;
    let summary = done.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!((summary.ingested, summary.updated), (2, 1));
    let publication = Publication::begin(&target.place, "t", None).await.unwrap();
    assert!(!publication.has_deletes());
    let schema = publication.schema().await.unwrap().unwrap();
    let batches = publication.rows(&schema).unwrap().try_collect::<Vec<_>>().await.unwrap();
    let mut rows = batches.iter().flat_map(shown).collect::<Vec<_>>();
    rows.sort();
    assert_eq!(rows, ["2|7", "3|1", "9|7"]);
}
