//! Parses `[lake]`: the location of the files, and the connection settings of their object store.
//!
//! Stores the locations of credentials, never a credential. `lakegate_query::lake` opens the store.

use std::time::Duration;

use super::column::SecretLocation;
use super::reader::{Section, SpannedValue, TomlSource};

/// The connection settings of an object store. A lake in a local folder uses none of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LakeStore {
    /// The server's URL; `None` is the cloud provider's own.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// Whether the bucket is in the path instead of the host name; `None` derives it from the endpoint.
    pub path_style: Option<bool>,
    /// Whether unencrypted connections are allowed.
    pub allow_http: bool,
    /// Whether requests are sent without credentials.
    pub anonymous: bool,
    /// The id of an access key (`s3`).
    pub access_key_id: Option<SecretLocation>,
    /// The secret of an access key (`s3`).
    pub secret_access_key: Option<SecretLocation>,
    /// The token of temporary credentials (`s3`).
    pub session_token: Option<SecretLocation>,
    /// The JSON key of a service account (`gs`).
    pub service_account: Option<SecretLocation>,
    /// The storage account (`az`).
    pub account: Option<String>,
    /// The key of the storage account (`az`).
    pub account_key: Option<SecretLocation>,
    /// The time limit for establishing a connection.
    pub connect_timeout: Duration,
    /// The time limit for one request to the store, until the last byte of the response.
    pub timeout: Duration,
    /// The period for which requests that fail with a transient error are retried.
    pub retry: Duration,
}

impl Default for LakeStore {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            allow_http: false,
            anonymous: false,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            service_account: None,
            account: None,
            account_key: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            retry: Duration::from_secs(10),
        }
    }
}

impl LakeStore {
    /// The locations of secrets, by their keys.
    pub fn secrets(&self) -> [(&'static str, Option<&SecretLocation>); 5] {
        [
            ("access_key_id", self.access_key_id.as_ref()),
            ("secret_access_key", self.secret_access_key.as_ref()),
            ("session_token", self.session_token.as_ref()),
            ("service_account", self.service_account.as_ref()),
            ("account_key", self.account_key.as_ref()),
        ]
    }
}

/// Reads the section; returns the location and the connection settings.
pub(super) fn read(mut section: Section<'_, '_>) -> (Option<String>, LakeStore) {
    let default = LakeStore::default();
    let source = section.source();
    let is_given = section.has("location");
    let location = section.string("location");
    if !is_given {
        source.report(
            section.span(),
            "[lake] has no `location`",
            Some("say where the files are, such as `location = \"lake/\"` or `location = \"s3://bucket/lake\"`".into()),
        );
    }
    if let Some(location) = &location
        && let Some(fault) = location_fault(&location.value)
    {
        // Do not repeat the text: the invalid part may be a password.
        source.report(&location.span, format!("`location` in [lake] {fault}"), Some(LOCATION_HELP.into()));
    }
    let endpoint = section.string("endpoint");
    let region = section.string("region").map(|region| region.value);
    let path_style = section.boolean("path_style").map(|style| style.value);
    let allow_http = section.boolean("allow_http").is_some_and(|allowed| allowed.value);
    let anonymous = section.boolean("anonymous");
    let access_key_id = section.string("access_key_id").and_then(|text| secret(source, "access_key_id", text));
    let secret_access_key =
        section.string("secret_access_key").and_then(|text| secret(source, "secret_access_key", text));
    let session_token = section.string("session_token").and_then(|text| secret(source, "session_token", text));
    let service_account = section.string("service_account").and_then(|text| secret(source, "service_account", text));
    let account = section.string("account").map(|account| account.value);
    let account_key = section.string("account_key").and_then(|text| secret(source, "account_key", text));
    let connect_timeout = section.integer("connect_timeout_seconds", 1..=600);
    let timeout = section.integer("timeout_seconds", 1..=3_600);
    let retry = section.integer("retry_seconds", 0..=600);
    let endpoint = endpoint.and_then(|endpoint| match endpoint_fault(&endpoint.value, allow_http) {
        None => Some(endpoint.value),
        Some((fault, help)) => {
            source.report(&endpoint.span, format!("`endpoint` in [lake] {fault}"), Some(help.into()));
            None
        }
    });
    match (&access_key_id, &secret_access_key) {
        (Some(one), None) | (None, Some(one)) => {
            let help = "an access key has two parts: give `access_key_id` and `secret_access_key`, or neither";
            source.report(&one.span, "[lake] has one part of an access key", Some(help.into()));
        }
        (None, None) => {
            if let Some(token) = &session_token {
                let help = "give `access_key_id` and `secret_access_key` too";
                source.report(&token.span, "`session_token` in [lake] goes with an access key", Some(help.into()));
            }
        }
        _ => {}
    }
    let given = [&access_key_id, &service_account, &account_key].into_iter().any(Option::is_some);
    if let Some(anonymous) = anonymous.as_ref().filter(|anonymous| anonymous.value && given) {
        let help = "remove the credentials, or `anonymous`";
        source.report(&anonymous.span, "[lake] is `anonymous` and has credentials", Some(help.into()));
    }
    section.finish();
    let seconds =
        |spanned: Option<SpannedValue<u64>>, default| spanned.map_or(default, |it| Duration::from_secs(it.value));
    let value = |spanned: Option<SpannedValue<SecretLocation>>| spanned.map(|secret| secret.value);
    let store = LakeStore {
        endpoint,
        region,
        path_style,
        allow_http,
        anonymous: anonymous.is_some_and(|anonymous| anonymous.value),
        access_key_id: value(access_key_id),
        secret_access_key: value(secret_access_key),
        session_token: value(session_token),
        service_account: value(service_account),
        account,
        account_key: value(account_key),
        connect_timeout: seconds(connect_timeout, default.connect_timeout),
        timeout: seconds(timeout, default.timeout),
        retry: seconds(retry, default.retry),
    };
    (location.map(|location| location.value), store)
}

const LOCATION_HELP: &str = "write a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`";

/// Returns why a text is not a valid object store location, as the end of a sentence; `None` if valid. A local
/// folder is checked when it is opened.
pub fn location_fault(location: &str) -> Option<&'static str> {
    let (scheme, rest) = location.split_once("://")?;
    if scheme == "file" {
        return None;
    }
    if !["s3", "gs", "az"].contains(&scheme) {
        return Some("is of a kind that is not read");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|each| each.is_ascii_alphanumeric() || ".-_".contains(each));
    if bucket.contains('@') {
        return Some("has credentials in it, which belong in the environment or in a file");
    }
    if rest.contains(['?', '#']) {
        return Some("has a query or a fragment, which no place in a store has");
    }
    if !is_name(bucket) || bucket.contains("..") {
        return Some("names no bucket");
    }
    let segments = prefix.trim_end_matches('/').split('/').filter(|_| !prefix.is_empty());
    for segment in segments {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
        if segment.is_empty() || plain.contains(['/', '\\']) && plain != segment || matches!(plain.as_str(), "." | "..")
        {
            return Some("has empty segments, `.` or `..` in it");
        }
    }
    None
}

