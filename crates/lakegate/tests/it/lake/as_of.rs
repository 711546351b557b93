//! Time travel: `as_of`, names of data versions, and pages that stay on one version, on a Delta table with a
//! handwritten log.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::Request;
use lakegate_query::lake::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use serde_json::{Value as Json, json};

use crate::support::app::{Answer, TestApp, write_files};

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale"
format = "delta"
row_filter = "client_id IN (principal('client_id'))"
[tables.sale.columns.product]
mask = "redact"
[tables.membership]
location = "membership.csv"
row_filter = "client_id IN (principal('client_id'))"
[tables.note]
location = "note"
format = "delta"
row_filter = "team IN (SELECT team FROM membership)"
"#;

const COLUMNS: [Column; 3] = [
    Column::new("id", ColumnKind::Integer),
    Column::new("client_id", ColumnKind::Integer),
    Column::repeating("product", ColumnKind::Text),
];

/// A Delta table that the test writes version by version. Version n was committed n hours after the first.
struct Delta<'a> {
    folder: &'a Path,
    columns: [Column; 3],
}

/// Commit time of version 0, in seconds since 1970.
const BEGIN: u64 = 1_735_689_600;

/// The time `seconds` after the first version.
fn time(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(BEGIN as i64 + seconds, 0).unwrap();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

impl<'a> Delta<'a> {
    fn create(folder: &'a Path, columns: [Column; 3]) -> Self {
        std::fs::create_dir_all(folder.join("_delta_log")).unwrap();
        Self { folder, columns }
    }

    /// Commits a version that adds a file of these rows, and removes the file of an earlier version.
    fn commit(&self, version: u64, rows: &[(i64, i64, &str)], removes: Option<u64>) {
        let mut actions = Vec::new();
        if version == 0 {
            let field = |column: &Column| {
                let kind = if column.kind == ColumnKind::Text { "string" } else { "long" };
                json!({ "name": column.name, "type": kind, "nullable": true, "metadata": {} })
            };
            let schema = json!({ "type": "struct", "fields": self.columns.iter().map(field).collect::<Vec<_>>() });
            actions.push(json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } }));
            actions.push(json!({ "metaData": {
                "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": { "provider": "parquet", "options": {} },
                "schemaString": schema.to_string(), "partitionColumns": [], "configuration": {}, "createdTime": 0,
            } }));
        }
        let at = (BEGIN + version * 3_600) * 1_000;
        if let Some(removed) = removes {
            actions.push(json!({ "remove": {
                "path": format!("{removed}.parquet"), "deletionTimestamp": at, "dataChange": true,
            } }));
        }
        if !rows.is_empty() {
            let path = self.folder.join(format!("{version}.parquet"));
            let mut writer = TableWriter::create(&path, &self.columns, &WriteOptions::default()).unwrap();
            let number =
                |of: fn(&(i64, i64, &str)) -> i64| ColumnData::Integer(rows.iter().map(|row| Some(of(row))).collect());
            let text = ColumnData::Text(rows.iter().map(|row| Some(row.2.to_owned())).collect());
            writer.write(vec![number(|row| row.0), number(|row| row.1), text]).unwrap();
            writer.finish().unwrap();
            actions.push(json!({ "add": {
                "path": format!("{version}.parquet"), "partitionValues": {}, "dataChange": true,
                "size": std::fs::metadata(&path).unwrap().len(), "modificationTime": at,
            } }));
        }
        actions.push(json!({ "commitInfo": { "timestamp": at, "operation": "WRITE", "operationParameters": {} } }));
        let text = actions.iter().map(|action| action.to_string() + "\n").collect::<String>();
        let log = self.folder.join(format!("_delta_log/{version:020}.json"));
        std::fs::write(&log, text).unwrap();
        let committed = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + version * 3_600);
        File::options().write(true).open(&log).unwrap().set_modified(committed).unwrap();
    }
}

/// Twenty rows of version 0: even ids belong to client 1, odd ids to client 2.
fn first_rows() -> Vec<(i64, i64, &'static str)> {
    (0..20).map(|id| (id, 1 + id % 2, "tea")).collect()
}

/// Three versions of sales: twenty rows; one more row per client; one new row, and the rows of version 0 are removed.
async fn app() -> TestApp {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let sales = lake.join("sale");
    let sale = Delta::create(&sales, COLUMNS);
    sale.commit(0, &first_rows(), None);
    sale.commit(1, &[(100, 1, "coffee"), (101, 2, "milk")], None);
    sale.commit(2, &[(200, 1, "juice")], Some(0));
    let notes = lake.join("note");
    let columns = [COLUMNS[0], Column::new("team", ColumnKind::Integer), Column::repeating("text", ColumnKind::Text)];
    let note = Delta::create(&notes, columns);
    note.commit(0, &[(1, 7, "of seven"), (2, 8, "of eight")], None);
    note.commit(1, &[(3, 7, "later")], None);
    let past = |query: &str| format!("/*---\nsummary = \"s\"\nas_of = true\n---*/\n{query}");
    write_files(
        folder.path(),
        &[
            ("lakegate.toml", CONFIG),
            ("lake/membership.csv", "client_id,team\n1,7\n2,8\n"),
            ("endpoints/sales.sql", &past("SELECT id, client_id, product FROM sale ORDER BY id")),
            ("endpoints/notes.sql", &past("SELECT id, text FROM note ORDER BY id")),
            ("endpoints/both.sql", &past("SELECT s.id AS sale, n.id AS note FROM sale s CROSS JOIN note n")),
            ("endpoints/now.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT id FROM sale ORDER BY id"),
        ],
    );
    TestApp::serve(folder).await
}

