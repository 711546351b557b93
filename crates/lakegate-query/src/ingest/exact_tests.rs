//! Values that ingestion must not change: truncated quoted values, text behind closing quotes, large whole numbers.

use std::error::Error as _;
use std::fs;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch};
use datafusion::parquet::arrow::ArrowWriter;

use super::tests::{Desk, types};

#[tokio::test]
async fn a_file_that_ends_in_a_quoted_value_fails_whatever_may_be_rejected() {
    let desk = Desk::new();
    desk.file("whole.csv", "tenant,v\n1,one\n");
    desk.ingest("from = [\"whole.csv\"]").await.0.unwrap();
    let text = "tenant,v\n1,\"abc\n2,secret of 2\n2,other\n";
    desk.file("cut.csv", text);
    desk.file("cut.csv.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    desk.file("marked.csv", text.replace('"', "'"));
    for (file, csv, max) in [
        ("cut.csv", "", "0"),
        ("cut.csv", "", "100%"),
        ("cut.csv", "delimiter = \",\"", "100%"),
        ("cut.csv.zst", "", "100%"),
        ("marked.csv", "quote = \"'\"", "100%"),
    ] {
        let recipe = format!("from = [\"{file}\"]\nmode = \"replace\"\nmax_rejects = \"{max}\"\n[csv]\n{csv}");
        let error = desk.ingest(&recipe).await.0.unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(error.to_string().contains(file), "{file}: {error}");
        assert!(cause.contains("ends in a quoted value that begins in line 2"), "{file}: {cause}");
        assert_eq!(desk.rows(None).await, ["1|one"], "{file}");
    }
    // An unclosed quote in the header is an error too.
    desk.file("head.csv", "tenant,\"v\n1,one\n");
    assert!(desk.ingest("from = [\"head.csv\"]\n[csv]\ndelimiter = \",\"").await.0.is_err());
    // Without quoting, the same line is valid.
    let (done, _) = desk.ingest("from = [\"cut.csv\"]\nmode = \"replace\"\n[csv]\nquote = \"\"").await;
    assert_eq!(done.unwrap().ingested, 3);
    assert_eq!(desk.rows(None).await, ["1|\"abc", "2|other", "2|secret of 2"]);
}

#[tokio::test]
async fn text_behind_a_closing_quote_rejects_its_row() {
    let desk = Desk::new();
    desk.file("t.csv", "id,v\n1,\"a\"b\n2,\"x\"\"y\"\n3,\"l\nm\"\n4,\"n\" \n5,5\"\n6,\"o\n7,\"p\"\n8,q\n");
    let (done, rejects) = desk.ingest("from = [\"t.csv\"]\nmax_rejects = \"3\"").await;
    assert_eq!(done.unwrap().rejected, 3);
    assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), [2, 6, 8], "{rejects:?}");
    assert!(rejects.iter().all(|reject| reject.why.contains("behind a closing quote")), "{rejects:?}");
    assert_eq!(desk.rows(None).await, ["2|x\"y", "3|l\nm", "5|5\"", "8|q"]);
    desk.file("h.csv", "id,\"v\"w\n1,2\n");
    let error = desk.ingest("from = [\"h.csv\"]").await.0.unwrap_err().to_string();
    assert!(error.contains("the header of `h.csv`"), "{error}");
}

#[tokio::test]
async fn large_whole_numbers_beside_fractions_are_text_and_no_key_is_lost() {
    let desk = Desk::new();
    desk.file("t.csv", "id,big,n,all,ids\n9007199254740992,1,1,9007199254740993,{9007199254740993}\n9007199254740993,9223372036854775808,2,-5,{1}\n1.5,3,2.5,9223372036854775807,{1.5}\n");
    let (done, _) = desk.ingest("from = [\"t.csv\"]\nmode = \"upsert\"\nkey = [\"id\"]").await;
    let summary = done.unwrap();
    assert_eq!((summary.ingested, summary.superseded), (3, 0));
    assert_eq!(types(&summary), ["id: string", "big: string", "n: number", "all: integer", "ids: string[]"]);
    assert_eq!(
        desk.rows(None).await,
        [
            "1.5|3|2.5|9223372036854775807|[1.5]",
            "9007199254740992|1|1.0|9007199254740993|[9007199254740993]",
            "9007199254740993|9223372036854775808|2.0|-5|[1]",
        ]
    );
    // This number is exactly a double, but its successor is not, so the column is text.
    let desk = Desk::new();
    desk.file("t.csv", "id\n9007199254740994\n1.5\n");
    assert_eq!(types(&desk.ingest("from = [\"t.csv\"]").await.0.unwrap()), ["id: string"]);
}

