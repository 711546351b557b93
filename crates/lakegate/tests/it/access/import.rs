//! `access import`: what it adds, what it refuses, and that a killed import leaves no partial state.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use lakegate::store::{Access, Store, StoreLocation};
use lakegate_core::access::{PresentedToken, authorize};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

use crate::support::binary::{Project, Ran};

fn key(number: u64) -> String {
    format!("5ce7f90d-0000-4000-8000-{number:012}")
}

/// All rows of the store as text, for comparison.
async fn dump(project: &Project) -> Vec<String> {
    let mut connection =
        SqliteConnectOptions::new().filename(project.path().join("access.db")).connect().await.unwrap();
    let mut dump = Vec::new();
    for sql in [
        "SELECT id || name || attributes || created_at || coalesce(disabled_at, '') AS line FROM principals ORDER BY 1",
        "SELECT id || principal_id || hex(hash) || coalesce(label, '') || coalesce(revoked_at, '') AS line FROM tokens ORDER BY 1",
        "SELECT id || coalesce(principal_id, role) || endpoint || coalesce(revoked_at, '') AS line FROM grants ORDER BY 1",
        "SELECT 'version ' || version AS line FROM access_version",
        "SELECT integrity_check AS line FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
        "SELECT 'broken reference in ' || \"table\" AS line FROM pragma_foreign_key_check",
    ] {
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
        dump.extend(rows.iter().map(|row| row.get::<String, _>("line")));
    }
    dump
}

/// Authenticates a key: `None` if it is unknown, else the principal and whether it may call the endpoint.
async fn may(project: &Project, key: &str, endpoint: &str) -> Option<(String, bool)> {
    let location = StoreLocation::parse("sqlite:access.db", project.path()).unwrap();
    let (access, background) = Access::start(Store::open(&location).await.unwrap()).await.unwrap();
    let now = lakegate::clock::now();
    let answer = match access.authenticate(&PresentedToken::parse(key).unwrap(), now).await {
        Ok((principal, credential)) => {
            let allowed = authorize(&principal, endpoint, &credential.grants, now).is_ok();
            Some((principal.name().to_owned(), allowed))
        }
        Err(_) => None,
    };
    background.shutdown().await;
    answer
}

fn import(project: &Project, file: &Path) -> Ran {
    project.run(&["access", "import", file.to_str().unwrap()])
}

#[tokio::test]
async fn each_client_may_what_the_table_says() {
    let project = Project::new();
    let csv = format!("orders,id,enterpriseKey,money\ntrue,1,{},\nf,2,{},T\n0,3,,1\n", key(1), key(2));
    let file = project.write("table.csv", csv);
    let ran = import(&project, &file);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "added 3 principals, 2 tokens and 3 grants; 0 were there already\n")
    );
    assert!(ran.stderr.contains("1 client without a key, so without a token: 3"), "{}", ran.stderr);

    let client = |number: u64, allowed: bool| Some((format!("client-{number}"), allowed));
    assert_eq!(may(&project, &key(1), "orders").await, client(1, true));
    assert_eq!(may(&project, &key(1), "money").await, client(1, false));
    assert_eq!(may(&project, &key(2), "orders").await, client(2, false));
    assert_eq!(may(&project, &key(2), "money").await, client(2, true));
    assert_eq!(may(&project, &key(3), "money").await, None);

    let shown = project.json(&["principal", "show", "client-1"]);
    assert_eq!(
        (&shown["attributes"], &shown["attribute_types"]),
        (&json!({"client_id": 1}), &json!({"client_id": "integer"}))
    );
    assert_eq!(shown["tokens"][0]["label"], "imported");
}

