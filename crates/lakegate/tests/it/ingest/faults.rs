//! Ingestion that is killed, lacks disk space, or meets another one: the table is unchanged, and the next run works.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::binary::{Project, Ran};
use crate::support::eventually::eventually;
use crate::support::wire::Process;

const ENDPOINT: &str =
    "/*---\nsummary = \"Sums\"\n---*/\nSELECT count(*) AS rows, min(run) AS least, max(run) AS greatest FROM item";

/// Rows per run. Each row has the number of its run.
const ROWS: usize = 60_000;

fn project(location: &str, format: &str) -> Project {
    let project = Project::new();
    let format = if format == "parquet" { String::new() } else { format!("format = \"{format}\"\n") };
    let config = format!(
        "[lake]\nlocation = \"lake/\"\n[reload]\ntables_seconds = 1\n[tables.item]\nlocation = \"{location}\"\n{format}shared = true\n"
    );
    project.write("lakegate.toml", config);
    project.write("endpoints/sums.sql", ENDPOINT);
    std::fs::create_dir_all(project.path().join("lake")).unwrap();
    for run in 1..=2 {
        let mut text = "run,id,text\n".to_owned();
        for id in 0..ROWS {
            writeln!(text, "{run},{id},row {id} of run {run} with some text that fills the file").unwrap();
        }
        project.write(&format!("run{run}.csv"), text);
    }
    project
}

fn ingest(run: usize) -> Vec<String> {
    let file = format!("run{run}.csv");
    let words = ["ingest", "--table", "item", "--from", &file, "--mode", "replace"];
    words.iter().map(ToString::to_string).collect()
}

fn start(project: &Project, arguments: &[String]) -> std::process::Child {
    let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    project.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The row count and the lowest and highest run number, as a server returns them.
fn sums(project: &Project) -> (u64, u64, u64) {
    let (server, token) = serve(project);
    let sums = asked(&server, &token);
    server.stop();
    sums
}

fn serve(project: &Project) -> (Process, String) {
    if !project.path().join("access.db").exists() {
        project.ok(&["principal", "add", "acme"]);
        project.ok(&["grant", "add", "--principal", "acme", "--endpoint", "*"]);
    }
    let token = project.ok(&["token", "issue", "acme"]).trim().to_owned();
    let server = Process::start(&mut project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]));
    (server, token)
}

fn asked(server: &Process, token: &str) -> (u64, u64, u64) {
    let rows = server.get("/api/sums", token).rows();
    let number = |key: &str| rows[0][key].as_u64().unwrap();
    (number("rows"), number("least"), number("greatest"))
}

fn leftovers(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".partial")).count()
}

#[test]
fn a_killed_ingest_leaves_the_table_as_it_was_and_the_next_one_works() {
    for (location, format) in
        [("item.parquet", "parquet"), ("item/", "parquet"), ("item/", "delta"), ("item/", "iceberg")]
    {
        let project = project(location, format);
        Ran::of(start(&project, &ingest(1)).wait_with_output().unwrap());
        assert_eq!(sums(&project), (ROWS as u64, 1, 1), "{location}");
        let mut killed = 0;
        for step in 0..8 {
            let mut child = start(&project, &ingest(2));
            if step == 0 {
                // Kill it while it is certainly writing.
                eventually("a file is being written", || leftovers(&project.path().join("lake")) > 0);
            } else {
                // Each run is killed at another moment, so time must pass; most of these moments have no visible sign.
                std::thread::sleep(Duration::from_millis(40 * step));
            }
            child.kill().unwrap();
            let ran = Ran::of(child.wait_with_output().unwrap());
            killed += usize::from(ran.code.is_none());
            let found = sums(&project);
            assert!(found == (ROWS as u64, 1, 1) || found == (ROWS as u64, 2, 2), "{location}: {found:?}");
            if ran.code.is_some() {
                break;
            }
        }
        assert!(killed > 0, "nothing was killed");
        let ran = Ran::of(start(&project, &ingest(2)).wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(leftovers(&project.path().join("lake")), 0);
        assert_eq!(sums(&project), (ROWS as u64, 2, 2), "{location}");
    }
}

/// A file size limit acts on a writer like a full disk.
#[test]
fn an_ingest_without_room_leaves_the_table_as_it_was() {
    let project = project("item/", "parquet");
    Ran::of(start(&project, &ingest(1)).wait_with_output().unwrap());
    let binary = env!("CARGO_BIN_EXE_lakegate");
    // The limit is in blocks of 1024 bytes. Ignore its signal, because a full disk sends none.
    let script = format!("trap '' XFSZ; ulimit -f 64; exec {binary} {}", ingest(2).join(" "));
    let output = std::process::Command::new("bash").arg("-c").arg(script).current_dir(project.path()).output().unwrap();
    let ran = Ran::of(output);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("the table is as it was"), "{}", ran.stderr);
    assert_eq!(leftovers(&project.path().join("lake")), 0);
    assert_eq!(sums(&project), (ROWS as u64, 1, 1));
}

