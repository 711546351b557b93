//! The real binary: environment variables as overrides, `lakegate config`, and `lakegate health`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use lakegate_core::project::{Project as Checked, ProjectFiles, VARIABLE_PREFIX};
use serde_json::json;

use crate::serve::process::{configure, serve, shop};
use crate::support::binary::{Project, Ran};
use crate::support::wire::Process;

fn run(project: &Project, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = project.command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    Ran::of(command.output().unwrap())
}

const FILE: &str = r#"[lake]
location = "lake/"

[access]
store = "sqlite:access.db"
secret_attributes = ["pin"]

[server]
timeout_seconds = 30

[tables.city]
location = "city.csv"
shared = true

[issuers.acme]
issuer = "https://acme.example"
audience = "lake"
algorithm = "RS256"
jwks = "https://acme.example/keys?code=hunter2"
"#;

const PRINTED: &str = r#"[lake]
location = "elsewhere"  # LAKEGATE_LAKE
# endpoint has no value
# region has no value
# path_style has no value
allow_http = false  # default
anonymous = false  # default
# access_key_id has no value
# secret_access_key has no value
# session_token has no value
# service_account has no value
# account has no value
# account_key has no value
connect_timeout_seconds = 5  # default
timeout_seconds = 20  # default
retry_seconds = 10  # default

[access]
store = "sqlite:access.db"  # lakegate.toml
secret_attributes = ["pin"]  # lakegate.toml

[server]
listen = "0.0.0.0:9000"  # LAKEGATE_SERVER_LISTEN
# base_path has no value
timeout_seconds = 30  # lakegate.toml
max_body_bytes = 1048576  # default
"#;

#[test]
fn the_configuration_is_printed_with_where_it_comes_from_and_without_secrets() {
    let project = Project::new();
    project.write("lakegate.toml", FILE);
    let variables = [("LAKEGATE_SERVER_LISTEN", "0.0.0.0:9000"), ("LAKEGATE_LAKE", "elsewhere")];
    let ran = run(&project, &["config"], &variables);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with(PRINTED), "{}", ran.stdout);
    let printed = ran.stdout.parse::<toml::Table>().unwrap();
    assert_eq!(printed["issuers"]["acme"]["jwks"].as_str(), Some("https://acme.example/keys?***"));
    assert_eq!(printed["tables"]["city"]["shared"].as_bool(), Some(true));
    assert!(!ran.stdout.contains("hunter2"));

    let ran = run(&project, &["config", "--json"], &variables);
    let printed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let server = &printed["settings"]["server"];
    assert_eq!(server["listen"], json!({ "value": "0.0.0.0:9000", "from": "LAKEGATE_SERVER_LISTEN" }));
    assert_eq!(server["timeout_seconds"], json!({ "value": 30, "from": "lakegate.toml" }));
    assert_eq!(printed["settings"]["http"]["drain_seconds"], json!({ "value": 30, "from": "default" }));
    assert_eq!(printed["settings"]["http.tls"]["certificate"]["value"], json!(null));
    assert_eq!(printed["policy"]["tables"]["city"]["location"], "city.csv");
    assert!(!ran.stdout.contains("hunter2"));
}

/// The printed configuration is an equivalent project file.
#[test]
fn what_is_printed_can_be_read_again() {
    let project = Project::new();
    project.write("lakegate.toml", FILE.replace("?code=hunter2", ""));
    let printed = project.ok(&["config"]);
    project.write("lakegate.toml", &printed);
    let again = project.ok(&["config"]);
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&printed), values(&again));
}

