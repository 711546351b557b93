//! `lakegate demo`, as a user runs it: its JSON line, a second run, a port in use, and a killed run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value as Json, json};

use crate::support::binary::Project;
use crate::support::eventually::eventually;
use crate::support::wire::Process;

const RANGE: &str = "/api/count_orders_by_range?start_datetime=2000-01-01&end_datetime=2100-01-01";

fn demo(project: &Project, listen: &str) -> std::process::Command {
    project.command(&["demo", "--dir", "demo", "--scale", "0.02", "--listen", listen, "--json"])
}

/// Name and token of each principal.
fn tokens(said: &Json) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    said["principals"].as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["token"]))).collect()
}

#[test]
fn a_demo_says_one_line_and_serves_and_a_second_run_uses_what_is_there() {
    let project = Project::new();
    let mut first = Process::start(&mut demo(&project, "127.0.0.1:0"));
    let principals = first.said["principals"].as_array().unwrap().clone();
    assert_eq!(principals.len(), 5);
    for client in &principals[..2] {
        let id = client["attributes"]["client_id"].as_i64().unwrap();
        assert_eq!((&client["name"], &client["roles"]), (&json!(format!("client-{id}")), &json!(["owner"])));
    }
    let (partner, owner) = (&principals[2], &principals[0]);
    let id = owner["attributes"]["client_id"].as_i64().unwrap();
    assert_eq!((&partner["name"], &partner["roles"]), (&json!(format!("partner-of-{id}")), &json!(["partner"])));
    assert_eq!(partner["attributes"], owner["attributes"]);
    for (principal, role) in principals[3..].iter().zip(["support", "operator"]) {
        assert_eq!((&principal["name"], &principal["roles"]), (&json!(role), &json!([role])));
        assert_eq!(principal["attributes"], json!({}));
    }
    let counts = |server: &Process| {
        let count = |token: &str| server.get(RANGE, token).rows()[0]["count"].as_i64().unwrap();
        let tokens = tokens(&server.said);
        [0, 1, 4].map(|at: usize| count(&tokens[at].1))
    };
    let counted = counts(&first);
    assert!(counted[0] > counted[1] && counted[1] > 0 && counted[2] > counted[0] + counted[1], "{counted:?}");
    let before = tokens(&first.said);
    let callable = |token: &str| first.get("/api", token).json()["endpoints"].as_array().unwrap().len();
    assert_eq!(before.iter().map(|(_, token)| callable(token)).collect::<Vec<_>>(), [11, 11, 2, 1, 11]);

    // A second demo on the same address cannot serve, and must not disturb the first one.
    let ran = crate::support::binary::Ran::of(demo(&project, first.address()).output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains(first.address()) && ran.stderr.contains("--listen"), "{}", ran.stderr);
    assert_eq!(counts(&first), counted);

    first.signal("INT");
    let ran = first.wait();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.contains("made a lake of 2000 trackcodes"), "{}", ran.stderr);

    let second = Process::start(&mut demo(&project, "127.0.0.1:0"));
    assert_eq!(counts(&second), counted);
    let names = |tokens: &[(String, String)]| tokens.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&tokens(&second.said)), names(&before));
    for (name, token) in &before {
        assert_eq!(second.get(RANGE, token).refusal(), (401, "access_token_revoked".to_owned()), "{name}");
    }
    let grants = project.json(&["grant", "list", "--project", "demo"]);
    assert_eq!(grants.as_array().unwrap().len(), 5, "a second run adds no second grant: {grants}");
    assert!(second.stop().stderr.contains("is there already"));
}

/// The text output has the same facts, and its commands can be pasted.
#[test]
fn a_demo_prints_lines_to_paste() {
    let project = Project::new();
    let arguments = ["demo", "--dir", "demo", "--scale", "0.005", "--listen", "127.0.0.1:0"];
    let mut child = project.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let printed = {
        use std::io::{BufRead, BufReader};
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut printed = Vec::new();
        for line in lines {
            // The admin address is the last line. Keep the pipe open, because a demo without a reader ends.
            let last = line.ends_with("/admin");
            printed.push(line);
            if last {
                break;
            }
        }
        printed
    };
    let lines = printed.iter().filter(|line| line.starts_with("curl ")).collect::<Vec<_>>();
    assert_eq!(lines.len(), 10, "{printed:#?}");
    if curl_is_there() {
        for line in lines {
            let ran = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
            let answer = serde_json::from_slice::<Json>(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(answer.is_array() || answer["endpoints"].is_array(), "{line}: {answer}");
        }
    }
    end(child);
}

pub(crate) fn curl_is_there() -> bool {
    std::process::Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A run that is killed while it creates the lake leaves nothing that a later run mistakes for a lake.
#[test]
fn a_demo_that_was_killed_is_made_up_for_by_the_next() {
    let project = Project::new();
    let holds_a_file = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|mut files| {
            files.any(|file| file.unwrap().path().extension().is_some_and(|extension| extension == "parquet"))
        })
    };
    let partial = project.path().join("demo/.lake.partial");
    let arguments = ["demo", "--dir", "demo", "--scale", "20", "--listen", "127.0.0.1:0", "--json"];
    let child = project.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the lake is being created", || holds_a_file(&partial));
    end(child);
    assert!(!project.path().join("demo/lake").exists());

    let server = Process::start(&mut demo(&project, "127.0.0.1:0"));
    let (_, operator) = &tokens(&server.said)[4];
    assert!(server.get(RANGE, operator).rows()[0]["count"].as_i64().unwrap() > 0);
    assert!(!partial.exists());
    assert_eq!(server.stop().code, Some(0));
}