#[tokio::test]
async fn numbers_that_a_column_can_not_hold_are_rejected() {
    let text =
        "id,n\n1,9007199254740992\n2,9007199254740993\n3,18446744073709551615\n4,1.5\n5,1e30\n6,-9007199254740993.0\n";
    let recipe = "from = [\"t.csv\"]\nmax_rejects = \"3\"\n[columns.n]\ntype = \"number\"";
    let desk = Desk::new();
    desk.file("t.csv", text);
    let (done, rejects) = desk.ingest(recipe).await;
    assert_eq!(done.unwrap().rejected, 3, "{rejects:?}");
    assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), [3, 4, 7]);
    assert!(rejects.iter().all(|reject| reject.why.contains("cannot hold it exactly")), "{rejects:?}");
    // Another run on the existing table: its schema has the type, so the recipe need not declare it.
    let (done, rejects) = desk.ingest("from = [\"t.csv\"]\nmax_rejects = \"3\"").await;
    assert_eq!((done.unwrap().ingested, rejects.len()), (3, 3));
    // Numbers with decimal commas, in lists, and beyond 64-bit integers.
    let desk = Desk::new();
    desk.file("t.csv", "a;b;c\n9.007.199.254.740.993;{1};1\n1,5;{9007199254740993};2\n1,5;{1};9223372036854775808\n1,5;{2};-9223372036854775808\n");
    let recipe = "from = [\"t.csv\"]\nmax_rejects = \"3\"\ndecimal_comma = true\n[columns.a]\ntype = \"number\"\n[columns.b]\n\
                  type = \"list<number>\"\n[columns.c]\ntype = \"integer\"";
    let (done, rejects) = desk.ingest(recipe).await;
    assert_eq!(done.unwrap().ingested, 1, "{rejects:?}");
    let columns = rejects.iter().map(|reject| reject.column.as_deref().unwrap()).collect::<Vec<_>>();
    assert_eq!(columns, ["a", "b", "c"]);
    assert_eq!(rejects[2].why, "it is out of the column's range");
}

#[tokio::test]
async fn a_column_of_short_numbers_holds_fewer() {
    for (column, most) in [
        (Arc::new(Float32Array::from(vec![0.5])) as ArrayRef, 16_777_216_i64),
        (Arc::new(Float64Array::from(vec![0.5])) as ArrayRef, 9_007_199_254_740_992),
    ] {
        let desk = Desk::new();
        let batch = RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap();
        let folder = desk.folder.path().join("lake/t");
        fs::create_dir(&folder).unwrap();
        let mut writer =
            ArrowWriter::try_new(fs::File::create(folder.join("a.parquet")).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        desk.file("t.csv", format!("n\n{most}\n{}\n0.1\n1e39\n1e309\n", most + 1));
        let (done, rejects) = desk.ingest("from = [\"t.csv\"]\nmax_rejects = \"9\"").await;
        done.unwrap();
        let lines = rejects.iter().map(|reject| reject.line).collect::<Vec<_>>();
        assert_eq!(lines, if most < 1 << 30 { vec![3, 5, 6] } else { vec![3, 6] }, "{rejects:?}");
    }
}

#[tokio::test]
async fn numbers_of_json_lines_are_not_changed_either() {
    let desk = Desk::new();
    desk.file(
        "t.ndjson",
        "{\"id\": 9007199254740993, \"big\": 123456789012345678901234, \"u\": 18446744073709551615}\n\
         {\"id\": 9007199254740992, \"big\": 123456789012345678901235, \"u\": 1}\n{\"id\": 1.5, \"big\": 1, \"u\": 2}\n",
    );
    let (done, _) = desk.ingest("from = [\"t.ndjson\"]\nmode = \"upsert\"\nkey = [\"big\"]").await;
    assert_eq!(types(&done.unwrap()), ["id: string", "big: string", "u: string"]);
    assert_eq!(
        desk.rows(None).await,
        [
            "1.5|1|2",
            "9007199254740992|123456789012345678901235|1",
            "9007199254740993|123456789012345678901234|18446744073709551615",
        ]
    );
    let desk = Desk::new();
    desk.file(
        "t.ndjson",
        "{\"n\": 9007199254740993}\n{\"n\": 123456789012345678901234}\n{\"n\": 1.5}\n{\"n\": 9007199254740994}\n",
    );
    let (done, rejects) =
        desk.ingest("from = [\"t.ndjson\"]\nmax_rejects = \"2\"\n[columns.n]\ntype = \"number\"").await;
    assert_eq!(done.unwrap().ingested, 2, "{rejects:?}");
    assert!(rejects.iter().all(|reject| reject.why.contains("cannot hold it exactly")), "{rejects:?}");
    assert_eq!(rejects[1].value.as_deref(), Some("\"123456789012345678901234\""));
}
