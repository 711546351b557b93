//! Parses `[observe]`: logging, metrics and traces for operators. Callers get none of it, except those with a role that
//! the project names.

use std::time::Duration;

use super::reader::{Section, SpannedValue};
use crate::access::name::NameKind;

/// `[observe]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observe {
    /// The form of log lines.
    pub log: LogForm,
    /// The duration from which a query is logged as slow; `None` logs none.
    pub slow_query: Option<Duration>,
    /// Roles that get the `Server-Timing` header, with the time of each stage.
    pub server_timing_for: Vec<String>,
    /// Roles that may read the metrics, in addition to admin tokens.
    pub metrics_for: Vec<String>,
    /// The export of traces.
    pub traces: Option<Traces>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// `[observe.traces]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The URL of a collector that accepts OTLP over HTTP.
    pub endpoint: String,
    /// The fraction of requests that is traced, from 0 to 1.
    pub sample_ratio: f64,
    /// The name under which a collector shows them.
    pub service_name: String,
}

impl LogForm {
    /// The name in a project.
    pub fn name(self) -> &'static str {
        match self {
            LogForm::Text => "text",
            LogForm::Json => "json",
        }
    }
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Observe {
    let source = section.source();
    let log = section.string("log").and_then(|log| match log.value.as_str() {
        "text" => Some(LogForm::Text),
        "json" => Some(LogForm::Json),
        other => {
            source.report(
                &log.span,
                format!("`{other}` is not a form of the log"),
                Some("use `text` or `json`".into()),
            );
            None
        }
    });
    let slow_query = section.integer("slow_query_ms", 1..=86_400_000);
    let timing = section.strings("server_timing_for");
    let server_timing_for = roles(&section, timing);
    let metrics = section.strings("metrics_for");
    let metrics_for = roles(&section, metrics);
    let traces = section.section("traces").and_then(read_traces);
    section.finish();
    Observe {
        log: log.unwrap_or_default(),
        slow_query: slow_query.map(|ms| Duration::from_millis(ms.value)),
        server_timing_for,
        metrics_for,
        traces,
    }
}

fn roles(section: &Section<'_, '_>, roles: Option<SpannedValue<Vec<SpannedValue<String>>>>) -> Vec<String> {
    let roles = roles.map(|roles| roles.value).unwrap_or_default();
    for role in &roles {
        if let Err(fault) = NameKind::Role.check(&role.value) {
            section.source().report(&role.span, fault.to_string(), None);
        }
    }
    roles.into_iter().map(|role| role.value).collect()
}

fn read_traces(mut section: Section<'_, '_>) -> Option<Traces> {
    let source = section.source();
    let has_endpoint = section.has("endpoint");
    let endpoint = section.string("endpoint").and_then(|endpoint| match endpoint_fault(&endpoint.value) {
        None => Some(endpoint.value),
        Some(fault) => {
            let help = "write it like `http://127.0.0.1:4318/v1/traces`";
            source.report(&endpoint.span, format!("`endpoint` {fault}"), Some(help.into()));
            None
        }
    });
    let sample_ratio = section.number("sample_ratio", 0.0..=1.0);
    let service_name = section.string("service_name").and_then(|name| {
        let fits = (1..=64).contains(&name.value.len()) && name.value.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            source.report(&name.span, "`service_name` must have 1 to 64 visible ASCII characters", None);
        }
        fits.then_some(name.value)
    });
    // A variable that no key reads enables nothing.
    if section.is_given() && !has_endpoint {
        let help = "say where the collector is, such as `endpoint = \"http://127.0.0.1:4318/v1/traces\"`";
        source.report(section.span(), "[observe.traces] has no `endpoint`", Some(help.into()));
    }
    section.finish();
    Some(Traces {
        endpoint: endpoint?,
        sample_ratio: sample_ratio.map_or(1.0, |ratio| ratio.value),
        service_name: service_name.unwrap_or_else(|| "lakegate".to_owned()),
    })
}

