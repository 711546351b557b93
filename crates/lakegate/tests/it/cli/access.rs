//! The commands `principal`, `token` and `grant`, run as the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;

use lakegate::store::{Store, StoreLocation};
use serde_json::{Value, json};

use crate::support::binary::{Project, Ran};

/// Extracts the id from a token's text.
fn id_of(token: &str) -> &str {
    token.split('_').nth(1).unwrap()
}

fn token_states(project: &Project) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tokens = project.json(&["token", "list"]);
    tokens.as_array().unwrap().iter().map(|token| (text(&token["id"]), text(&token["state"]))).collect()
}

#[test]
fn a_principal_lives() {
    let project = Project::new();
    let added = project.json(&[
        "principal",
        "add",
        "acme",
        "--role",
        "client",
        "--role",
        "eu",
        "--attribute",
        "client_id=4562",
        "--attribute",
        "code=007",
        "--attribute",
        "client_ids:integer[]=1,2",
        "--attribute",
        "since:date=2022-10-01",
    ]);
    assert_eq!(
        added["attributes"],
        json!({"client_id": 4562, "code": "007", "client_ids": [1, 2], "since": "2022-10-01"})
    );
    assert_eq!(
        added["attribute_types"],
        json!({"client_id": "integer", "code": "string", "client_ids": "integer[]", "since": "date"})
    );
    assert_eq!((&added["roles"], &added["disabled_at"]), (&json!(["client", "eu"]), &Value::Null));

    let changed = project.json(&[
        "principal",
        "set",
        "acme",
        "--attribute",
        "client_id=1",
        "--remove-attribute",
        "code",
        "--role",
        "ops",
        "--remove-role",
        "eu",
    ]);
    assert_eq!(changed["attributes"], json!({"client_id": 1, "client_ids": [1, 2], "since": "2022-10-01"}));
    assert_eq!(changed["roles"], json!(["client", "ops"]));

    let disabled = project.json(&["principal", "disable", "acme"]);
    assert!(disabled["disabled_at"].is_string());
    assert_eq!(project.json(&["principal", "enable", "acme"])["disabled_at"], Value::Null);

    project.ok(&["principal", "add", "globex"]);
    let names = |json: Value| json.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(project.json(&["principal", "list"])), ["acme", "globex"]);
    assert_eq!(names(project.json(&["principal", "list", "--role", "ops"])), ["acme"]);
    let listed = project.ok(&["principal", "list"]);
    assert!(listed.contains("acme    client, ops  client_id=1"), "{listed}");
    let shown = project.ok(&["principal", "show", "acme"]);
    assert!(shown.contains("client_ids = [1,2] (integer[])"), "{shown}");
}

#[test]
fn a_token_is_alone_on_stdout_and_shown_nowhere_else() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme"]);
    let ran = project.run(&["token", "issue", "acme", "--label", "sync", "--expires-in", "90d"]);
    assert_eq!(ran.code, Some(0));
    let token = ran.stdout.strip_suffix('\n').unwrap();
    assert!(token.starts_with("lg_") && token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
    assert!(!ran.stderr.contains(token) && ran.stderr.contains(id_of(token)), "{}", ran.stderr);

    let json = project.json(&["token", "issue", "acme"]);
    let second = json["token"].as_str().unwrap();
    assert_eq!(
        (&json["id"], &json["principal"], &json["expires_at"]),
        (&json!(id_of(second)), &json!("acme"), &Value::Null)
    );

    for arguments in [
        &["token", "list"][..],
        &["token", "list", "--json"],
        &["principal", "show", "acme"],
        &["principal", "show", "acme", "--json"],
    ] {
        let shown = project.ok(arguments);
        for token in [token, second] {
            assert!(shown.contains(id_of(token)) && !shown.contains(token.rsplit('_').next().unwrap()), "{shown}");
        }
    }
}

#[test]
fn tokens_rotate_and_are_revoked() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme"]);
    let issue = || project.ok(&["token", "issue", "acme", "--expires-in", "1d"]).trim().to_owned();
    let state = |token: &str| token_states(&project).into_iter().find(|(id, _)| id == id_of(token)).unwrap().1;

    let first = issue();
    let second = project.ok(&["token", "rotate", id_of(&first)]).trim().to_owned();
    assert_eq!((state(&first), state(&second)), ("revoked".to_owned(), "active".to_owned()));
    let third = project.ok(&["token", "rotate", id_of(&second), "--grace", "1h"]).trim().to_owned();
    assert_eq!((state(&second), state(&third)), ("active".to_owned(), "active".to_owned()));
    assert!(project.fails(&["token", "rotate", id_of(&second)]).contains(id_of(&third)));
    assert!(project.ok(&["token", "revoke", id_of(&third)]).contains("is revoked"));
    assert!(project.ok(&["token", "revoke", id_of(&third)]).contains("already revoked"));
    assert_eq!(project.json(&["token", "list", "--active"]).as_array().unwrap().len(), 1);

    let error = project.fails(&["token", "revoke", &second]);
    assert!(error.contains("not the id") && !error.contains(&second), "{error}");
}