#[test]
fn faults_in_variables_are_faults_and_unknown_ones_are_told() {
    let (project, _) = shop();
    let wrong = [("LAKEGATE_SERVER_TIMEOUT_SECONDS", "soon"), ("LAKEGATE_SERVER_MEMORY_LIMIT", "1")];
    let fault = "LAKEGATE_SERVER_TIMEOUT_SECONDS: `timeout_seconds` in [server] must be a whole number from 1 to 86400, not `soon`";
    let warning = "warning: LAKEGATE_SERVER_MEMORY_LIMIT: no key or option has this variable, so it has no effect; did you mean `LAKEGATE_SERVER_MEMORY_LIMIT_MB`?";
    let ran = run(&project, &["config", "--project", "shop"], &wrong);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains(fault) && ran.stderr.contains(warning), "{}", ran.stderr);
    let ran = run(&project, &["check", "--project", "shop"], &wrong[..1]);
    assert_eq!((ran.code, ran.stdout.trim()), (Some(1), fault));
    let ran = run(&project, &["serve", "--project", "shop", "--listen", "127.0.0.1:0"], &wrong[..1]);
    assert!(ran.code == Some(1) && ran.stderr.contains(fault), "{ran:?}");
    let ran = run(&project, &["check", "--project", "shop"], &wrong[1..]);
    assert!(ran.code == Some(0) && ran.stderr.contains(warning), "{ran:?}");
}

/// Variables override server settings and the store's location, but never policies.
#[test]
fn a_server_obeys_variables_except_for_policy() {
    let (project, token) = shop();
    let arguments = ["serve", "--project", "shop", "--json"];
    let mut command = project.command(&arguments);
    command.envs([
        ("LAKEGATE_SERVER_LISTEN", "127.0.0.1:0"),
        ("LAKEGATE_SERVER_BASE_PATH", "/prod"),
        ("LAKEGATE_TABLES_SALE_SHARED", "true"),
    ]);
    let server = Process::start(&mut command);
    let own = server.get("/api/best_products", &token).rows();
    assert_eq!(server.get("/prod/best_products", &token).rows(), own);
    let said = server.stop().stderr;
    assert!(said.contains("LAKEGATE_TABLES_SALE_SHARED: `[tables]` is not overridden"), "{said}");
    let server = serve(&project, &[]);
    assert_eq!(server.get("/api/best_products", &token).rows(), own);
    server.stop();

    let moved = [("LAKEGATE_ACCESS_STORE", "sqlite:other.db")];
    let ran = run(&project, &["principal", "add", "zoe", "--project", "shop"], &moved);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(project.path().join("shop/other.db").is_file());
    assert!(!project.ok(&["principal", "list", "--project", "shop"]).contains("zoe"));
}

#[test]
fn health_is_an_exit_code() {
    let (project, _) = shop();
    let server = serve(&project, &[]);
    let url = server.said["url"].as_str().unwrap();
    let ran = run(&project, &["health", "--url", url], &[]);
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "ready"));
    // The address can come from the project or a variable, and may be all interfaces.
    for name in ["LAKEGATE_LISTEN", "LAKEGATE_SERVER_LISTEN"] {
        let listen = server.address().replace("127.0.0.1", "0.0.0.0");
        let ran = run(&project, &["health", "--project", "shop"], &[(name, listen.as_str())]);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
    }
    configure(&project, &format!("[server]\nlisten = \"{}\"\n", server.address()));
    assert_eq!(run(&project, &["health", "--project", "shop"], &[]).code, Some(0));

    std::fs::rename(project.path().join("shop/lake"), project.path().join("shop/away")).unwrap();
    let ran = run(&project, &["health", "--url", url], &[]);
    assert_eq!((ran.code, ran.stderr.trim()), (Some(1), "not ready (503): the lake cannot be reached"));
    let url = url.to_owned();
    server.stop();
    let ran = run(&project, &["health", "--url", &url], &[]);
    assert!(ran.code == Some(1) && ran.stderr.contains("does not answer"), "{ran:?}");
    assert_eq!(run(&project, &["health", "--url", "file:///etc/passwd"], &[]).code, Some(1));
}

/// A misspelt variable in the examples would silently have no effect.
#[test]
fn variables_in_examples_are_those_that_count() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in ["deploy/systemd/lakegate.service", "deploy/container/Dockerfile", "docs/operations.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|character: char| !character.is_ascii_uppercase() && character != '_');
        let names = words.filter(|word| word.starts_with(VARIABLE_PREFIX) && !word.ends_with('_'));
        let variables = names.map(|name| (name.to_owned(), "1".to_owned())).collect::<BTreeMap<_, _>>();
        assert!(!variables.is_empty(), "{file}");
        let (read, _) = Checked::read(&ProjectFiles { variables, ..ProjectFiles::default() });
        assert_eq!(read.config.warnings, [], "{file}");
    }
}