/// Returns why the URL of a collector is invalid; `None` if valid. It must not contain a secret, because the file
/// is in version control.
fn endpoint_fault(endpoint: &str) -> Option<&'static str> {
    let Some(rest) = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://")) else {
        return Some("must begin with `http://` or `https://`");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Some(
            "must not hold a user or a password; put what the collector asks for into `OTEL_EXPORTER_OTLP_HEADERS`",
        );
    }
    if rest.contains(['?', '#']) {
        return Some("must have no query");
    }
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    (authority.is_empty() || authority.starts_with(':') || !is_plain).then_some("is no address of a collector")
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (Observe, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.observe, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_on_unless_it_is_said() {
        assert_eq!(read(""), (Observe::default(), vec![]));
        assert_eq!(read("[observe]"), (Observe::default(), vec![]));
    }

    #[test]
    fn every_key_is_taken() {
        let (observe, findings) = read(
            "[observe]\nlog = \"json\"\nslow_query_ms = 250\nserver_timing_for = [\"operator\"]\nmetrics_for = [\"monitor\"]\n\
             [observe.traces]\nendpoint = \"https://otel.example/v1/traces\"\nsample_ratio = 0.25\nservice_name = \"lake-eu\"",
        );
        assert_eq!(findings, Vec::<String>::new());
        let traces = Traces {
            endpoint: "https://otel.example/v1/traces".to_owned(),
            sample_ratio: 0.25,
            service_name: "lake-eu".to_owned(),
        };
        let expected = Observe {
            log: LogForm::Json,
            slow_query: Some(Duration::from_millis(250)),
            server_timing_for: vec!["operator".to_owned()],
            metrics_for: vec!["monitor".to_owned()],
            traces: Some(traces),
        };
        assert_eq!(observe, expected);
    }

    #[test]
    fn a_whole_number_is_a_ratio_too() {
        let ratio = |text: &str| {
            let traces =
                format!("[observe.traces]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"\nsample_ratio = {text}");
            let (observe, findings) = read(&traces);
            (observe.traces.map(|traces| traces.sample_ratio), findings.len())
        };
        assert_eq!(ratio("0"), (Some(0.0), 0));
        assert_eq!(ratio("1"), (Some(1.0), 0));
        for wrong in ["1.5", "-0.1", "nan", "inf", "\"1\""] {
            assert_eq!(ratio(wrong).1, 1, "{wrong}");
        }
    }

    #[test]
    fn faults_are_found_at_their_place() {
        for (text, expected) in [
            ("[observe]\nlog = \"xml\"", "lakegate.toml:4:7: `xml` is not a form of the log; use `text` or `json`"),
            ("[observe]\nlogs = \"json\"", "unknown key `logs` in [observe]"),
            ("[observe]\nslow_query_ms = 0", "slow_query_ms"),
            ("[observe]\nmetrics_for = [\"not a role\"]", "lakegate.toml:4:16"),
            ("[observe.traces]", "[observe.traces] has no `endpoint`"),
            ("[observe.traces]\nendpoint = \"127.0.0.1:4318\"", "must begin with `http://` or `https://`"),
            ("[observe.traces]\nendpoint = \"http://\"", "is no address of a collector"),
            ("[observe.traces]\nendpoint = \"http://:4318/v1\"", "is no address of a collector"),
            ("[observe.traces]\nendpoint = \"http://a:b@c/v1\"", "must not hold a user or a password"),
            ("[observe.traces]\nendpoint = \"http://c/v1?key=b\"", "must have no query"),
            ("[observe.traces]\nendpoint = \"http://c/\"\nservice_name = \"\"", "`service_name` must have 1 to 64"),
        ] {
            let (_, findings) = read(text);
            assert!(findings.len() == 1 && findings[0].contains(expected), "{text}: {findings:?}");
        }
    }
}
