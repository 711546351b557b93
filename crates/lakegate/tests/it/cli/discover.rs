//! `lakegate discover`: what it finds in various lakes, what it writes, and that undecided tables are not served.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use lakegate::sample::{Sample, write_lake};
use lakegate_core::project::UNDECIDED;
use lakegate_query::lake::write::{Column, ColumnData, ColumnKind, TableWriter, WriteOptions};
use serde_json::Value;

use crate::support::binary::Project;
use crate::support::object_store::ObjectStore;
use crate::support::wire::Process;

/// An empty folder, without a project file.
fn folder() -> Project {
    let project = Project::new();
    std::fs::remove_file(project.path().join("lakegate.toml")).unwrap();
    project
}

fn parquet(project: &Project, path: &str, names: [&'static str; 2], ids: std::ops::Range<i64>) {
    let path = project.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let columns = names.map(|name| Column::new(name, ColumnKind::Integer));
    let mut writer = TableWriter::create(&path, &columns, &WriteOptions::default()).unwrap();
    let values = ids.clone().map(|id| Some(id % 7)).collect();
    writer.write(vec![ColumnData::Integer(ids.map(Some).collect()), ColumnData::Integer(values)]).unwrap();
    writer.finish().unwrap();
}

/// A lake with a table of each kind, and with files that are not tables.
fn lake(project: &Project) {
    project.write("lake/client.csv", "id,name,email\n1,Ana,a@x.co\n2,Bo,b@x.co\n3,Cy,c@x.co\n");
    parquet(project, "lake/parcel/part-0.parquet", ["id", "client_id"], 0..50);
    parquet(project, "lake/parcel/part-1.parquet", ["id", "client_id"], 50..100);
    parquet(project, "lake/stop/year=2022/day=2022-01-01/a.parquet", ["stop", "parcel_id"], 0..9);
    parquet(project, "lake/stop/year=2023/day=2023-01-01/a.parquet", ["stop", "parcel_id"], 9..19);
    parquet(project, "lake/mixed/alpha-1.parquet", ["alpha", "x"], 0..5);
    parquet(project, "lake/mixed/alpha-2.parquet", ["alpha", "x"], 5..9);
    parquet(project, "lake/mixed/beta.parquet", ["beta", "y"], 0..5);
    project.write("lake/deep/a/city/x.csv", "id,name\n1,Bogota\n");
    // Not tables.
    project.write("lake/parcel/_SUCCESS", "");
    project.write("lake/parcel/.part-0.parquet.crc", "x");
    project.write("lake/_tmp/x.csv", "id\n1\n");
    project.write("lake/broken/good.parquet", b"PAR1 and then nothing that is known");
    let utf16 = "id;name\n1;Ana\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    project.write("lake/export.csv", [&[0xff, 0xfe], &utf16[..]].concat());
    project.write("lake/readme.md", "# about\n");
    // Tables of other formats.
    let schema = r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}},{\"name\":\"client_id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}"#;
    project.write(
        "lake/sales/_delta_log/00000000000000000000.json",
        format!("{{\"metaData\":{{\"schemaString\":\"{schema}\"}}}}\n"),
    );
    project.write("lake/sales/part-0.parquet", b"PAR1");
    project.write(
        "lake/events/metadata/00001-x.metadata.json",
        r#"{"format-version":2,"current-schema-id":0,"schemas":[{"schema-id":0,"fields":[{"id":1,"name":"account_id","type":"long"}]}],
            "current-snapshot-id":5,"snapshots":[{"snapshot-id":5,"summary":{"total-records":"42"}}]}"#,
    );
    project.write("lake/events/data/x.parquet", b"PAR1");
}

