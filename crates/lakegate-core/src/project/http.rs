//! Parses `[http]`: the limits of connections, TLS, and the shutdown of the server.
//!
//! `[server]` limits the time of a query.

use std::time::Duration;

use super::reader::{Section, SpannedValue};

/// Default interval of checks for changed certificate files.
const TLS_REFRESH: Duration = Duration::from_secs(30);

/// The longest URL that the HTTP/1.1 parser accepts. Text of usual length fits in any encoding.
const MAX_URL_BYTES: usize = 65_534;

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The time limit for a TLS handshake, and for the head of a request.
    pub header_timeout: Duration,
    /// The time after which an idle connection is closed.
    pub keep_alive: Duration,
    /// The time limit for a client that reads nothing of an available response.
    pub write_timeout: Duration,
    /// Maximum number of connections of one listener; further ones wait.
    pub max_connections: usize,
    /// Maximum length of a URL, in bytes.
    pub max_url_bytes: usize,
    /// Maximum size of all headers of a request together, names and values, in bytes.
    pub max_header_bytes: usize,
    /// Maximum number of concurrent requests on one HTTP/2 connection.
    pub max_streams: u32,
    /// The time for which the server still accepts connections after it is asked to stop.
    pub drain_delay: Duration,
    /// The time that running requests get after that.
    pub drain: Duration,
    /// The certificate; `None` serves plain HTTP.
    pub tls: Option<Tls>,
}

/// `[http.tls]` and `[admin.tls]`: paths are relative to the project folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and its intermediate certificates, in PEM.
    pub certificate: String,
    /// Its private key, in PEM.
    pub key: String,
    /// The interval of checks for changed files.
    pub refresh: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            max_connections: 4_096,
            max_url_bytes: MAX_URL_BYTES,
            max_header_bytes: 32 << 10,
            max_streams: 128,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(30),
            tls: None,
        }
    }
}

pub(super) fn read(mut section: Section<'_, '_>) -> Http {
    let default = Http::default();
    let header_timeout = section.integer("header_timeout_seconds", 1..=86_400);
    let keep_alive = section.integer("keep_alive_seconds", 1..=86_400);
    let write_timeout = section.integer("write_timeout_seconds", 1..=86_400);
    let max_connections = section.integer("max_connections", 1..=1_000_000);
    let max_url_bytes = section.integer("max_url_bytes", 256..=MAX_URL_BYTES as u64);
    let max_header_bytes = section.integer("max_header_bytes", 1_024..=(1 << 20));
    let max_streams = section.integer("max_streams", 1..=10_000);
    let drain_delay = section.integer("drain_delay_seconds", 0..=86_400);
    let drain = section.integer("drain_seconds", 0..=86_400);
    let tls = section.section("tls").and_then(read_tls);
    section.finish();
    let seconds =
        |spanned: Option<SpannedValue<u64>>, default| spanned.map_or(default, |read| Duration::from_secs(read.value));
    let count = |spanned: Option<SpannedValue<u64>>, default| spanned.map_or(default, |count| count.value as usize);
    Http {
        header_timeout: seconds(header_timeout, default.header_timeout),
        keep_alive: seconds(keep_alive, default.keep_alive),
        write_timeout: seconds(write_timeout, default.write_timeout),
        max_connections: count(max_connections, default.max_connections),
        max_url_bytes: count(max_url_bytes, default.max_url_bytes),
        max_header_bytes: count(max_header_bytes, default.max_header_bytes),
        max_streams: max_streams.map_or(default.max_streams, |count| count.value as u32),
        drain_delay: seconds(drain_delay, default.drain_delay),
        drain: seconds(drain, default.drain),
        tls,
    }
}

/// A certificate without its key is a fault; it must not result in a server without encryption.
pub(super) fn read_tls(mut section: Section<'_, '_>) -> Option<Tls> {
    let has = [section.has("certificate"), section.has("key")];
    let certificate = section.string("certificate");
    let key = section.string("key");
    let refresh = section.integer("refresh_seconds", 1..=86_400);
    if !section.is_given() {
        section.finish();
        return None;
    }
    let source = section.source();
    let file = |has: bool, name: &str, path: Option<SpannedValue<String>>, example: &str| {
        let help = || Some(format!("name a PEM file, such as `{name} = \"{example}\"`"));
        if !has {
            source.report(section.span(), format!("{} has no `{name}`", section.name()), help());
        }
        let path = path?;
        let names_a_file = !path.value.trim().is_empty() && !path.value.contains('\0');
        if !names_a_file {
            source.report(&path.span, format!("`{name}` in {} names no file", section.name()), help());
        }
        names_a_file.then_some(path.value)
    };
    let certificate = file(has[0], "certificate", certificate, "tls/chain.pem");
    let key = file(has[1], "key", key, "tls/key.pem");
    section.finish();
    let refresh = refresh.map_or(TLS_REFRESH, |seconds| Duration::from_secs(seconds.value));
    Some(Tls { certificate: certificate?, key: key?, refresh })
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (Http, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.http, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn everything_has_a_default_and_can_be_said() {
        assert_eq!(read(""), (Http::default(), vec![]));
        let (http, findings) = read(
            "[http]\nheader_timeout_seconds = 1\nkeep_alive_seconds = 2\nwrite_timeout_seconds = 3\n\
             max_connections = 4\nmax_url_bytes = 500\nmax_header_bytes = 6000\nmax_streams = 7\n\
             drain_delay_seconds = 8\ndrain_seconds = 9\n\
             [http.tls]\ncertificate = \"c.pem\"\nkey = \"/k.pem\"\nrefresh_seconds = 10\n",
        );
        assert_eq!(findings, Vec::<String>::new());
        let seconds = Duration::from_secs;
        let tls = Tls { certificate: "c.pem".into(), key: "/k.pem".into(), refresh: seconds(10) };
        let wanted = Http {
            header_timeout: seconds(1),
            keep_alive: seconds(2),
            write_timeout: seconds(3),
            max_connections: 4,
            max_url_bytes: 500,
            max_header_bytes: 6_000,
            max_streams: 7,
            drain_delay: seconds(8),
            drain: seconds(9),
            tls: Some(tls),
        };
        assert_eq!(http, wanted);
    }

    #[test]
    fn half_a_certificate_is_a_fault_and_not_a_plain_server() {
        let (_, findings) = read("[http.tls]\ncertificate = \"c.pem\"\n");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("[http.tls] has no `key`; name a PEM file"), "{findings:?}");
        let (http, findings) = read("[http.tls]\n");
        assert_eq!((http.tls, findings.len()), (None, 2));
        let (_, findings) = read("[http.tls]\ncertificate = \" \"\nkey = \"k\"\n");
        assert!(findings[0].contains("`certificate` in [http.tls] names no file"), "{findings:?}");
    }

    #[test]
    fn bounds_are_bounded() {
        let (_, findings) = read("[http]\nmax_url_bytes = 100000\nheader_timeout_seconds = 0\nmax_conections = 1\n");
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().any(|finding| finding.contains("did you mean `max_connections`?")), "{findings:?}");
    }
}
