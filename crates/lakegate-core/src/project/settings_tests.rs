//! Tests of environment variables that override keys, of the warnings for others, and of the listed configuration.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::config::{self, Config};
use super::settings::shown_value;
use super::variables::ValueOrigin;

const FILE: &str = "[lake]\nlocation = \"lake/\"\n[server]\ntimeout_seconds = 30\n";

fn read(text: &str, variables: &[(&str, &str)]) -> (Config, Vec<String>) {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (config, findings) = config::read(text, &variables.collect());
    (config, findings.iter().map(ToString::to_string).collect())
}

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    let (config, findings) = read(FILE, variables);
    assert_eq!(findings, Vec::<String>::new());
    config.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_variable_says_what_the_key_would() {
    let (config, findings) = read(
        FILE,
        &[
            ("LAKEGATE_LAKE_LOCATION", "s3://bucket/lake"),
            ("LAKEGATE_SERVER_TIMEOUT_SECONDS", "7"),
            ("LAKEGATE_SERVER_AUDIT", "strict"),
            ("LAKEGATE_HTTP_MAX_CONNECTIONS", "9"),
            ("LAKEGATE_HTTP_TLS_CERTIFICATE", "/c.pem"),
            ("LAKEGATE_HTTP_TLS_KEY", "/k.pem"),
        ],
    );
    assert_eq!(findings, Vec::<String>::new());
    assert_eq!(config.lake_location, "s3://bucket/lake");
    assert_eq!(config.server.timeout.as_secs(), 7);
    assert_eq!(config.server.audit.mode.name(), "strict");
    assert_eq!(config.http.max_connections, 9);
    assert_eq!(config.http.tls.as_ref().unwrap().certificate, "/c.pem");
    assert_eq!(config.warnings, []);
    let origin = |section: &str, key: &str| {
        let settings = config.settings();
        settings.into_iter().find(|setting| (setting.section.as_str(), setting.key) == (section, key)).unwrap().origin
    };
    assert_eq!(
        origin("server", "timeout_seconds"),
        ValueOrigin::Variable("LAKEGATE_SERVER_TIMEOUT_SECONDS".to_owned())
    );
    assert_eq!(origin("http.tls", "key"), ValueOrigin::Variable("LAKEGATE_HTTP_TLS_KEY".to_owned()));
    assert_eq!(origin("server", "listen"), ValueOrigin::Default);
    let (config, _) = read(FILE, &[]);
    assert_eq!(config.settings().iter().filter(|setting| setting.origin == ValueOrigin::File).count(), 2);
}

/// A variable that overrides an invalid value in the file hides that fault; an invalid variable is itself a fault.
#[test]
fn a_variable_is_checked_like_the_file_and_named_in_the_fault() {
    let (config, findings) = read(
        "[lake]\nlocation = \"lake/\"\n[server]\ntimeout_seconds = \"soon\"\n",
        &[("LAKEGATE_SERVER_TIMEOUT_SECONDS", "5")],
    );
    assert_eq!((config.server.timeout.as_secs(), findings), (5, vec![]));
    for (name, value, fault) in [
        (
            "LAKEGATE_SERVER_TIMEOUT_SECONDS",
            "+5",
            "LAKEGATE_SERVER_TIMEOUT_SECONDS: `timeout_seconds` in [server] must be a whole number from 1 to 86400, not `+5`",
        ),
        (
            "LAKEGATE_SERVER_TIMEOUT_SECONDS",
            "",
            "LAKEGATE_SERVER_TIMEOUT_SECONDS: `timeout_seconds` in [server] must be a whole number from 1 to 86400, not ``",
        ),
        (
            "LAKEGATE_SERVER_LISTEN",
            "here",
            "LAKEGATE_SERVER_LISTEN: `here` is not an address and a port; write it like `127.0.0.1:8080`",
        ),
        (
            "LAKEGATE_ACCESS_STORE",
            "x",
            "LAKEGATE_ACCESS_STORE: `x` is not an access store; write `sqlite:` and a path, such as `sqlite:access.db`",
        ),
        (
            "LAKEGATE_HTTP_TLS_KEY",
            "k.pem",
            "LAKEGATE_HTTP_TLS_KEY: [http.tls] has no `certificate`; name a PEM file, such as `certificate = \"tls/chain.pem\"`",
        ),
    ] {
        assert_eq!(read(FILE, &[(name, value)]).1, [fault]);
    }
}

/// A lake can be named by a variable alone.
#[test]
fn a_variable_alone_is_enough() {
    assert!(read("", &[]).1[0].contains("there is no [lake] section"));
    assert_eq!(read("", &[("LAKEGATE_LAKE_LOCATION", "lake")]).1, Vec::<String>::new());
    assert!(read(FILE, &[("LAKEGATE_ADMIN_TLS_CERTIFICATE", "c"), ("LAKEGATE_ADMIN_TLS_KEY", "k")]).0.admin.is_some());
}

