//! The files of the audit log: several writers, rotation, broken lines; and `lakegate audit`, which reads them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use lakegate::audit::{AuditChange, CURRENT_FILE, LogFile, append_changes, rotated_files};
use serde_json::{Value as Json, json};

use crate::support::binary::Project;

/// The files of a log; the current one is last.
fn files(folder: &Path) -> Vec<PathBuf> {
    [rotated_files(folder).unwrap(), vec![folder.join(CURRENT_FILE)]].concat()
}

/// All complete lines of a log, in file order.
fn lines(folder: &Path) -> Vec<String> {
    let texts = files(folder).into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn writers_that_rotate_under_each_other_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    const WRITERS: usize = 4;
    const BATCHES: usize = 250;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let folder = folder.path();
            scope.spawn(move || {
                let mut log = LogFile::new(folder, Some(1_000), 0);
                for batch in 0..BATCHES {
                    let lines = (0..3).map(|line| format!("{{\"line\":\"{writer}-{batch}-{line}\"}}\n"));
                    log.append(lines.collect::<String>().as_bytes(), batch % 50 == 0).unwrap();
                }
            });
        }
    });
    let lines = lines(folder.path());
    let parsed =
        lines.iter().map(|line| serde_json::from_str::<Json>(line).unwrap()["line"].as_str().unwrap().to_owned());
    let different = parsed.collect::<BTreeSet<_>>();
    assert_eq!((lines.len(), different.len()), (WRITERS * BATCHES * 3, WRITERS * BATCHES * 3));
    let files = files(folder.path());
    assert!(files.len() > 40, "{}", files.len());
    for file in files {
        assert!(std::fs::metadata(&file).unwrap().len() <= 1_000, "{}", file.display());
    }
}

#[test]
fn only_so_many_old_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogFile::new(folder.path(), Some(20), 2);
    for line in 0..10 {
        log.append(format!("{{\"line\":{line}}}\n").as_bytes(), false).unwrap();
    }
    let files = files(folder.path());
    assert_eq!(files.len(), 3);
    assert_eq!(files.last().unwrap(), &folder.path().join(CURRENT_FILE));
    assert_eq!(lines(folder.path()).last().unwrap(), "{\"line\":9}");
}

#[test]
fn a_half_line_of_a_killed_process_stays_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut open = LogFile::new(folder.path(), None, 0);
    open.append(b"{\"line\":1}\n", false).unwrap();
    for half in ["{\"line\":", "{\"lin"] {
        let path = folder.path().join(CURRENT_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + half).unwrap();
        // A writer that kept the file open notices it too.
        open.append(b"{\"line\":2}\n", false).unwrap();
    }
    assert_eq!(lines(folder.path()), ["{\"line\":1}", "{\"line\":", "{\"line\":2}", "{\"lin", "{\"line\":2}"]);
}

fn change(number: i64) -> AuditChange {
    AuditChange {
        time: DateTime::from_timestamp(1_800_000_000 + number, 0).unwrap(),
        id: format!("c{number}"),
        actor: "olivia".to_owned(),
        action: "grant.add".to_owned(),
        detail: json!({ "note": "one\u{1b}[2J\nline" }),
    }
}