async fn acme(app: &TestApp) -> String {
    app.admit_with("acme", "*", &[json!({})]).await
}

fn ids(answer: &Answer) -> Vec<i64> {
    answer.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn rows_are_those_of_the_time_and_of_the_caller() {
    let app = app().await;
    let token = acme(&app).await;
    let of = async |as_of: &str| ids(&app.get(&token, &format!("/api/sales?as_of={as_of}")).await);
    let first = (0..20).step_by(2).collect::<Vec<_>>();
    let second = first.iter().copied().chain([100]).collect::<Vec<_>>();
    assert_eq!(ids(&app.get(&token, "/api/sales").await), [100, 200]);
    for (as_of, wanted) in [
        ("0".to_owned(), first.clone()),
        ("1".to_owned(), second.clone()),
        ("2".to_owned(), vec![100, 200]),
        (time(0), first.clone()),
        (time(3_599), first),
        (time(3_600), second.clone()),
        (time(7_199), second),
        (time(7_200), vec![100, 200]),
        (time(1_000_000), vec![100, 200]),
        ("2025-06-01".to_owned(), vec![100, 200]),
    ] {
        assert_eq!(of(&as_of).await, wanted, "{as_of}");
    }
}

#[tokio::test]
async fn a_state_that_never_was_or_is_to_come_is_refused() {
    let app = app().await;
    let token = acme(&app).await;
    let problem = async |query: &str| app.get(&token, &format!("/api/{query}")).await.problem();
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(problem(&format!("sales?as_of={}", time(-1))).await, refused(422, "as_of_unknown"));
    assert_eq!(problem("sales?as_of=3").await, refused(422, "as_of_unknown"));
    assert_eq!(problem("sales?as_of=9223372036854775807").await, refused(422, "as_of_unknown"));
    assert_eq!(problem("sales?as_of=2999-01-01").await, refused(400, "arguments_invalid"));
    assert_eq!(problem("sales?as_of=yesterday").await, refused(400, "arguments_invalid"));
    // A version number names a version of one table. An endpoint without time travel refuses `as_of`.
    assert_eq!(problem("both?as_of=0").await, refused(400, "arguments_invalid"));
    assert_eq!(problem("now?as_of=0").await, refused(400, "arguments_invalid"));
}

#[tokio::test]
async fn a_state_whose_files_were_cleaned_up_is_gone() {
    let app = app().await;
    let token = acme(&app).await;
    std::fs::remove_file(app.folder.path().join("lake/sale/0.parquet")).unwrap();
    let answer = app.get(&token, "/api/sales?as_of=1").await;
    assert_eq!(answer.problem(), (410, "as_of_gone".to_owned()));
    assert_eq!(ids(&app.get(&token, "/api/sales").await), [100, 200]);
}

#[tokio::test]
async fn masks_columns_and_parts_are_those_of_now() {
    let app = app().await;
    let token = app.admit_with("acme", "*", &[json!({ "columns": ["id", "product"] })]).await;
    let answer = app.get(&token, "/api/sales?as_of=0&limit=1&order=id.desc").await;
    let rows = answer.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["id"], 18);
    assert!(rows[0].get("client_id").is_none(), "{rows:?}");
    assert_ne!(rows[0]["product"], "tea");
}

/// `as_of` does not restore revoked rights.
#[tokio::test]
async fn rights_are_those_of_now() {
    let app = app().await;
    let token = acme(&app).await;
    assert_eq!(ids(&app.get(&token, "/api/notes?as_of=0").await), [1]);
    std::fs::write(app.folder.path().join("lake/membership.csv"), "client_id,team\n2,7\n2,8\n").unwrap();
    lakegate::reload::refresh(&app.app).await.unwrap();
    for query in ["", "?as_of=0", "?as_of=1"] {
        assert_eq!(ids(&app.get(&token, &format!("/api/notes{query}")).await), Vec::<i64>::new(), "{query}");
    }
    app.add_principal(
        "out",
        "client",
        &[("client_id", lakegate_core::value::Value::Scalar(lakegate_core::value::Scalar::Integer(3)))],
    )
    .await;
    let out = app.token("out", None).await;
    assert_eq!(app.get(&out, "/api/notes?as_of=0").await.status, 403);
}