#[tokio::test]
async fn running_it_again_changes_nothing() {
    let project = Project::new();
    let file =
        project.write("table.csv", format!("id;enterpriseKey;orders;money\n1;{};t;t\n2;{};t;\n", key(1), key(2)));
    assert!(import(&project, &file).stdout.starts_with("added 2 principals, 2 tokens and 3 grants"));
    let before = dump(&project).await;
    let again = import(&project, &file);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(0), "nothing to add; 7 principals, tokens and grants are there already\n")
    );
    assert_eq!(dump(&project).await, before);

    // A second import does not restore what an operator revoked in between.
    let shown = project.json(&["principal", "show", "client-1"]);
    project.ok(&["token", "revoke", shown["tokens"][0]["id"].as_str().unwrap()]);
    project.ok(&["grant", "revoke", shown["grants"][0]["id"].as_str().unwrap()]);
    project.ok(&["principal", "disable", "client-2"]);
    let before = dump(&project).await;
    let again = import(&project, &file);
    assert!(again.stdout.starts_with("nothing to add"), "{again:?}");
    assert!(again.stderr.contains("2 tokens and grants were revoked here"), "{again:?}");
    assert_eq!(dump(&project).await, before);
    assert_eq!(may(&project, &key(1), "orders").await, None);
    assert_eq!(may(&project, &key(2), "orders").await, None);

    // New rows of the source table are added.
    let file =
        project.write("table.csv", format!("id,enterpriseKey,orders,money\n1,{},t,t\n3,{},t,\n", key(1), key(3)));
    assert!(import(&project, &file).stdout.starts_with("added 1 principal, 1 token and 1 grant"));
    assert_eq!(may(&project, &key(3), "orders").await, Some(("client-3".to_owned(), true)));
}

#[tokio::test]
async fn a_dry_run_only_says() {
    let project = Project::new();
    let file = project.write("table.csv", format!("id,enterpriseKey,orders\n1,{},t\n", key(1)));
    let ran = project.run(&["access", "import", file.to_str().unwrap(), "--dry-run"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "would add 1 principal, 1 token and 1 grant; 0 were there already\n")
    );
    assert_eq!(dump(&project).await, ["version 1"]);
}

#[tokio::test]
async fn what_is_ambiguous_is_refused_and_the_rest_goes_in() {
    let project = Project::new();
    project.ok(&["principal", "add", "client-8", "--attribute", "client_id:string=8"]);
    let csv = format!(
        "id,enterpriseKey,orders,money\n1,{shared},t,\n2,{shared},t,\n3,{fine},t,\n4,{a},t,\n4,{b},,t\n,{c},t,\n6,short,t,\n7,{d},t,\n7,{d},t,\n8,{e},t,\n",
        shared = key(1),
        fine = key(3),
        a = key(4),
        b = key(5),
        c = key(6),
        d = key(7),
        e = key(8),
    );
    let file = project.write("table.csv", csv);
    let arguments = ["access", "import", file.to_str().unwrap(), "--json"];
    let ran = project.run(&arguments);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let conflicts: Vec<_> = report["conflicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["clients"].clone()))
        .collect();
    assert_eq!(
        conflicts,
        [
            ("no_client", json!([])),
            ("shared_key", json!([1, 2])),
            ("differing_rows", json!([4])),
            ("unusable_key", json!([6])),
            ("principal_differs", json!([8])),
        ]
    );
    for secret in (1..=8).map(key).chain(["short".to_owned()]) {
        let quoted = format!("`{secret}`");
        assert!(!ran.stdout.contains(&secret[..5.min(secret.len())]) || secret == "short", "{}", ran.stdout);
        assert!(!ran.stderr.contains(&secret) || secret == "short", "{}", ran.stderr);
        assert!(!ran.stdout.contains(&quoted) && !ran.stderr.contains(&quoted));
    }
    assert!(ran.stderr.contains("stands for several clients (1, 2)"), "{}", ran.stderr);

    assert_eq!(may(&project, &key(3), "orders").await, Some(("client-3".to_owned(), true)));
    assert_eq!(may(&project, &key(7), "orders").await, Some(("client-7".to_owned(), true)));
    for refused in [1, 4, 5, 6, 8] {
        assert_eq!(may(&project, &key(refused), "orders").await, None, "{refused}");
    }
    // Importing the same file again changes nothing, and refuses the same rows.
    let before = dump(&project).await;
    assert_eq!(project.run(&arguments).code, Some(3));
    assert_eq!(dump(&project).await, before);
}

#[tokio::test]
async fn a_key_of_another_principal_stays_its_own() {
    let project = Project::new();
    let first = project.write("first.csv", format!("id,enterpriseKey,orders\n1,{},t\n", key(1)));
    assert_eq!(import(&project, &first).code, Some(0));
    let second = project.write("second.csv", format!("id,enterpriseKey,orders\n2,{},t\n", key(1)));
    let ran = import(&project, &second);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("of client 2 is already a token of principal `client-1`"), "{}", ran.stderr);
    assert_eq!(may(&project, &key(1), "orders").await, Some(("client-1".to_owned(), true)));

    // A key that a later table shares stays with its first owner until it is revoked, and the report names that owner.
    let third = project.write("third.csv", format!("id,enterpriseKey,orders\n1,{0},t\n3,{0},t\n", key(1)));
    let ran = import(&project, &third);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.stderr.contains("of principal `client-1` since before; end that with `lakegate token revoke"),
        "{}",
        ran.stderr
    );
    assert_eq!(may(&project, &key(1), "orders").await, Some(("client-1".to_owned(), true)));
}