/// In a truncated upload, an unclosed quote would swallow the following rows, including those of other tenants.
#[test]
fn a_csv_that_is_cut_in_a_quoted_value_leaves_the_table_as_it_was() {
    let project = project("item/", "parquet");
    Ran::of(start(&project, &ingest(1)).wait_with_output().unwrap());
    project.write("run2.csv", "run,id,text\n2,1,\"abc\n2,2,secret\n2,3,other\n");
    for allowed in ["0", "100%"] {
        let mut words = ingest(2);
        words.extend(["--max-rejects".to_owned(), allowed.to_owned()]);
        let ran = Ran::of(start(&project, &words).wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("ends in a quoted value that begins in line 2"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        assert_eq!(leftovers(&project.path().join("lake")), 0);
    }
    assert_eq!(sums(&project), (ROWS as u64, 1, 1));
}

#[test]
fn of_two_ingests_at_once_one_waits_for_nothing_and_says_so() {
    let project = project("item/", "parquet");
    let first = start(&project, &ingest(1));
    eventually("the first ingestion writes", || leftovers(&project.path().join("lake")) > 0);
    let second = Ran::of(start(&project, &ingest(2)).wait_with_output().unwrap());
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another process is writing this table"), "{}", second.stderr);
    assert_eq!(Ran::of(first.wait_with_output().unwrap()).code, Some(0));
    assert_eq!(sums(&project), (ROWS as u64, 1, 1));
}

/// Callers get the rows of one run, or an error that asks them to retry; never a mix of runs, and no other rows.
#[test]
fn a_table_is_replaced_while_a_server_reads_it() {
    ["parquet", "delta", "iceberg"].into_iter().for_each(replaced_while_read);
}

fn replaced_while_read(format: &str) {
    let project = project("item/", format);
    for run in [1, 1] {
        // Two files, so that the whole folder is exchanged.
        let mut words = ingest(run);
        words.pop();
        words.push("append".to_owned());
        assert_eq!(Ran::of(start(&project, &words).wait_with_output().unwrap()).code, Some(0));
    }
    let (server, token) = serve(&project);
    assert_eq!(asked(&server, &token), (2 * ROWS as u64, 1, 1));
    let mut child = start(&project, &ingest(2));
    eventually("the new rows are served", || {
        let answer = server.get("/api/sums", &token);
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{answer:?}");
            return false;
        }
        let rows = answer.rows();
        let found = (rows[0]["rows"].clone(), rows[0]["least"].clone(), rows[0]["greatest"].clone());
        if found == (json!(ROWS), json!(2), json!(2)) {
            return true;
        }
        assert_eq!(found, (json!(2 * ROWS), json!(1), json!(1)));
        false
    });
    assert!(child.wait().unwrap().success());
    server.stop();
}
