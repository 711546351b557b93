//! Tests Iceberg catalogs: a SQL catalog in a database file, and a REST catalog that an HTTP server in the test plays.

use std::sync::{Arc, Mutex};

use datafusion::arrow::array::{Date32Array, Int64Array, StringArray};
use lakegate_core::access::{Terms, Unmask};
use serde_json::json;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::iceberg::{IcebergTable, field};
use super::super::testing::{column, open, rows_at};
use super::super::version::At;
use crate::govern::testing as governed;

async fn table() -> IcebergTable {
    let mut table = IcebergTable::new(2, &[field(1, "id", "long")], json!([]));
    let file = table.data("a.parquet", vec![column("id", 1, Int64Array::from(vec![1, 2]))]);
    table.commit(vec![file]).await;
    table
}

#[tokio::test]
async fn a_database_says_which_metadata_is_the_newest() {
    let table = table().await;
    let path = table.lake.path().join("catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let create = "CREATE TABLE iceberg_tables (catalog_name TEXT, table_namespace TEXT, table_name TEXT, \
                  metadata_location TEXT, previous_metadata_location TEXT)";
    connection.execute(create).await.unwrap();
    for (catalog, namespace, name, location) in [
        ("main", "a.b", "t", table.uri("metadata/00001-x.metadata.json")),
        ("main", "a.b", "outside", "file:///etc/x.metadata.json".to_owned()),
        ("main", "a.b", "twice", String::new()),
        ("other", "a.b", "twice", String::new()),
    ] {
        let insert = sqlx::query("INSERT INTO iceberg_tables VALUES (?1, ?2, ?3, ?4, NULL)");
        insert.bind(catalog).bind(namespace).bind(name).bind(location).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let declared = |name: &str| {
        format!(
            "format = \"iceberg\"\ncatalog = \"c\"\ntable = \"a.b.{name}\"\n[catalogs.c]\ntype = \"sql\"\nuri = \"sqlite:catalog.db\""
        )
    };
    let lake = table.lake.path();
    assert_eq!(rows_at(lake, &declared("t"), At::Now).await.unwrap(), ["1", "2"]);
    for (name, said) in
        [("none", "has no Iceberg table"), ("outside", "outside the lake"), ("twice", "several catalogs")]
    {
        let fault = open(lake, &declared(name), At::Now, None).await.unwrap_err();
        assert!(fault.message.contains(said) && !fault.is_passing, "{name}: {}", fault.message);
    }
    std::fs::remove_file(path).unwrap();
    assert!(open(lake, &declared("t"), At::Now, None).await.unwrap_err().is_passing);
}

/// Canned responses: a substring of the request line, the status and the body.
type Answers = Vec<(&'static str, u16, String)>;

/// Starts a server with canned responses; returns its address and the requests it receives.
async fn server(answers: Answers) -> (String, Arc<Mutex<Vec<String>>>) {
    changing_server(Arc::new(Mutex::new(answers))).await
}

/// Like [`server`], with responses that the test can change later.
async fn changing_server(answers: Arc<Mutex<Answers>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // The requests are small, and the body arrives with the head or right after it.
            while let Ok(read) = stream.read(&mut part).await {
                request.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if read == 0 || body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            let answer = answers.lock().unwrap().iter().find(|(path, ..)| line.contains(path)).cloned();
            let (status, body) = answer.map_or((404, String::new()), |(_, status, body)| (status, body));
            seen.lock().unwrap().push(text);
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_rest_catalog_is_asked_with_a_token_under_its_prefix() {
    let table = table().await;
    let location =
        json!({"metadata-location": table.uri("metadata/00001-x.metadata.json"), "metadata": {}}).to_string();
    let (address, asked) = server(vec![
        ("/v1/oauth/tokens", 200, json!({"access_token": "granted", "token_type": "bearer"}).to_string()),
        (
            "/v1/config?warehouse=w",
            200,
            json!({"defaults": {"prefix": "no"}, "overrides": {"prefix": "p/q"}}).to_string(),
        ),
        ("/v1/p/q/namespaces/a%1Fb/tables/t ", 200, location),
    ])
    .await;
    std::fs::write(table.lake.path().join("secret"), "me:hush\n").unwrap();
    let declared = |name: &str| {
        format!(
            "format = \"iceberg\"\ncatalog = \"c\"\ntable = \"a.b.{name}\"\n[catalogs.c]\ntype = \"rest\"\nuri = \"{address}\"\n\
             warehouse = \"w\"\ncredential = \"file:secret\""
        )
    };
    let lake = table.lake.path();
    assert_eq!(rows_at(lake, &declared("t"), At::Now).await.unwrap(), ["1", "2"]);
    let seen = asked.lock().unwrap().clone();
    assert!(
        seen[0].ends_with("grant_type=client_credentials&client_id=me&client_secret=hush&scope=catalog"),
        "{}",
        seen[0]
    );
    assert!(seen[1..].iter().all(|request| request.contains("authorization: Bearer granted")), "{seen:?}");
    let fault = open(lake, &declared("none"), At::Now, None).await.unwrap_err();
    assert!(fault.message.contains("the catalog `c` has no Iceberg table `a.b.none`"), "{}", fault.message);
}

#[tokio::test]
async fn a_catalog_that_is_away_is_not_a_fault_of_the_table() {
    let table = table().await;
    let declared = |uri: &str, kind: &str| {
        format!(
            "format = \"iceberg\"\ncatalog = \"c\"\ntable = \"a.t\"\n[catalogs.c]\ntype = \"{kind}\"\nuri = \"{uri}\""
        )
    };
    let (down, _) = server(vec![("/v1/config", 503, String::new())]).await;
    let (locked, _) = server(vec![("/v1/config", 401, String::new())]).await;
    for (uri, is_passing) in [("http://127.0.0.1:1", true), (down.as_str(), true), (locked.as_str(), false)] {
        let fault = open(table.lake.path(), &declared(uri, "rest"), At::Now, None).await.unwrap_err();
        assert_eq!(fault.is_passing, is_passing, "{}", fault.message);
        assert!(!fault.message.contains("127.0.0.1"), "{}", fault.message);
    }
}

/// A response that loads the table, with these members added.
fn loaded(table: &IcebergTable, more: serde_json::Value) -> (&'static str, u16, String) {
    let mut answer =
        json!({"metadata-location": table.uri("metadata/00001-x.metadata.json"), "metadata": {}, "config": {}});
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("/tables/t ", 200, answer.to_string())
}

const CONFIG: (&str, u16, &str) = ("/v1/config", 200, "{}");

fn by_rest(address: &str) -> String {
    format!(
        "format = \"iceberg\"\ncatalog = \"c\"\ntable = \"a.t\"\n[catalogs.c]\ntype = \"rest\"\nuri = \"{address}\""
    )
}

#[tokio::test]
async fn a_table_that_the_catalog_restricts_in_a_way_that_is_not_known_is_refused() {
    let table = table().await;
    let lake = table.lake.path();
    for (more, said) in [
        (json!({"config": {"scan-planning-mode": "server"}}), "`scan-planning-mode` is `server`"),
        (json!({"config": {"scan-planning-mode": "catalog"}}), "`scan-planning-mode` is `catalog`"),
        (json!({"read-restrictions": {"required-row-filter": {"type": "never-heard-of"}}}), "restrict"),
        (json!({"read-restrictions": {"required-column-projections": [{"field-id": 1, "action": "x"}]}}), "restrict"),
        (json!({"read-restrictions": {"something-new": []}}), "restrict"),
        (json!({"read-restrictions": []}), "restrict"),
    ] {
        let (address, _) = server(vec![(CONFIG.0, CONFIG.1, CONFIG.2.to_owned()), loaded(&table, more.clone())]).await;
        let fault = open(lake, &by_rest(&address), At::Now, None).await.unwrap_err();
        assert!(fault.is_withdrawn && !fault.is_passing, "{more}");
        assert!(fault.message.contains("the catalog `c`") && fault.message.contains(said), "{more}: {}", fault.message);
    }
    for more in [
        json!({"config": {"scan-planning-mode": "client"}}),
        json!({"read-restrictions": null}),
        json!({"read-restrictions": {}}),
        json!({"read-restrictions": {"required-row-filter": null, "required-column-projections": []}}),
    ] {
        let (address, _) = server(vec![(CONFIG.0, CONFIG.1, CONFIG.2.to_owned()), loaded(&table, more.clone())]).await;
        assert_eq!(rows_at(lake, &by_rest(&address), At::Now).await.unwrap(), ["1", "2"], "{more}");
    }
    // A scan planning mode may apply to the whole catalog; a table may override it.
    let all = json!({"overrides": {"scan-planning-mode": "server"}}).to_string();
    let (address, _) = server(vec![(CONFIG.0, 200, all.clone()), loaded(&table, json!({}))]).await;
    assert!(open(lake, &by_rest(&address), At::Now, None).await.unwrap_err().is_withdrawn);
    let client = json!({"config": {"scan-planning-mode": "client"}});
    let (address, _) = server(vec![(CONFIG.0, 200, all), loaded(&table, client)]).await;
    assert!(open(lake, &by_rest(&address), At::Now, None).await.is_ok());
    let (address, _) = server(vec![(CONFIG.0, 200, "{}".to_owned()), ("/tables/t ", 403, String::new())]).await;
    assert!(open(lake, &by_rest(&address), At::Now, None).await.unwrap_err().is_withdrawn);
}

#[tokio::test]
async fn a_table_that_is_restricted_later_is_not_served_as_it_was() {
    let table = table().await;
    let answers = |more| vec![(CONFIG.0, CONFIG.1, CONFIG.2.to_owned()), loaded(&table, more)];
    let now = Arc::new(Mutex::new(answers(json!({}))));
    let (address, _) = changing_server(Arc::clone(&now)).await;
    let config = format!(
        "[lake]\nlocation = \".\"\n[tables.other]\nlocation = \"other.parquet\"\nshared = true\n[tables.t]\nshared = true\n{}\n",
        by_rest(&address)
    );
    governed::put(table.lake.path(), "other", &[("id", &[7])]);
    let endpoints = [("q", "SELECT id FROM t ORDER BY id"), ("other", "SELECT id FROM other")];
    let project = governed::project(table.lake.path(), &config, &endpoints).await;
    let who = governed::principal("");
    let plan = governed::governed(&project, &who, "q", "{}").unwrap();
    assert_eq!(governed::rows(plan).await.unwrap(), ["1", "2"]);
    assert!(project.changed_tables().await.0.is_empty());

    *now.lock().unwrap() = answers(json!({"config": {"scan-planning-mode": "server"}}));
    let (changed, failed) = project.changed_tables().await;
    assert!(changed.contains("t") && failed.is_none());
    // Takes effect immediately, and also in a project loaded later.
    let refused = governed::governed(&project, &who, "q", "{}").unwrap_err();
    assert_eq!(refused.code, lakegate_core::error::Code::LakeUnavailable);
    let after = governed::after(&project, Arc::clone(project.project())).await;
    assert_eq!(after.away().tables().collect::<Vec<_>>(), ["t"]);
    assert!(after.find("q").is_none() && after.away().endpoint("q").is_some());
    let plan = governed::governed(&after, &who, "other", "{}").unwrap();
    assert_eq!(governed::rows(plan).await.unwrap(), ["7"]);

    *now.lock().unwrap() = answers(json!({}));
    assert!(project.changed_tables().await.0.is_empty());
    assert!(governed::governed(&project, &who, "q", "{}").is_ok());
    assert!(after.changed_tables().await.0.contains("t"));
    assert!(governed::after(&after, Arc::clone(after.project())).await.away().is_nothing());
}

/// A table of people in two regions, with columns that a catalog may restrict.
async fn people() -> IcebergTable {
    let fields =
        [field(1, "id", "long"), field(2, "region", "string"), field(3, "email", "string"), field(4, "born", "date")];
    let mut table = IcebergTable::new(2, &fields, json!([]));
    let regions = StringArray::from(vec![Some("EU"), Some("US"), Some("EU"), None]);
    let emails = StringArray::from(vec!["ann7@x.org", "bob@y.com", "eve@z.net", "none@x.org"]);
    let columns = vec![
        column("id", 1, Int64Array::from(vec![1, 2, 3, 4])),
        column("region", 2, regions),
        column("email", 3, emails),
        column("born", 4, Date32Array::from(vec![19_919, 0, 1, 2])),
    ];
    let file = table.data("a.parquet", columns);
    table.commit(vec![file]).await;
    table
}

const PEOPLE: &str = "SELECT id, region, email, born FROM t ORDER BY id";

/// The rows that a caller with these claims sees under a policy and restrictions. Checks that cold and resident reads
/// agree.
async fn seen(table: &IcebergTable, policy: &str, restrictions: &serde_json::Value, who: &str) -> Vec<String> {
    let more = json!({"read-restrictions": restrictions});
    let (address, _) = server(vec![(CONFIG.0, CONFIG.1, CONFIG.2.to_owned()), loaded(table, more)]).await;
    let (own, catalog) =
        by_rest(&address).split_once("\n[catalogs.c]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\n{own}\n{policy}\n[catalogs.c]{catalog}\n");
    let endpoints = [("q", PEOPLE), ("n", "SELECT count(*) AS n, max(email) AS e FROM t WHERE region <> 'no'")];
    let project = governed::project(table.lake.path(), &config, &endpoints).await;
    let caller = governed::principal(who);
    let unmask = Terms { unmask: [Unmask::parse("t.email").unwrap()].into(), ..Terms::default() };
    let plan = || governed::governed_with(&project, &caller, "q", "{}", unmask.clone()).unwrap();
    let cold = governed::rows(plan()).await.unwrap();
    project.keep_hot(1 << 28).await.unwrap();
    assert_eq!(governed::rows(plan()).await.unwrap(), cold, "{restrictions}");
    assert_eq!(plan().restricted(), ["t"]);
    let counted = governed::governed(&project, &caller, "n", "{}").unwrap();
    let counted = governed::rows(counted).await.unwrap().remove(0);
    let with_region = cold.iter().filter(|row| row.split('|').nth(1) != Some("NULL")).count();
    assert!(counted.starts_with(&format!("{with_region}|")), "{counted} of {cold:?}");
    cold
}

#[tokio::test]
async fn what_a_catalog_restricts_holds_for_every_caller() {
    let table = people().await;
    let region = |value: &str| json!({"type": "eq", "term": "region", "value": value});
    let email = |action: &str| json!([{"action": action, "field-id": 3}]);
    let shared = "shared = true";
    let eu = json!({"required-row-filter": region("EU")});
    assert_eq!(seen(&table, shared, &eu, "").await, ["1|EU|ann7@x.org|2024-07-15", "3|EU|eve@z.net|1970-01-02"]);
    // With the project's own row filter, and for a role that the filter does not apply to.
    let policy = "row_filter = \"id = principal('id')\"\nunfiltered_for = [\"all\"]";
    assert_eq!(seen(&table, policy, &eu, "id=3").await, ["3|EU|eve@z.net|1970-01-02"]);
    assert_eq!(seen(&table, policy, &eu, "id=2").await, Vec::<String>::new());
    assert_eq!(seen(&table, policy, &eu, "id=2 role=all").await.len(), 2);

    // The filter sees raw values and callers see masked ones, whatever a grant unmasks; the project's mask applies on
    // top.
    let masked = json!({
        "required-row-filter": {"type": "starts-with", "term": "email", "value": "ann"},
        "required-column-projections": email("mask-alphanum"),
    });
    assert_eq!(seen(&table, shared, &masked, "").await, ["1|EU|xxxn@x.xxx|2024-07-15"]);
    let redacted =
        "shared = true\n[tables.t.columns.email]\nmask = \"redact\"\n[tables.t.columns.region]\nmask = \"null\"";
    let rows = seen(&table, redacted, &json!({"required-column-projections": email("show-first-4")}), "").await;
    // The grant unmasks `email`, so the project's mask does not apply.
    assert_eq!(rows[0], "1|NULL|ann7@x.xxx|2024-07-15");

    let by_id = json!({"type": "or",
        "left": {"type": "eq", "left": {"type": "reference", "id": 2}, "right": {"type": "literal", "value": "US"}},
        "right": {"type": "and",
            "left": {"type": "in", "term": "id", "values": [3, 4]},
            "right": {"type": "is-null", "term": {"type": "reference", "term": "region"}}}});
    let rows = seen(&table, shared, &json!({"required-row-filter": by_id}), "").await;
    assert_eq!(rows, ["2|US|bob@y.com|1970-01-01", "4|NULL|none@x.org|1970-01-03"]);
    // NULL does not differ from anything: a row that the standard may hide is hidden.
    let other = json!({"required-row-filter": {"type": "not", "child": region("EU")}});
    assert_eq!(seen(&table, shared, &other, "").await, ["2|US|bob@y.com|1970-01-01"]);
    assert_eq!(seen(&table, shared, &json!({"required-row-filter": false}), "").await, Vec::<String>::new());

    let all = json!({"required-column-projections": [
        {"action": "truncate-to-year", "field-id": 4},
        {"action": "mask-to-fixed-value", "field-id": 2},
        {"action": "replace-with-null", "field-id": 3},
    ]});
    assert_eq!(seen(&table, shared, &all, "").await[3], "4|XXXXXXXX|NULL|1970-01-01");
}

#[tokio::test]
async fn a_salted_digest_is_one_within_a_query_and_another_in_the_next() {
    let table = people().await;
    let restrictions = json!({"required-column-projections": [{"action": "sha-256-query-local", "field-id": 3}]});
    let more = json!({"read-restrictions": restrictions});
    let (address, _) = server(vec![(CONFIG.0, CONFIG.1, CONFIG.2.to_owned()), loaded(&table, more)]).await;
    let config = format!("[lake]\nlocation = \".\"\n[tables.t]\nshared = true\n{}\n", by_rest(&address));
    let sql = "SELECT a.email, b.email AS other FROM t AS a JOIN t AS b ON a.email = b.email WHERE a.id = 1";
    let project = governed::project(table.lake.path(), &config, &[("q", sql)]).await;
    let mut seen = std::collections::BTreeSet::new();
    for _cold_then_warm in 0..2 {
        for _ in 0..2 {
            let plan = governed::governed(&project, &governed::principal(""), "q", "{}").unwrap();
            assert!(plan.depends_on_time());
            let rows = governed::rows(plan).await.unwrap();
            let (one, other) = rows[0].split_once('|').unwrap();
            assert!(rows.len() == 1 && one == other && one.len() == 64, "{rows:?}");
            assert!(seen.insert(one.to_owned()));
        }
        project.keep_hot(1 << 28).await.unwrap();
    }
}