#[test]
fn changes_are_appended_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit");
    append_changes(&log, &[change(1), change(2)]).unwrap();
    append_changes(&log, &[change(3)]).unwrap();
    append_changes(&log, &[]).unwrap();
    let ids =
        lines(&log).iter().map(|line| serde_json::from_str::<Json>(line).unwrap()["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids, ["c1", "c2", "c3"]);
    assert!(append_changes(&log.join(CURRENT_FILE), &[change(4)]).is_err());
}

fn request(number: u32, more: Json) -> String {
    let time = format!("2027-01-01T00:00:{number:02}.000000Z");
    let mut record = json!({
        "kind": "request", "event": "ended", "time": time, "request_id": format!("r{number}"), "method": "GET",
        "path": "/api/orders", "principal": "acme", "endpoint": "orders", "outcome": "answered", "status": 200, "rows": 1,
        "bytes": 2, "duration_ms": 0.5,
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{record}\n")
}

/// A log of three files, with a broken line in the second.
fn logged() -> Project {
    let project = Project::new();
    project.write("lakegate.toml", "[server]\naudit_folder = \"logs\"\n");
    project.write(
        "logs/audit-20200101T000010.000000Z.ndjson",
        request(1, json!({})) + &request(2, json!({ "principal": "other", "endpoint": "clients" })),
    );
    let refusal = json!({ "outcome": "refused", "status": 403, "code": "access_not_granted", "rows": 0 });
    project.write(
        "logs/audit-20200101T000020.000000Z.ndjson",
        request(11, refusal) + "{\"kind\":\"requ\n\nnot json\n" + &request(12, json!({})),
    );
    append_changes(&project.path().join("logs"), &[change(1)]).unwrap();
    project.write("logs/not-of-it.ndjson", "{}\n");
    project
}

/// Ids of the printed records.
fn ids(project: &Project, arguments: &[&str]) -> Vec<String> {
    let printed = project.ok(&[&["audit"], arguments, &["--json"]].concat());
    let records = printed.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    records.map(|record| record.get("request_id").or(record.get("id")).unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn tail_shows_the_last_records_of_all_files() {
    let project = logged();
    assert_eq!(ids(&project, &["tail"]), ["r1", "r2", "r11", "r12", "c1"]);
    assert_eq!(ids(&project, &["tail", "-n", "4"]), ["r2", "r11", "r12", "c1"]);
    assert_eq!(ids(&project, &["tail", "-n", "1"]), ["c1"]);
    assert_eq!(ids(&project, &["tail", "-n", "0"]), [""; 0]);
    let ran = project.run(&["audit", "tail"]);
    assert!(ran.stderr.contains("skipped 2 lines"), "{ran:?}");
    assert!(ran.stdout.starts_with("TIME ") && ran.stdout.lines().count() == 6, "{ran:?}");
    assert!(!ran.stdout.contains('\u{1b}') && ran.stdout.contains("grant.add"), "{ran:?}");
    assert_eq!(ids(&project, &["tail", "--folder", "logs", "-n", "1"]), ["c1"]);
}

#[test]
fn search_finds_what_fits() {
    let project = logged();
    for (arguments, wanted) in [
        (&["--principal", "other"][..], &["r2"][..]),
        (&["--principal", "olivia"], &["c1"]),
        (&["--endpoint", "orders"], &["r1", "r11", "r12"]),
        (&["--outcome", "refused"], &["r11"]),
        (&["--status", "200", "--endpoint", "orders"], &["r1", "r12"]),
        (&["--code", "access_not_granted"], &["r11"]),
        (&["--request-id", "r12"], &["r12"]),
        (&["--kind", "change"], &["c1"]),
        (&["--since", "2027-01-01T00:00:02Z", "--until", "2027-01-01T00:00:12Z"], &["r2", "r11"]),
        (&["--limit", "2"], &["r12", "c1"]),
        (&["--principal", "nobody"], &[]),
    ] {
        assert_eq!(ids(&project, &[&["search"], arguments].concat()), wanted, "{arguments:?}");
    }
    let ran = project.run(&["audit", "search", "--limit", "2"]);
    assert!(ran.stderr.contains("3 earlier records") && ran.stderr.contains("skipped 2 lines"), "{ran:?}");
    assert_eq!(project.run(&["audit", "search", "--outcome", "nonsense"]).code, Some(2));
    assert_eq!(project.run(&["audit", "search", "--since", "nonsense"]).code, Some(2));
}

#[test]
fn a_log_that_is_not_there_is_no_error() {
    let project = Project::new();
    for arguments in [&["audit", "tail"][..], &["audit", "search"]] {
        let ran = project.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
        assert!(ran.stderr.contains("no audit log"), "{ran:?}");
    }
    assert!(project.ok(&["audit", "search", "--help"]).contains("lakegate audit search --principal acme --since 24h"));
}

#[test]
fn a_log_is_followed_through_rotation() {
    let project = logged();
    let folder = project.path().join("logs");
    let mut child = project.start(&["audit", "tail", "-n", "1", "--follow", "--json"]);
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Json>(&printed.next().unwrap().unwrap()).unwrap()["id"].clone();
    assert_eq!(next(), "c1");
    append_changes(&folder, &[change(2)]).unwrap();
    assert_eq!(next(), "c2");
    // With this size limit, each write starts a new file.
    let mut log = LogFile::new(&folder, Some(1), 0);
    for number in 3..6 {
        log.append(format!("{{\"id\":\"c{number}\"}}\n").as_bytes(), false).unwrap();
    }
    assert_eq!([next(), next(), next()], ["c3", "c4", "c5"]);
    append_changes(&folder, &[change(6)]).unwrap();
    assert_eq!(next(), "c6");
    child.kill().unwrap();
    child.wait().unwrap();
}
