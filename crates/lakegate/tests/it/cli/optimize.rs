//! `lakegate optimize`: equal responses from fewer reads, also on a running server; unchanged tables after a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lakegate::sample::{Sample, write_lake, write_project};
use serde_json::Value;

use crate::support::binary::{Project, Ran};
use crate::support::eventually::{StopOnDrop, eventually};
use crate::support::wire::Process;

const RANGE: &str = "start_datetime=2022-10-01&end_datetime=2022-10-31";

/// The sample project, with one folder for each table of several files.
fn sample(scale: f64) -> Project {
    let project = Project::new();
    std::fs::remove_file(project.path().join("lakegate.toml")).unwrap();
    write_project(project.path()).unwrap();
    let lake = project.path().join("lake");
    write_lake(&Sample::new(3, scale).unwrap(), &lake, |_, _| {}).unwrap();
    let config = std::fs::read_to_string(project.path().join("lakegate.toml")).unwrap();
    // The server reads files without caching, and refreshes tables often.
    let config = config + "\n[server]\ncache_limit_mb = 0\n[reload]\ntables_seconds = 1\n";
    project.write("lakegate.toml", config);
    project
}

fn caller(project: &Project, scale: f64) -> String {
    let client = Sample::new(3, scale).unwrap().client_by_rank(3).id;
    project.ok(&["principal", "add", "acme", "--attribute", &format!("client_id={client}"), "--role", "owner"]);
    project.ok(&["grant", "add", "--role", "owner", "--endpoint", "*"]);
    project.ok(&["token", "issue", "acme"]).trim().to_owned()
}

fn serve(project: &Project) -> Process {
    let mut command = project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    Process::start(command.env("LAKEGATE_ADMIN_LISTEN", "127.0.0.1:0"))
}

fn answers(server: &Process, token: &str) -> Vec<Vec<String>> {
    let endpoints =
        ["count_orders_by_range", "all_orders_by_range", "count_trackcode_by_range", "trackcodes_lost_by_range"];
    let rows = |endpoint: &str| {
        let rows = server.get(&format!("/api/{endpoint}?{RANGE}"), token).rows();
        let mut rows = rows.iter().map(Value::to_string).collect::<Vec<_>>();
        rows.sort();
        rows
    };
    endpoints.map(rows).to_vec()
}

/// The files in a folder of the lake, with their sizes.
fn files(project: &Project, folder: &str) -> BTreeSet<(String, u64)> {
    let entries = std::fs::read_dir(project.path().join("lake").join(folder)).unwrap();
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
    });
    entries.collect()
}

/// Number of files that killed runs left in the lake.
fn leftovers(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().ends_with(".partial")).count()
}

#[test]
fn answers_stay_the_same_and_a_request_reads_less() {
    let project = sample(0.5);
    let token = caller(&project, 0.5);
    let server = serve(&project);
    let wanted = answers(&server, &token);
    assert!(wanted.iter().all(|rows| !rows.is_empty()));
    drop(server);
    let outcome = |arguments: &[&str]| project.json(&[&["optimize"], arguments].concat()).as_array().unwrap().clone();
    // Clustered by other columns, a client's rows are spread over the whole table.
    let scattered = outcome(&["trackcode", "--cluster-by", "product_weight,id", "--row-group-rows", "5000"]);
    let reads = |outcome: &Value, when: &str| outcome[when]["reads"]["now"].as_f64().unwrap();
    assert!(reads(&scattered[0], "after") > 5.0, "{scattered:?}");
    let dry = outcome(&["trackcode", "--dry-run"]);
    assert_eq!((dry[0]["state"].as_str(), dry[0]["after"].is_null()), (Some("dry_run"), true));

    let done = outcome(&["trackcode", "order"]);
    let by = |outcome: &Value| outcome["cluster_by"].to_string();
    assert_eq!(by(&done[0]), r#"["trackcode.client_id","trackcode.creation","trackcode_id"]"#);
    assert_eq!(by(&done[1]), r#"["client_id","creation"]"#);
    assert!(done.iter().all(|outcome| outcome["state"] == "done"), "{done:?}");
    assert!(done.iter().all(|outcome| outcome["before"]["rows"] == outcome["after"]["rows"]), "{done:?}");
    assert!(reads(&done[1], "after") <= 2.0 && reads(&done[1], "before") > 5.0, "{done:?}");
    assert_eq!(done[1]["after"]["files"], 1);
    // A second run finds nothing to do for a table that is already clustered.
    let again = outcome(&["--all", "--dry-run"]);
    assert!(again.iter().all(|outcome| outcome["table"] != "trackcode"), "{again:?}");
    let advice = project.json(&["advise", "order"]);
    assert!(!advice[0]["to_do"].to_string().contains("lay it out"), "{advice}");
    let server = serve(&project);
    assert_eq!(answers(&server, &token), wanted);
}

#[test]
fn a_server_sees_the_old_rows_or_the_new_ones_and_never_others() {
    let project = sample(0.05);
    let token = caller(&project, 0.05);
    let server = serve(&project);
    let wanted = answers(&server, &token);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let reply = server.get(&format!("/api/all_orders_by_range?{RANGE}"), &token);
                match reply.status {
                    200 if reply.whole => {
                        let mut rows = reply.rows().iter().map(Value::to_string).collect::<Vec<_>>();
                        rows.sort();
                        assert_eq!(rows, wanted[1]);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // A truncated response reveals that it is incomplete.
                    200 | 503 => {}
                    status => panic!("{status}: {}", reply.text()),
                }
            }
        });
        let stop = StopOnDrop(&over);
        for by in ["creation", "client_id,creation", "id"] {
            project.ok(&["optimize", "trackcode", "--cluster-by", by]);
            project.ok(&["optimize", "order", "--cluster-by", "trackcode.client_id"]);
            // The caller sends one request after the other, so most of these read the new files.
            let before = answered.load(Ordering::Relaxed);
            eventually("the server answers", || answered.load(Ordering::Relaxed) >= before + 20);
        }
        drop(stop);
    });
    assert_eq!(answers(&server, &token), wanted);
}

