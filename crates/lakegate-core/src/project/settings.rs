//! Lists the effective configuration: every key that can be overridden, its value, and its origin.
//!
//! Keys that cannot be overridden are policy; they are always as in the file, and are not listed.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::{Table, Value};

use super::column::SecretLocation;
use super::config::Config;
use super::finding::Finding;
use super::http::Tls;
use super::variables::{OverridePrefix, ValueOrigin, Variables};
use crate::limits::Limit;

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The section, as in `http.tls`.
    pub section: String,
    /// The key.
    pub key: &'static str,
    /// The value, with secrets as `***`; `None` if there is none.
    pub value: Option<Value>,
    /// The origin of the value.
    pub origin: ValueOrigin,
}

const SECRET: &str = "***";

/// Top-level keys of policy, which only the file can set. `[access] secret_attributes` is policy too.
const POLICY: [&str; 4] = ["issuers", "tables", "tags", "masking"];

impl Config {
    /// Every key that can be overridden, in the order of the sections.
    pub fn settings(&self) -> Vec<Setting> {
        let Config { server, limits, reload, cache, formats, observe, docs, http, admin, .. } = self;
        let mut list = List { config: self, section: "", settings: Vec::new() };
        let store = &self.lake_store;
        let secret = |secret: &Option<SecretLocation>| secret.as_ref().map(|secret| secret.to_string().into());
        list.section("lake")
            .text("location", &self.lake_location)
            .add("endpoint", store.endpoint.as_deref().map(Value::from))
            .add("region", store.region.as_deref().map(Value::from))
            .add("path_style", store.path_style.map(Value::from))
            .add("allow_http", Some(store.allow_http.into()))
            .add("anonymous", Some(store.anonymous.into()))
            .add("access_key_id", secret(&store.access_key_id))
            .add("secret_access_key", secret(&store.secret_access_key))
            .add("session_token", secret(&store.session_token))
            .add("service_account", secret(&store.service_account))
            .add("account", store.account.as_deref().map(Value::from))
            .add("account_key", secret(&store.account_key))
            .seconds("connect_timeout_seconds", store.connect_timeout)
            .seconds("timeout_seconds", store.timeout)
            .seconds("retry_seconds", store.retry);
        list.section("access").text("store", &self.access_store);
        list.section("server")
            .text("listen", &server.listen)
            .add("base_path", server.base_path.as_deref().map(Value::from))
            .seconds("timeout_seconds", server.timeout)
            .count("max_body_bytes", server.max_body_bytes as u64)
            .count("max_concurrent_queries", server.max_concurrent_queries as u64)
            .count("memory_limit_mb", server.memory_limit_bytes as u64 >> 20)
            .count("cache_limit_mb", server.cache_limit_bytes as u64 >> 20)
            .text("audit", server.audit.mode.name())
            .text("audit_folder", &server.audit.folder)
            .count("audit_max_mb", server.audit.max_bytes >> 20)
            .count("audit_keep", server.audit.keep as u64);
        let number = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok()).map(Value::Integer);
        let section = list.section("limits");
        for limit in Limit::ALL {
            section.add(limit.name(), number(limits.limits.get(*limit)));
        }
        section
            .add("max_waiting", number(limits.max_waiting.map(|count| count as u64)))
            .add("max_waiting_each", number(limits.max_waiting_each.map(|count| count as u64)))
            .add("spill_mb", number(limits.spill_mb))
            .add("spill_folder", limits.spill_folder.as_deref().map(Value::from));
        let seconds = |every: Option<Duration>| every.unwrap_or_default();
        list.section("reload")
            .seconds("project_seconds", seconds(reload.project))
            .seconds("tables_seconds", seconds(reload.tables));
        list.section("cache")
            .count("results_mb", cache.results_bytes >> 20)
            .count("largest_kb", cache.largest_bytes >> 10);
        list.section("formats").count("xlsx_max_rows", formats.xlsx_max_rows.into());
        list.section("docs").add("serve", Some(docs.serve.into()));
        let roles =
            |roles: &[String]| Some(roles.iter().map(|role| Value::from(role.as_str())).collect::<Vec<_>>().into());
        list.section("observe")
            .text("log", observe.log.name())
            .add("slow_query_ms", observe.slow_query.map(|slow| Value::Integer(slow.as_millis() as i64)))
            .add("server_timing_for", roles(&observe.server_timing_for))
            .add("metrics_for", roles(&observe.metrics_for));
        let traces = observe.traces.as_ref();
        list.section("observe.traces")
            .add("endpoint", traces.map(|traces| traces.endpoint.as_str().into()))
            .add("sample_ratio", traces.map(|traces| traces.sample_ratio.into()))
            .add("service_name", traces.map(|traces| traces.service_name.as_str().into()));
        list.section("http")
            .seconds("header_timeout_seconds", http.header_timeout)
            .seconds("keep_alive_seconds", http.keep_alive)
            .seconds("write_timeout_seconds", http.write_timeout)
            .count("max_connections", http.max_connections as u64)
            .count("max_url_bytes", http.max_url_bytes as u64)
            .count("max_header_bytes", http.max_header_bytes as u64)
            .count("max_streams", http.max_streams.into())
            .seconds("drain_delay_seconds", http.drain_delay)
            .seconds("drain_seconds", http.drain);
        list.section("http.tls").tls(http.tls.as_ref());
        list.section("admin").add("listen", admin.as_ref().map(|admin| admin.listen.as_str().into()));
        list.section("admin.tls").tls(admin.as_ref().and_then(|admin| admin.tls.as_ref()));
        list.settings
    }
}