#[test]
fn grants_are_added_listed_and_revoked() {
    let project = Project::new();
    project.write("endpoints/orders.sql", "SELECT 1");
    project.ok(&["principal", "add", "acme", "--role", "client"]);
    let ran = project.run(&["grant", "add", "--role", "client", "--endpoint", "orders", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let grant: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&grant["role"], &grant["principal"], &grant["endpoint"]),
        (&json!("client"), &Value::Null, &json!("orders"))
    );
    let id = grant["id"].as_str().unwrap();

    let again = project.run(&["grant", "add", "--role", "client", "--endpoint", "orders"]);
    assert!(again.code == Some(0) && again.stdout.contains("already"), "{again:?}");
    assert!(
        project.fails(&["grant", "add", "--role", "client", "--endpoint", "orders", "--expires-in", "1d"]).contains(id)
    );
    let unknown = project.run(&["grant", "add", "--role", "nobody", "--endpoint", "ordrs"]);
    assert_eq!(unknown.code, Some(0));
    assert!(
        unknown.stderr.contains("no endpoint `ordrs`") && unknown.stderr.contains("nobody has role"),
        "{unknown:?}"
    );
    let star = project.json(&["grant", "add", "--principal", "acme", "--endpoint", "*", "--expires", "2999-01-01"]);
    assert_eq!(star["expires_at"], "2999-01-01T00:00:00Z");

    let count = |arguments: &[&str]| project.json(arguments).as_array().unwrap().len();
    assert_eq!(count(&["grant", "list"]), 3);
    assert_eq!(count(&["grant", "list", "--role", "client"]), 1);
    assert_eq!(count(&["grant", "list", "--principal", "acme"]), 1);
    assert_eq!(count(&["grant", "list", "--endpoint", "*"]), 1);
    assert_eq!(project.json(&["principal", "show", "acme"])["grants"].as_array().unwrap().len(), 2);
    assert!(project.ok(&["grant", "revoke", id]).contains("is revoked"));
    assert_eq!((count(&["grant", "list"]), count(&["grant", "list", "--all"])), (2, 3));
    // A revoked grant can be added again.
    assert_ne!(project.json(&["grant", "add", "--role", "client", "--endpoint", "orders"])["id"], json!(id));
}

#[test]
fn errors_say_what_to_do() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme"]);
    for (arguments, part) in [
        (&["principal", "add", "acme"][..], "`lakegate principal set acme`"),
        (&["principal", "add", "two words"], "use letters"),
        (&["principal", "add", "x", "--role", "a b"], "role name"),
        (&["principal", "add", "x", "--attribute", "a=1", "--attribute", "a=2"], "given twice"),
        (&["principal", "show", "nobody"], "`lakegate principal list`"),
        (&["principal", "set", "acme"], "nothing to change"),
        (&["principal", "set", "acme", "--remove-role", "x"], "has no role `x`"),
        (&["principal", "set", "acme", "--remove-attribute", "x"], "has no attribute `x`"),
        (&["principal", "disable", "nobody"], "no principal `nobody`"),
        (&["token", "issue", "nobody"], "no principal `nobody`"),
        (&["token", "issue", "acme", "--expires", "2020-01-01"], "not in the future"),
        (&["token", "issue", "acme", "--label", "two\nlines"], "line breaks"),
        (&["token", "revoke", "abc"], "`lakegate token list`"),
        (&["token", "list", "--principal", "nobody"], "no principal `nobody`"),
        (&["grant", "add", "--principal", "nobody", "--endpoint", "x"], "no principal `nobody`"),
        (&["grant", "add", "--role", "client", "--endpoint", "../x"], "endpoint name"),
        (&["grant", "revoke", "abc"], "`lakegate grant list`"),
        (&["principal", "list", "--store", "access.db"], "sqlite:PATH"),
        (&["principal", "list", "--project", "/nowhere"], "--project DIR"),
    ] {
        let error = project.fails(arguments);
        assert!(error.starts_with("error: ") && error.contains(part), "{arguments:?}: {error}");
        assert!(!error.trim_end().ends_with('.'), "{error}");
    }
    for arguments in [
        &["principal", "add", "x", "--attribute", "a"][..],
        &["principal", "add", "x", "--attribute", "a:int=1"],
        &["token", "issue", "acme", "--expires", "tomorrow"],
        &["token", "issue", "acme", "--expires-in", "90"],
        &["token", "issue", "acme", "--expires-in", "99999999999999999d"],
        &["token", "issue", "acme", "--expires-in", "1d", "--expires", "2999-01-01"],
        &["grant", "add", "--endpoint", "x"],
        &["grant", "add", "--endpoint", "x", "--role", "a", "--principal", "acme"],
    ] {
        let ran = project.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
    }
    assert_eq!(project.json(&["principal", "list"]).as_array().unwrap().len(), 1, "nothing was added by the way");
    assert_eq!(project.json(&["grant", "list"]), json!([]));
    assert_eq!(project.json(&["token", "list"]), json!([]));
}