#[test]
fn a_variable_without_effect_is_a_warning_that_says_what_was_meant() {
    let near =
        "no key or option has this variable, so it has no effect; did you mean `LAKEGATE_SERVER_TIMEOUT_SECONDS`?";
    assert_eq!(
        warnings(&[("LAKEGATE_SERVER_TIMEOUT_SECOND", "5")]),
        [format!("LAKEGATE_SERVER_TIMEOUT_SECOND: {near}")]
    );
    assert!(warnings(&[("LAKEGATE_SERVER_TIMEOUT", "5")])[0].contains("`LAKEGATE_SERVER_TIMEOUT_SECONDS`"));
    assert!(warnings(&[("LAKEGATE_LISTN", "x")])[0].ends_with("did you mean `LAKEGATE_LISTEN`?"));
    assert_eq!(warnings(&[("LAKEGATE_COMPLETELY_ELSE", "x")]).len(), 1);
    // Such a variable enables nothing either.
    let (config, _) = read(FILE, &[("LAKEGATE_ADMIN_LISTN", "0.0.0.0:1"), ("LAKEGATE_HTTP_TLS_CERT", "x")]);
    assert_eq!((config.admin, config.http.tls, config.warnings.len()), (None, None, 2));
    // Variables of command options, of a Kubernetes service named `lakegate`, and of other programs.
    let fine =
        ["LAKEGATE_LISTEN", "LAKEGATE_ADMIN_LISTEN", "LAKEGATE_LOG", "LAKEGATE_PORT_8080_TCP", "LAKEGATE_SERVICE_HOST"];
    assert_eq!(warnings(&fine.map(|name| (name, "x"))), Vec::<String>::new());
    assert_eq!(warnings(&[("PATH", "x"), ("OTHER_SERVER_LISTEN", "x")]), Vec::<String>::new());
}

/// Policy is code: what protects rows and columns can only be changed in the project.
#[test]
fn policy_is_not_overridden() {
    let text = format!("{FILE}[tables.city]\nlocation = \"city/\"\nrow_filter = \"id = 1\"\n");
    let text = format!("{text}[masking]\nkey = \"env:LAKEGATE_PEPPER\"\n[access]\nsecret_attributes = [\"pin\"]\n");
    let variables = [
        ("LAKEGATE_TABLES_CITY_SHARED", "true"),
        ("LAKEGATE_TABLES_CITY_ROW_FILTER", "true"),
        ("LAKEGATE_MASKING_KEY", "env:OTHER"),
        ("LAKEGATE_TAGS_ADDRESS_MASK", "null"),
        ("LAKEGATE_ISSUERS_ACME_ISSUER", "https://elsewhere"),
        ("LAKEGATE_ACCESS_SECRET_ATTRIBUTES", ""),
        ("LAKEGATE_PEPPER", "the key itself"),
    ];
    let (config, findings) = read(&text, &variables);
    assert_eq!(findings, Vec::<String>::new());
    let (plain, _) = read(&text, &[]);
    assert_eq!(format!("{:?}", config.tables), format!("{:?}", plain.tables));
    assert_eq!(format!("{:?}", config.masking), format!("{:?}", plain.masking));
    assert_eq!((config.issuers.len(), config.secret_attributes), (0, plain.secret_attributes));
    assert_eq!(config.warnings.len(), 6, "{:?}", config.warnings);
    let said = config.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("because policy is code") && !said.contains("the key itself"), "{said}");
}

/// A key that is read but not listed would be missing in `lakegate config`.
#[test]
fn the_settings_are_all_keys_that_may_be_overridden() {
    let mut sections = BTreeSet::new();
    let (read_keys, listed) = loop {
        let text = sections.iter().map(|section| format!("[{section}]\n")).collect::<String>();
        let (config, _) = read(&text, &[]);
        let before = sections.len();
        sections.extend(config.read_keys.absent.iter().cloned());
        if sections.len() == before {
            let listed = config.settings().into_iter().map(|setting| (setting.section, setting.key));
            break (config.read_keys.keys.into_keys().collect::<BTreeSet<_>>(), listed.collect::<BTreeSet<_>>());
        }
    };
    assert!(read_keys.len() > 20);
    assert_eq!(read_keys, listed, "list every key of `project/` in `settings.rs`");
}

#[test]
fn secrets_are_not_shown() {
    let shown = |key: &str, text: &str| shown_value(key, Value::from(text)).as_str().unwrap().to_owned();
    for (key, text, wanted) in [
        ("password", "hunter2", "***"),
        ("api_token", "abc", "***"),
        ("secret", "abc", "***"),
        ("access_key", "abc", "***"),
        ("secret", "env:SECRET", "env:SECRET"),
        ("key", "tls/key.pem", "tls/key.pem"),
        ("store", "postgres://me:hunter2@db/lake", "postgres://***@db/lake"),
        ("location", "s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("jwks", "https://host/keys?code=hunter2", "https://host/keys?***"),
        ("certificate", "c.pem", "c.pem"),
    ] {
        assert_eq!(shown(key, text), wanted, "{key} = {text}");
    }
    let table = BTreeMap::from([("password".to_owned(), Value::from("x"))]);
    let table = shown_value("inner", Value::Table(table.into_iter().collect()));
    assert_eq!(table["password"].as_str(), Some("***"));
}