fn tables(found: &Value) -> BTreeMap<String, &Value> {
    found["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| (table["name"].as_str().unwrap().to_owned(), table))
        .collect()
}

fn config(project: &Project) -> String {
    std::fs::read_to_string(project.path().join("lakegate.toml")).unwrap()
}

#[test]
fn a_lake_of_all_kinds_becomes_tables_and_the_rest_is_told() {
    let project = folder();
    lake(&project);
    let found = project.json(&["discover", "lake"]);
    let tables = tables(&found);
    let place = |name: &str| {
        let table = tables[name];
        let column = |key: &str| table[key].to_string().replace('"', "");
        format!(
            "{name}: {} {} {} files, {} rows",
            column("location"),
            column("format"),
            column("files"),
            column("rows")
        )
    };
    insta::assert_snapshot!(tables.keys().map(|name| place(name)).collect::<Vec<_>>().join("\n"), @r"
    alpha: mixed/alpha*.parquet parquet 2 files, 9 rows
    beta: mixed/beta.parquet parquet 1 files, 5 rows
    city: deep/a/city/ csv 1 files, 1 rows
    client: client.csv csv 1 files, 3 rows
    events: events/ iceberg 0 files, 42 rows
    parcel: parcel/ parquet 2 files, 100 rows
    sales: sales/ delta 0 files, null rows
    stop: stop/ parquet 2 files, 19 rows
    ");
    assert_eq!(tables["stop"]["partitions"][0], serde_json::json!({ "name": "year", "type": "integer" }));
    assert_eq!(tables["stop"]["partitions"][1], serde_json::json!({ "name": "day", "type": "date" }));
    assert_eq!(tables["client"]["masks"][1]["mask"], "email");
    let filter = |name: &str| tables[name]["keys"][0]["row_filter"].as_str().unwrap_or("none").to_owned();
    assert_eq!(filter("client"), "id IN (principal('client_id'))");
    assert_eq!(filter("parcel"), "client_id IN (principal('client_id'))");
    assert_eq!(filter("stop"), "parcel_id IN (SELECT id FROM parcel)");
    assert_eq!(filter("sales"), "client_id IN (principal('client_id'))");
    assert_eq!(filter("events"), "account_id IN (principal('account_id'))");
    assert_eq!(filter("city"), "none");
    let left_out = found["left_out"].as_array().unwrap();
    let left_out = left_out.iter().map(|left| format!("{}: {}", left["path"], left["reason"]).replace('"', ""));
    insta::assert_snapshot!(left_out.collect::<Vec<_>>().join("\n"), @r"
    broken/good.parquet: it is a broken Parquet file: it does not end as Parquet does, so it is not whole or something else
    export.csv: it is not served as it is: it is in UTF-16LE, its delimiter is `;`
    readme.md: its name and its content say nothing of a table
    ");
}

#[test]
fn nothing_is_served_until_somebody_decides_and_then_it_is() {
    let project = folder();
    project.write("lake/client.csv", "id,name\n1,Ana\n2,Bo\n");
    // Write into a project folder that does not exist yet.
    project.ok(&["discover", "lake", "--into", "new/shop"]);
    let made = std::fs::read_to_string(project.path().join("new/shop/lakegate.toml")).unwrap();
    assert!(made.starts_with("[lake]\nlocation = \"../../lake/\"\n"), "{made}");
    parquet(&project, "lake/parcel/part-0.parquet", ["id", "client_id"], 1..30);
    project.write("lake/city.csv", "id,name\n1,Bogota\n");
    project.ok(&["discover", "lake"]);
    project.write("endpoints/parcels.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT id, client_id FROM parcel");
    let checked = project.run(&["check"]);
    assert_eq!(checked.code, Some(1));
    assert_eq!(checked.stdout.matches("nobody has decided yet").count(), 3, "{}", checked.stdout);
    assert!(checked.stdout.contains("`client_id IN (principal('client_id'))`"), "{}", checked.stdout);
    assert!(!config(&project).contains("\nshared"), "sharing is never written by itself");
    assert_ne!(project.run(&["serve", "--listen", "127.0.0.1:0"]).code, Some(0));

    let decided = config(&project)
        .replace(&format!("row_filter = \"{UNDECIDED}\""), "shared = true")
        .replace(&format!("{UNDECIDED} "), "");
    project.write("lakegate.toml", decided);
    assert_eq!(project.ok(&["check"]), "the project is good: 1 endpoints over 3 tables\n");
    project.ok(&["principal", "add", "acme", "--attribute", "client_id=3"]);
    project.ok(&["grant", "add", "--principal", "acme", "--endpoint", "*"]);
    let token = project.ok(&["token", "issue", "acme"]).trim().to_owned();
    let server = Process::start(&mut project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]));
    let rows = server.get("/api/parcels", &token).rows();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["client_id"] == 3), "{rows:?}");
}

#[test]
fn a_second_run_adds_what_is_new_and_changes_nothing_else() {
    let project = folder();
    project.write("data/client.csv", "id,name\n1,Ana\n");
    project.write("data/parcel.csv", "id,client_id\n1,1\n");
    let own =
        "# ours\n[lake]\nlocation = 'data'   # here\n\n[tables.sender]\nlocation = \"client\"\nrow_filter = \"id = 1\"";
    project.write("lakegate.toml", own);
    let dry = project.run(&["discover", "--dry-run"]);
    assert!(dry.stdout.contains("[tables.parcel]") && !dry.stdout.contains("client.csv"), "{}", dry.stdout);
    assert_eq!(config(&project), own);
    project.ok(&["discover"]);
    let first = config(&project);
    assert!(first.starts_with(own) && first.contains("[tables.parcel]"), "{first}");
    project.ok(&["discover", "data"]);
    assert_eq!(config(&project), first);

    project.write("data/parcel_stop/a.csv", "id,parcel_id\n1,1\n");
    std::fs::remove_file(project.path().join("data/client.csv")).unwrap();
    let again = project.json(&["discover", "data"]);
    assert!(config(&project).starts_with(&first));
    assert_eq!(config(&project).matches("[tables.").count(), 3);
    assert_eq!(again["gone"][0]["name"], "sender");
    assert_eq!(tables(&again)["parcel"]["state"], "known");
    assert_eq!(tables(&again)["parcel_stop"]["state"], "new");
    let elsewhere = project.fails(&["discover", "."]);
    assert!(elsewhere.contains("is not in the project's lake"), "{elsewhere}");
}