/// The settings so far, and the current section.
struct List<'c> {
    config: &'c Config,
    section: &'static str,
    settings: Vec<Setting>,
}

impl List<'_> {
    fn section(&mut self, section: &'static str) -> &mut Self {
        self.section = section;
        self
    }

    fn add(&mut self, key: &'static str, value: Option<Value>) -> &mut Self {
        let origin =
            self.config.read_keys.keys.get(&(self.section.to_owned(), key)).cloned().unwrap_or(ValueOrigin::Default);
        let value = value.map(|value| shown_value(key, value));
        self.settings.push(Setting { section: self.section.to_owned(), key, value, origin });
        self
    }

    fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.add(key, Some(value.into()))
    }

    fn count(&mut self, key: &'static str, value: u64) -> &mut Self {
        self.add(key, Some(Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))))
    }

    fn seconds(&mut self, key: &'static str, value: Duration) -> &mut Self {
        self.count(key, value.as_secs())
    }

    fn tls(&mut self, tls: Option<&Tls>) -> &mut Self {
        self.add("certificate", tls.map(|tls| tls.certificate.as_str().into()))
            .add("key", tls.map(|tls| tls.key.as_str().into()))
            .add("refresh_seconds", tls.map(|tls| Value::Integer(tls.refresh.as_secs() as i64)))
    }
}

/// The policy of a project's text, which no variable overrides, with secrets as `***`. Empty if the text is not TOML,
/// which [`Project::read`](super::Project::read) reports.
pub fn policy_sections(text: &str) -> Table {
    let file = text.parse::<Table>().unwrap_or_default();
    let sections = file.into_iter().filter_map(|(section, value)| match value {
        Value::Table(mut access) if section == "access" => {
            access.retain(|key, _| key == "secret_attributes");
            (!access.is_empty()).then(|| (section, access.into()))
        }
        value if POLICY.contains(&section.as_str()) => Some((section, value)),
        _ => None,
    });
    sections.map(|(section, value)| (section.clone(), shown_value(&section, value))).collect()
}

/// A value without secrets: hides the values of keys that hold a secret, and the secret parts of URLs.
pub fn shown_value(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if holds_secret(key) && !is_location(&text) => SECRET.into(),
        Value::String(text) => without_credentials(&text).into(),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| shown_value(key, item)).collect()),
        Value::Table(table) => {
            let shown = table.into_iter().map(|(key, value)| {
                let value = shown_value(&key, value);
                (key, value)
            });
            Value::Table(shown.collect())
        }
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) if holds_secret(key) => SECRET.into(),
        other => other,
    }
}

/// Whether the key's value is itself a secret. A plain `key` names a file or a variable.
fn holds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = key.split(['_', '-']).collect::<Vec<_>>();
    ["password", "passphrase", "secret", "token", "credential", "credentials"]
        .iter()
        .any(|secret| words.contains(secret))
        && key != "secret_attributes"
        || key.ends_with("_key")
}

/// Whether the text is the location of a secret rather than a secret.
fn is_location(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// A URL with its credentials and its query hidden.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{SECRET}@{host}"),
        None => authority.to_owned(),
    };
    let query = query.map_or_else(String::new, |_| format!("?{SECRET}"));
    format!("{scheme}://{authority}{path}{query}")
}

/// The findings for variables that have no effect.
pub(super) fn unknown_variables(config: &Config, variables: &Variables) -> Vec<Finding> {
    let root = OverridePrefix::root();
    let name_of = |setting: Setting| {
        let section = setting.section.split('.').fold(root.clone(), |overrides, part| overrides.below(part));
        section.variable(setting.key)
    };
    let names = config.settings().into_iter().map(name_of).collect::<BTreeSet<_>>();
    let of_lake = config.lake_store.secrets().map(|(_, secret)| secret);
    let secrets = config.masking.key.as_ref().into_iter().chain(of_lake.into_iter().flatten());
    let of_secrets = secrets.filter_map(|secret| match secret {
        SecretLocation::Env(name) => Some(name.as_str()),
        SecretLocation::File(_) => None,
    });
    variables.unknown(&of_secrets.collect::<Vec<_>>(), &names)
}
