//! The admin API of the real binary: its listen address, agreement with the commands, and draining.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{TcpListener, TcpStream};

use serde_json::{Value as Json, json};

use crate::serve::process::{serve, shop};
use crate::support::binary::Project;
use crate::support::eventually::eventually;
use crate::support::wire::{Exchange, Process, Reply};

/// The starter project with an admin. Returns the admin's token.
fn administered() -> (Project, String) {
    let (project, _) = shop();
    project.ok(&["principal", "add", "alice", "--project", "shop"]);
    let token = project.ok(&["token", "issue", "alice", "--admin", "--project", "shop"]).trim().to_owned();
    (project, token)
}

fn admin_address(server: &Process) -> &str {
    server.said["admin_url"].as_str().unwrap().strip_prefix("http://").unwrap()
}

fn ask(server: &Process, token: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [("token", token), ("content-type", "application/json")];
    Exchange::begin(admin_address(server), method, path, &headers, body).finish()
}

#[test]
fn the_api_and_the_commands_say_the_same() {
    let (project, token) = administered();
    let server = serve(&project, &["--admin-listen", "127.0.0.1:0"]);
    let issued =
        ask(&server, &token, "POST", "/admin/tokens", r#"{"principal": "acme", "label": "x", "expires_in": "1d"}"#);
    assert_eq!(issued.status, 201, "{}", issued.text());
    let secret = issued.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/api/best_products", &secret).status, 200);
    let denial = r#"{"role": "r", "endpoint": "*", "effect": "deny", "terms": {"columns": ["product"]}}"#;
    assert_eq!(ask(&server, &token, "POST", "/admin/grants", denial).status, 201);

    let command = |arguments: &[&str]| project.json(&[arguments, &["--project", "shop"]].concat());
    // `last_used_at` is written at intervals, so leave it out.
    let timeless = |mut json: Json| {
        let tokens = if json.is_array() { &mut json } else { &mut json["tokens"] };
        for token in tokens.as_array_mut().into_iter().flatten() {
            token.as_object_mut().unwrap().remove("last_used_at");
        }
        json
    };
    for (path, arguments) in [
        ("/admin/principals", &["principal", "list"][..]),
        ("/admin/principals/acme", &["principal", "show", "acme"]),
        ("/admin/tokens", &["token", "list"]),
        ("/admin/tokens?principal=acme&active=true", &["token", "list", "--principal", "acme", "--active"]),
        ("/admin/grants?all=true", &["grant", "list", "--all"]),
        ("/admin/endpoints", &["endpoints"]),
    ] {
        let answer = ask(&server, &token, "GET", path, "").json();
        assert_eq!(timeless(answer), timeless(command(arguments)), "{path}");
    }
    // Compare commands that change state too: the second call changes nothing, so both can run.
    for (path, arguments) in [
        ("/admin/principals/acme/disable", &["principal", "disable", "acme"]),
        ("/admin/principals/acme/enable", &["principal", "enable", "acme"]),
    ] {
        assert_eq!(command(arguments), ask(&server, &token, "POST", path, "").json(), "{path}");
    }
    let changes = ask(&server, &token, "GET", "/admin/changes?limit=3", "").json();
    let actor = format!("admin:alice:{}", token.split('_').nth(1).unwrap());
    assert_eq!(changes[2]["actor"], json!(actor));
    assert!(changes[0]["actor"].as_str().unwrap().starts_with("cli:"), "{changes}");
    // A revocation by a command also takes effect here within moments.
    project.ok(&["token", "revoke", token.split('_').nth(1).unwrap(), "--project", "shop"]);
    eventually("the admin token is refused", || ask(&server, &token, "GET", "/admin/tokens", "").status == 401);
    let ran = server.stop();
    assert_eq!(ran.code, Some(0));
    for secret in [&secret, &token] {
        assert!(!ran.stderr.contains(secret.rsplit('_').next().unwrap()), "{}", ran.stderr);
    }
}

#[test]
fn it_is_served_where_it_is_asked_for_and_not_otherwise() {
    let (project, token) = administered();
    let server = serve(&project, &[]);
    assert_eq!(server.said.get("admin_url"), None);
    assert_eq!(server.get("/admin/tokens", &token).refusal(), (404, "request_path_unknown".to_owned()));
    server.stop();

    let arguments = ["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(project.command(&arguments).env("LAKEGATE_ADMIN_LISTEN", "127.0.0.1:0"));
    assert_eq!(ask(&server, &token, "GET", "/admin/tokens", "").status, 200);
    // The admin address serves no endpoints, and the API address serves no admin routes.
    assert_eq!(ask(&server, &token, "GET", "/api", "").refusal(), (404, "request_path_unknown".to_owned()));
    server.stop();

    let path = project.path().join("shop/lakegate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\n[admin]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    let server = serve(&project, &[]);
    assert_eq!(ask(&server, &token, "GET", "/admin/tokens", "").status, 200);
    assert!(!server.stop().stderr.contains("from other machines"));
    let server = serve(&project, &["--admin-listen", "0.0.0.0:0"]);
    let said = server.stop().stderr;
    assert!(said.contains("the admin API at 0.0.0.0:") && said.contains("from other machines"), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = project.fails(&["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--admin-listen", &address]);
    assert!(said.contains(&address) && said.contains("--admin-listen"), "{said}");
}

#[test]
fn it_drains_and_ends_with_the_server() {
    let (project, token) = administered();
    let mut server = serve(&project, &["--admin-listen", "127.0.0.1:0"]);
    let idle = TcpStream::connect(admin_address(&server)).unwrap();
    // A request whose body is still outstanding is answered.
    let address = admin_address(&server).to_owned();
    let headers = [("token", token.as_str()), ("content-type", "application/json"), ("content-length", "16")];
    let mut begun = Exchange::begin_without_body(&address, "/admin/principals", &headers);
    eventually("the admin API answers", || ask(&server, &token, "GET", "/admin/tokens", "").status == 200);
    server.signal("TERM");
    eventually("new connections are refused", || TcpStream::connect(&address).is_err());
    begun.send(br#"{"name": "late"}"#);
    let reply = begun.finish();
    assert_eq!(reply.status, 201, "{}", reply.text());
    let ran = server.wait();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    drop(idle);
    project.ok(&["principal", "show", "late", "--project", "shop"]);
}