/// The fault of an endpoint URL, if any, and what to do.
fn endpoint_fault(endpoint: &str, allow_http: bool) -> Option<(&'static str, &'static str)> {
    const HELP: &str = "write it like `https://s3.example.org`";
    let Some((scheme, rest)) = endpoint.split_once("://") else { return Some(("is not a URL", HELP)) };
    if rest.is_empty() || !matches!(scheme, "http" | "https") {
        return Some(("is not a URL", HELP));
    }
    if rest.contains(['@', '?', '#']) {
        return Some(("has more in it than a host and a path", HELP));
    }
    let unencrypted = "is without encryption";
    (scheme == "http" && !allow_http)
        .then_some((unencrypted, "use `https://`, or say `allow_http = true` where the network is your own"))
}

/// Parses the location of a secret. The finding does not repeat the text, because it may be the secret itself.
fn secret(source: &TomlSource<'_>, key: &str, text: SpannedValue<String>) -> Option<SpannedValue<SecretLocation>> {
    let SpannedValue { value, span } = text;
    match SecretLocation::parse(&value) {
        Some(value) => Some(SpannedValue { value, span }),
        None => {
            let help = "write `env:` and the name of an environment variable, or `file:` and a path";
            source.report(
                &span,
                format!("`{key}` in [lake] must say where it is kept, not what it is"),
                Some(help.into()),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (LakeStore, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\n{text}"), &Default::default());
        (config.lake_store, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_store_needs_no_more_than_its_location() {
        assert_eq!(read("location = \"s3://bucket/a/b\""), (LakeStore::default(), vec![]));
        assert_eq!(read("location = \"lake/\""), (LakeStore::default(), vec![]));
    }

    #[test]
    fn credentials_are_named_and_not_written() {
        let text = "location = \"s3://b\"\naccess_key_id = \"env:KEY_ID\"\nsecret_access_key = \"file:s3.secret\"";
        let (store, findings) = read(text);
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(store.access_key_id, Some(SecretLocation::Env("KEY_ID".to_owned())));
        assert_eq!(store.secret_access_key, Some(SecretLocation::File("s3.secret".to_owned())));
        let (_, findings) = read("location = \"s3://b\"\naccess_key_id = \"AKIA123\"\nsecret_access_key = \"hunter2\"");
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|finding| !finding.contains("AKIA123") && !finding.contains("hunter2")));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, said) in [
            ("access_key_id = \"env:A\"", "one part of an access key"),
            ("session_token = \"env:A\"", "goes with an access key"),
            ("anonymous = true\naccount_key = \"env:A\"", "`anonymous` and has credentials"),
            ("endpoint = \"http://minio:9000\"", "without encryption"),
            ("endpoint = \"minio:9000\"", "is not a URL"),
            ("endpoint = \"https://me:pw@minio\"", "more in it than a host"),
        ] {
            let (_, findings) = read(&format!("location = \"s3://b\"\n{text}"));
            assert!(findings.len() == 1 && findings[0].contains(said), "{text}: {findings:?}");
            assert!(!findings[0].contains("me:pw"), "{findings:?}");
        }
        let allowed = "location = \"s3://b\"\nendpoint = \"http://minio:9000\"\nallow_http = true";
        assert_eq!(read(allowed).1, Vec::<String>::new());
    }

    #[test]
    fn a_location_stays_where_it_says() {
        for good in ["lake", "../lake", "file:///lake", "s3://bucket", "gs://bucket/", "az://c/x/y%20z/a..b"] {
            assert_eq!(location_fault(good), None, "{good}");
        }
        for bad in [
            "s3://",
            "s3:///x",
            "s3://b/../x",
            "s3://b/x/..",
            "s3://b/%2e%2E/x",
            "s3://b/x%2f..%2fy",
            "s3://b/./x",
            "s3://b//x",
            "s3://b/x?y=z",
            "s3://key:secret@b/x",
            "ftp://b/x",
            "S3://b",
            "s3://../x",
            "s3://b/.%2e/x",
        ] {
            assert!(location_fault(bad).is_some(), "{bad}");
        }
        let (_, findings) = read("location = \"s3://key:secret@b/x\"");
        assert!(findings[0].contains("has credentials in it") && !findings[0].contains("secret"), "{findings:?}");
    }
}
