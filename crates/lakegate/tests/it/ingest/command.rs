//! `lakegate ingest` as a user runs it: recipes, options, exit codes, the report, and validation of recipes by `check`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value as Json, json};

use crate::support::binary::Project;

const CONFIG: &str = r#"
[lake]
location = "lake/"
[tables.client]
location = "client/"
shared = true
[tables.note]
location = "note.csv"
format = "csv"
shared = true
"#;

const RECIPE: &str = r#"
from = ["exports/client_*.csv"]
mode = "upsert"
key = ["id"]
max_rejects = "2"
[csv]
delimiter = ";"
[columns.id]
type = "integer"
[columns.service_ids]
from = "serviceIDs"
type = "list<integer>"
[columns.zip]
type = "string"
"#;

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect()
}

fn project() -> Project {
    let project = Project::new();
    project.write("lakegate.toml", CONFIG);
    project.write("tables/client.ingest.toml", RECIPE);
    project.write(
        "exports/client_1.csv",
        utf16("\"id\";\"name\";\"zip\";\"serviceIDs\"\r\n1;José;01234;{1,2}\r\nx;Eva;1;{}\r\n2;\"a\r\nb\";;{3}\r\n"),
    );
    std::fs::create_dir_all(project.path().join("lake")).unwrap();
    project
}

#[test]
fn a_recipe_is_run_by_its_name_and_rejected_rows_are_written_down() {
    let project = project();
    let ran = project.run(&["ingest", "client", "--rejects", "rejects.ndjson", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let summary: Json = serde_json::from_str(&ran.stdout).unwrap();
    for (key, value) in [("read", 3), ("ingested", 2), ("rejected", 1), ("files", 1)] {
        assert_eq!(summary[key], value, "{summary}");
    }
    assert_eq!((&summary["published"], &summary["format"]), (&json!(true), &json!("parquet")));
    let report = std::fs::read_to_string(project.path().join("rejects.ndjson")).unwrap();
    let reject: Json = serde_json::from_str(report.trim()).unwrap();
    assert_eq!(reject["file"], "exports/client_1.csv");
    assert_eq!((&reject["line"], &reject["column"], &reject["value"]), (&json!(3), &json!("id"), &json!("x")));
    assert!(
        ran.stderr.contains("exports/client_1.csv:3: column `id`: it is not a whole number: `x`"),
        "{}",
        ran.stderr
    );

    // Too many rejected rows leave the table unchanged.
    let before = files(&project);
    let ran = project.run(&["ingest", "tables/client.ingest.toml", "--max-rejects", "0", "--rejects", "rejects.csv"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("1 of 3 rows were rejected"), "{}", ran.stderr);
    assert_eq!(files(&project), before);
    let report = std::fs::read_to_string(project.path().join("rejects.csv")).unwrap();
    assert!(report.starts_with("file,line,column,why,value,what\nexports/client_1.csv,3,id,"), "{report}");
}

fn files(project: &Project) -> Vec<(String, std::time::SystemTime)> {
    let entries = std::fs::read_dir(project.path().join("lake/client")).unwrap();
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap())
    };
    entries.map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn options_say_the_same_as_a_recipe_and_a_dry_run_changes_nothing() {
    let project = project();
    project.write("one.csv", "Id,Note,x\n1,a,\n2,NULL,\n");
    let arguments = ["ingest", "--table", "client", "--from", "one.csv", "--rename", "Id=id", "--rename", "Note=note"];
    let arguments = [&arguments[..], &["--type", "note=string", "--drop", "x", "--null", "NULL"]].concat();
    let told = project.ok(&[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(told, "2 rows would be ingested into `client` from 1 file\n");
    assert!(!project.path().join("lake/client").exists());
    for format in ["delta", "iceberg"] {
        let told = project.ok(&[&arguments[..], &["--into", format]].concat());
        assert!(told.starts_with("2 rows ingested into `client` from 1 file; "), "{told}");
        std::fs::remove_dir_all(project.path().join("lake/client")).unwrap();
    }
    assert_eq!(project.ok(&arguments), "2 rows ingested into `client` from 1 file\n");
    let summary = project.json(&[&arguments[..], &["--mode", "upsert", "--key", "id"]].concat());
    assert_eq!((&summary["ingested"], &summary["updated"]), (&json!(2), &json!(2)));
    assert_eq!(summary["columns"], json!([{ "name": "id", "type": "integer" }, { "name": "note", "type": "string" }]));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let project = project();
    for (arguments, told) in [
        (&["ingest", "cliend"][..], "there is no recipe `cliend`"),
        (&["ingest", "--table", "clent", "--from", "exports/client_1.csv"], "did you mean `client`?"),
        (&["ingest", "--table", "note", "--from", "exports/client_1.csv"], "is of text files, which are not written"),
        (&["ingest", "--table", "client", "--from", "a.csv", "--mode", "upsrt"], "did you mean `upsert`?"),
        (&["ingest", "--table", "client", "--from", "a.csv", "--mode", "upsert"], "needs `--key`"),
        (&["ingest", "--table", "client", "--from", "a.csv", "--type", "a=text"], "`text` is not a type"),
        (&["ingest", "--table", "client", "--from", "a.csv", "--encoding", "klingon"], "cannot read `a.csv`"),
        (&["ingest", "client", "--lake", "nowhere"], "there is no lake at `nowhere`"),
    ] {
        let said = project.fails(arguments);
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    assert_eq!(project.run(&["ingest"]).code, Some(2));
}

#[test]
fn check_reads_recipes_as_it_reads_all_files_of_a_project() {
    let project = project();
    project.write("tables/clients.ingest.toml", "from = [\"a.csv\"]\nmod = \"append\"\n");
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(1));
    let wanted = [
        "tables/clients.ingest.toml:1:1: the project has no table `clients`; did you mean `client`?",
        "tables/clients.ingest.toml:2:1: unknown key `mod` in the file; did you mean `mode`?",
    ];
    for line in wanted {
        assert!(ran.stdout.lines().any(|found| found == line), "{line}: {}", ran.stdout);
    }
    let said = project.fails(&["ingest", "clients"]);
    assert!(said.contains("unknown key `mod`"), "{said}");
}