#[test]
fn a_link_out_of_the_lake_is_not_followed() {
    #[cfg(unix)]
    {
        let project = folder();
        project.write("secret/x.csv", "id,client_id\n1,2\n");
        project.write("lake/a.csv", "id,client_id\n1,2\n");
        std::os::unix::fs::symlink(project.path().join("secret"), project.path().join("lake/link")).unwrap();
        std::os::unix::fs::symlink("/", project.path().join("lake/root")).unwrap();
        std::os::unix::fs::symlink(".", project.path().join("lake/dot")).unwrap();
        project.write("lake/x\u{7f}.txt", "x");
        let found = project.json(&["discover", "lake", "--dry-run", "--most-files", "50"]);
        let locations = found["tables"].as_array().unwrap().iter().map(|table| table["location"].as_str().unwrap());
        assert!(locations.clone().any(|location| location == "a.csv"));
        assert!(locations.into_iter().all(|location| !location.contains("link")), "{found}");
        let left_out = found["left_out"].as_array().unwrap();
        let left_out = left_out.iter().map(|left| format!("{}: {}", left["path"], left["reason"]).replace('"', ""));
        insta::assert_snapshot!(left_out.collect::<Vec<_>>().join("\n"), @r"
        dot: it is a link to a folder above it
        link: it is a link that leads out of the lake
        root: it is a link that leads out of the lake
        x\\u{7f}.txt: its name has characters that cannot be in a path; rename it
        ");
    }
}

fn sample(folder: &Path) {
    write_lake(&Sample::new(3, 0.02).unwrap(), folder, |_, _| {}).unwrap();
}

#[test]
fn the_sample_lake_is_understood_from_its_names_and_values() {
    let project = folder();
    sample(&project.path().join("lake"));
    let found = project.json(&["discover", "lake", "--dry-run"]);
    let tables = tables(&found);
    let filters = tables.iter().map(|(name, table)| {
        format!("{name} {}: {}", table["location"], table["keys"][0]["row_filter"]).replace('"', "").replace('\\', "")
    });
    insta::assert_snapshot!(filters.collect::<Vec<_>>().join("\n"), @r"
    city city.parquet: null
    client client.parquet: id IN (principal('client_id'))
    country country.parquet: null
    order order/: trackcode_id IN (SELECT id FROM trackcode)
    product_size product_size.parquet: null
    route route.parquet: null
    service service.parquet: null
    trackcode trackcode/: client_id IN (principal('client_id'))
    ");
    let masked = |name: &str| tables[name]["masks"].to_string();
    assert!(masked("trackcode").contains("drop_address") && masked("client").contains("enterprise_key"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_in_an_object_store_is_walked_as_a_folder_is() {
    let store = ObjectStore::start().await;
    let project = folder();
    let client = "id,name\n1,Ana\n2,Bo\n";
    project.write("local/client.csv", client);
    parquet(&project, "local/parcel/part-0.parquet", ["id", "client_id"], 1..50);
    parquet(&project, "local/stop/year=2022/a.parquet", ["stop", "parcel_id"], 0..9);
    for path in ["client.csv", "parcel/part-0.parquet", "stop/year=2022/a.parquet"] {
        let to = store.bucket().join("lake").join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(project.path().join("local").join(path), to).unwrap();
    }
    let config = store.lake(project.path(), "lake");
    project.write("lakegate.toml", &config);
    let found = project.json(&["discover"]);
    let text = std::fs::read_to_string(project.path().join("lakegate.toml")).unwrap();
    assert!(text.starts_with(&config) && text.matches("\n[tables.").count() == 3, "{text}");
    project.write("lakegate.toml", "[lake]\nlocation = \"local\"\n");
    let local = project.json(&["discover", "--dry-run"]);
    assert_eq!(found["tables"], local["tables"]);
    assert!(found["tables"].as_array().unwrap().len() == 3, "{found}");
}