#[test]
fn a_file_that_is_no_such_table_changes_nothing() {
    let project = Project::new();
    for (content, part) in [
        ("", "the file is empty"),
        ("id,orders\n1,t\n", "no column `enterpriseKey`"),
        ("id,enterpriseKey,orders\n1,12345678,perhaps\n", "column `orders` is not boolean in row 1"),
        ("id,enterpriseKey,orders\n1,12345678\n", "CSV is malformed"),
        ("PAR1 and no more of it", "not valid Parquet"),
    ] {
        let file = project.write("table", content);
        let error = project.fails(&["access", "import", file.to_str().unwrap()]);
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("12345678"), "{error}");
    }
    assert!(project.fails(&["access", "import", "none.csv"]).contains("cannot be read"));
    assert_eq!(project.json(&["principal", "list"]), json!([]));
}

/// Kills the import at several moments of its run.
#[tokio::test]
async fn a_killed_import_leaves_nothing_and_can_be_run_again() {
    const CLIENTS: usize = 5_000;
    let mut csv = "id,enterpriseKey,orders,money,routes\n".to_owned();
    for client in 0..CLIENTS {
        csv.push_str(&format!("{client},{},t,t,\n", key(client as u64)));
    }
    // The write-ahead log grows with uncommitted writes, so its size shows the progress of the import.
    let moments = [0, 200_000, 600_000, 1_200_000, u64::MAX].into_iter().chain(std::iter::repeat_n(1, 12));
    let (mut killed_while_writing, mut finished) = (0, 0);
    for written in moments {
        if written == 1 && killed_while_writing >= 2 {
            break;
        }
        let project = Project::new();
        let file = project.write("table.csv", &csv);
        let file = file.to_str().unwrap();
        project.ok(&["principal", "add", "before"]);

        let mut child = project.start(&["access", "import", file]);
        let log = project.path().join("access.db-wal");
        let ended = wait_for_size(&mut child, &log, written);
        child.kill().unwrap();
        child.wait().unwrap();
        let had_written = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);

        let count = |what: &str| project.json(&[what, "list"]).as_array().unwrap().len();
        let counts = (count("principal"), count("token"), count("grant"));
        assert!(dump(&project).await.iter().all(|line| !line.contains("broken")), "after {written} bytes");
        if counts == (1, 0, 0) {
            assert!(!ended, "an import that ended by itself is in");
            killed_while_writing += usize::from(had_written);
            if killed_while_writing != 1 {
                continue;
            }
        } else {
            assert_eq!(counts, (CLIENTS + 1, CLIENTS, CLIENTS * 2), "after {written} bytes");
            finished += 1;
        }
        project.ok(&["access", "import", file]);
        assert!(project.ok(&["access", "import", file]).starts_with("nothing to add"));
        assert_eq!(count("token"), CLIENTS);
    }
    assert!(killed_while_writing >= 1 && finished >= 1, "{killed_while_writing} killed, {finished} finished");
}

/// Waits until the file has this size or the process has ended. Returns `true` when the process ended.
fn wait_for_size(child: &mut Child, file: &Path, size: u64) -> bool {
    let start = Instant::now();
    // Checks without a pause, because the file grows too fast for one.
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if std::fs::metadata(file).map_or(0, |file| file.len()) >= size {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the import does not end");
        std::thread::yield_now();
    }
}