#[test]
fn a_run_that_is_killed_leaves_the_table_and_the_next_cleans_up() {
    let project = sample(1.0);
    let lake = project.path().join("lake");
    let before = files(&project, "trackcode");
    let mut child = project.start(&["optimize", "trackcode", "--cluster-by", "id"]);
    eventually("a file is being written", || leftovers(&lake) > 0 || child.try_wait().unwrap().is_some());
    child.kill().unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, None, "it was killed in the middle: {ran:?}");
    assert_eq!(leftovers(&lake), 1);
    assert_eq!(files(&project, "trackcode"), before);
    project.ok(&["check"]);
    project.ok(&["optimize", "trackcode", "--cluster-by", "id"]);
    eventually("leftovers are gone", || leftovers(&lake) == 0);
    assert_eq!(files(&project, "trackcode").len(), 1);
}

#[test]
fn a_full_disk_leaves_the_table() {
    let project = sample(0.3);
    let before = files(&project, "trackcode");
    // A file size limit stands for a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 300; exec {} optimize trackcode --cluster-by id",
        env!("CARGO_BIN_EXE_lakegate")
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(project.path()).output().unwrap();
    let ran = Ran::of(output);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the table is as it was"), "{ran:?}");
    assert_eq!((files(&project, "trackcode"), leftovers(&project.path().join("lake"))), (before, 0));
}

#[test]
fn more_rows_than_memory_are_sorted_on_the_disk() {
    let project = sample(0.6);
    let mut command = project.command(&["optimize", "trackcode", "order", "--cluster-by", "id", "--json"]);
    command.env("LAKEGATE_SERVER_MEMORY_LIMIT_MB", "48");
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    project.ok(&["check"]);
}

#[test]
fn what_can_not_be_replaced_in_one_step_is_refused_before_anything_is_done() {
    let project = sample(0.6);
    let config = std::fs::read_to_string(project.path().join("lakegate.toml")).unwrap();
    project.write("lakegate.toml", config.replace("\"trackcode/\"", "\"trackcode/*.parquet\""));
    let before = files(&project, "trackcode");
    assert!(before.len() > 1);
    let ran = project.run(&["optimize", "trackcode"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("give the table a folder of its own"), "{ran:?}");
    assert_eq!(files(&project, "trackcode"), before);
    assert!(project.fails(&["optimize", "trackcod"]).contains("did you mean `trackcode`?"));
}

#[test]
fn delta_and_iceberg_tables_get_a_new_version_with_the_same_rows() {
    for format in ["delta", "iceberg"] {
        let project = Project::new();
        let table = format!("[tables.parcel]\nlocation = \"parcel/\"\nformat = \"{format}\"\n");
        let config =
            format!("[lake]\nlocation = \"lake\"\n{table}row_filter = \"client_id IN (principal('client_id'))\"\n");
        project.write("lakegate.toml", config);
        std::fs::create_dir(project.path().join("lake")).unwrap();
        for part in 0..3 {
            let lines = (0..50).map(|at| format!("{},{}\n", part * 50 + at, (at * 7) % 11)).collect::<String>();
            project.write(&format!("{part}.csv"), format!("id,client_id\n{lines}"));
            let file = format!("{part}.csv");
            project.ok(&["ingest", "--table", "parcel", "--from", &file, "--into", format, "--mode", "append"]);
        }
        project.write(
            "endpoints/parcels.sql",
            "/*---\nsummary = \"s\"\n---*/\nSELECT id, client_id FROM parcel ORDER BY id",
        );
        project.ok(&["principal", "add", "acme", "--attribute", "client_id=3"]);
        project.ok(&["grant", "add", "--principal", "acme", "--endpoint", "*"]);
        let token = project.ok(&["token", "issue", "acme"]).trim().to_owned();
        let rows = || {
            let server = Process::start(&mut project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]));
            server.get("/api/parcels", &token).rows()
        };
        let wanted = rows();
        assert!(wanted.len() > 10, "{format}");
        let outcome = project.json(&["optimize", "parcel"]);
        assert_eq!(outcome[0]["cluster_by"].to_string(), r#"["client_id"]"#, "{format}");
        assert_eq!(
            (&outcome[0]["before"]["files"], &outcome[0]["after"]["files"]),
            (&3.into(), &1.into()),
            "{outcome}"
        );
        assert!(outcome[0]["version"].is_string(), "{outcome}");
        assert_eq!(rows(), wanted, "{format}");
    }
}
