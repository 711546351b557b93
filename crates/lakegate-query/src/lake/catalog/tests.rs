//! Catalogs that say where a table is: a database file, and a server that the test plays.

use std::sync::{Arc, Mutex};

use datafusion::arrow::array::Int64Array;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::iceberg::{IcebergTable, field};
use super::super::testing::{column, open, rows_at};
use super::super::version::At;

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

/// Answers requests by what stands in their first line; gives the address and what was asked.
async fn server(answers: Vec<(&'static str, u16, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // The requests are small, and their bodies come with their heads or right after.
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
            let answer = answers.iter().find(|(path, ..)| line.contains(path));
            let (status, body) = answer.map_or((404, String::new()), |(_, status, body)| (*status, body.clone()));
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