#[test]
fn the_store_is_where_it_is_said_to_be() {
    let project = Project::new();
    project.write("lakegate.toml", "[access]\nstore = \"sqlite:deep/other.db\"\n");
    std::fs::create_dir(project.path().join("deep")).unwrap();
    project.ok(&["principal", "add", "acme"]);
    assert!(project.path().join("deep/other.db").exists());

    // Address the project from another folder, by option and by environment variable.
    let elsewhere = Project::new();
    let there = project.path().to_str().unwrap();
    assert_eq!(elsewhere.json(&["principal", "list", "--project", there]).as_array().unwrap().len(), 1);
    let output = elsewhere.command(&["principal", "list", "--json"]).env("LAKEGATE_PROJECT", there).output().unwrap();
    assert!(Ran::of(output).stdout.contains("acme"));
    let store = format!("sqlite:{there}/deep/other.db");
    assert_eq!(elsewhere.json(&["principal", "list", "--store", &store]).as_array().unwrap().len(), 1);
    let output = elsewhere.command(&["principal", "list", "--json"]).env("LAKEGATE_STORE", &store).output().unwrap();
    assert!(Ran::of(output).stdout.contains("acme"));
    assert!(!elsewhere.path().join("access.db").exists());

    for (toml, part) in [("[access", "not valid TOML"), ("[access]\nstore = 1", "must be a string")] {
        elsewhere.write("lakegate.toml", toml);
        assert!(elsewhere.fails(&["principal", "list"]).contains(part));
    }
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme", "--attribute", "note=\u{1b}[2Jgone\nand a line"]);
    for arguments in [&["principal", "list"][..], &["principal", "show", "acme"]] {
        let shown = project.ok(arguments);
        assert!(!shown.contains('\u{1b}') && shown.contains("gone"), "{shown:?}");
    }
    assert_eq!(project.json(&["principal", "show", "acme"])["attributes"]["note"], "\u{1b}[2Jgone\nand a line");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let project = Project::new();
    let attributes = format!("text={}", "x".repeat(60_000));
    for name in ["a", "b", "c"] {
        project.ok(&["principal", "add", name, "--attribute", &attributes]);
    }
    let mut child = project.start(&["principal", "list", "--json"]);
    // The output exceeds a pipe's buffer, and no reader is left.
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn help_teaches() {
    let project = Project::new();
    for (arguments, part) in [
        (&["--help"][..], "TOKEN=$(lakegate token issue"),
        (&["principal", "add", "--help"], "client_ids:integer[]=1,2,3"),
        (&["token", "rotate", "--help"], "--grace 24h"),
        (&["grant", "add", "--help"], "--endpoint '*'"),
        (&["access", "import", "--help"], "enterpriseKey"),
    ] {
        let help = project.ok(arguments);
        assert!(help.contains(part), "{help}");
    }
    assert!(!project.path().join("access.db").exists());
}

/// A process that issues a token is killed at various moments: a printed token must exist in a consistent store.
#[tokio::test]
async fn a_token_that_was_printed_survives_a_kill() {
    let project = Project::new();
    project.ok(&["principal", "add", "acme"]);
    let mut printed = BTreeSet::new();
    const TRIES: u32 = 24;
    for delay in 0..TRIES {
        let mut child =
            project.command(&["token", "issue", "acme"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut output = String::new();
        if delay % 3 == 0 {
            // Kill at the moment the token is printed.
            let mut first = [0];
            if stdout.read(&mut first).unwrap() == 1 {
                output.push(char::from(first[0]));
            }
        } else {
            spin(std::time::Duration::from_micros(u64::from(delay) * 1_000));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        if let Some(token) = output.strip_suffix('\n') {
            printed.insert(id_of(token).to_owned());
        }
    }
    assert!(printed.len() >= 8, "each third try waits for the print");
    let kept: BTreeSet<String> = token_states(&project).into_iter().map(|(id, _)| id).collect();
    assert!(printed.is_subset(&kept), "printed and not kept: {:?}", printed.difference(&kept));
    assert!(kept.len() <= TRIES as usize);

    let store = Store::open(&StoreLocation::parse("sqlite:access.db", project.path()).unwrap()).await.unwrap();
    assert!(store.tokens(Some("acme")).await.unwrap().iter().all(|listing| listing.token.revoked_at.is_none()));
}

/// Busy-waits, because a timer is too coarse to hit different moments.
fn spin(duration: std::time::Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