#[tokio::test]
async fn every_answer_names_the_state_of_its_data() {
    let app = app().await;
    let token = acme(&app).await;
    let get = async |path: &str| app.get(&token, path).await;
    let now = get("/api/sales").await;
    let version = header(&now, "lakegate-data-version").unwrap().to_owned();
    assert_eq!(header(&now, "lakegate-as-of"), Some("2"));
    // The requested rows do not affect the version.
    assert_eq!(header(&get("/api/sales?limit=1").await, "lakegate-data-version"), Some(version.as_str()));
    let same = get(&format!("/api/sales?as_of={}", time(7_200))).await;
    assert_eq!(header(&same, "lakegate-data-version"), Some(version.as_str()));
    assert_eq!(same.headers["etag"], now.headers["etag"]);
    let before = get("/api/sales?as_of=1").await;
    assert_ne!(header(&before, "lakegate-data-version"), Some(version.as_str()));
    assert_eq!(header(&before, "lakegate-as-of"), Some("1"));
    // Two tables share no version number.
    let both = get("/api/both?limit=1").await;
    assert_eq!(header(&both, "lakegate-as-of"), Some(time(7_200).as_str()));
    // An endpoint without time travel reports its data version, but no time for `as_of`.
    let plain = get("/api/now").await;
    assert!(header(&plain, "lakegate-data-version").is_some() && header(&plain, "lakegate-as-of").is_none());

    let tag = before.headers["etag"].to_str().unwrap();
    let request = Request::get("/api/sales?as_of=1").header("if-none-match", tag);
    let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
    let unchanged = app.send(request).await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(header(&unchanged, "lakegate-data-version"), header(&before, "lakegate-data-version"));
}

#[tokio::test]
async fn pages_stay_on_the_version_of_the_first_one() {
    for first in ["/api/sales?page_size=1", "/api/now?page_size=1", "/api/sales?as_of=1&page_size=4"] {
        let app = app().await;
        let token = acme(&app).await;
        let whole = ids(&app.get(&token, &first.replace("page_size", "limit").replace("=4", "=40")).await);
        let whole = if first.contains("as_of") { whole } else { vec![100, 200] };
        let mut answer = app.get(&token, first).await;
        let version = header(&answer, "lakegate-data-version").unwrap().to_owned();
        let mut found = ids(&answer);
        let folder = app.folder.path().join("lake/sale");
        let sale = Delta { folder: &folder, columns: COLUMNS };
        let mut next = 3;
        while let Some(link) = header(&answer, "link") {
            // Rows are added and removed between any two pages.
            sale.commit(next, &[(next as i64 - 100, 1, "new")], (next == 3).then_some(2));
            lakegate::reload::refresh(&app.app).await.unwrap();
            next += 1;
            let query = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            let path = first.split('?').next().unwrap();
            answer = app.get(&token, &format!("{path}?{query}")).await;
            found.extend(ids(&answer));
            assert_eq!(header(&answer, "lakegate-data-version"), Some(version.as_str()), "{first}");
        }
        assert!(next > 3, "{first} has one page only");
        assert_eq!(found, whole, "{first}");
        assert_ne!(ids(&app.get(&token, "/api/sales").await), [100, 200]);
    }
}

#[tokio::test]
async fn pages_end_when_their_version_is_cleaned_up_or_a_right_has_changed() {
    let app = app().await;
    let token = acme(&app).await;
    let next = async |first: &str| {
        let answer = app.get(&token, first).await;
        let link = header(&answer, "link").unwrap().to_owned();
        let query = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        format!("{}{query}", first.split('?').next().unwrap())
    };
    let (sales, notes) = (next("/api/sales?page_size=1").await, next("/api/notes?page_size=1").await);
    let folder = app.folder.path().join("lake/sale");
    Delta { folder: &folder, columns: COLUMNS }.commit(3, &[], Some(2));
    std::fs::remove_file(folder.join("2.parquet")).unwrap();
    std::fs::write(app.folder.path().join("lake/membership.csv"), "client_id,team\n2,8\n").unwrap();
    lakegate::reload::refresh(&app.app).await.unwrap();
    for page in [sales, notes] {
        assert_eq!(app.get(&token, &page).await.problem(), (410, "result_gone".to_owned()), "{page}");
    }
}

#[tokio::test]
async fn an_endpoint_without_a_past_can_not_promise_one() {
    let folder = tempfile::tempdir().unwrap();
    write_files(
        folder.path(),
        &[
            ("lakegate.toml", "[lake]\nlocation = \"lake\"\n[tables.note]\nlocation = \"note.csv\"\nshared = true\n"),
            ("lake/note.csv", "id\n1\n"),
            ("endpoints/notes.sql", "/*---\nsummary = \"s\"\nas_of = true\n---*/\nSELECT id FROM note"),
        ],
    );
    let error = lakegate::project::load(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("`as_of` is for endpoints that read an Iceberg or a Delta table"), "{error}");
}

#[tokio::test]
async fn the_document_tells_who_may_ask() {
    let app = app().await;
    let token = acme(&app).await;
    let document = app.get(&token, "/api/openapi.json").await.json();
    let asks = |endpoint: &str| {
        let parameters = document["paths"][endpoint]["get"]["parameters"].as_array().unwrap();
        parameters.iter().any(|parameter: &Json| parameter["name"] == "as_of")
    };
    assert!(asks("/api/sales") && !asks("/api/now"));
}
