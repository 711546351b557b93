//! Parses `[limits]` of `lakegate.toml` and of an endpoint's front matter. Both use the same names; some exist only for
//! the server.
//!
//! [`crate::limits`] combines the limits of server, endpoint and grants.

use super::config::Server;
use super::reader::{Section, SpannedValue};
use crate::limits::{Limit, Limits};

/// `[limits]` of `lakegate.toml`.
#[derive(Clone, Debug, Default)]
pub struct ServerLimits {
    /// The limits of every call.
    pub limits: Limits,
    /// Maximum number of waiting queries; by default 16 for each running query that is allowed.
    pub max_waiting: Option<usize>,
    /// Maximum number of waiting queries of one principal; by default a quarter of all.
    pub max_waiting_each: Option<usize>,
    /// Maximum size of all spill files together, in megabytes.
    pub spill_mb: Option<u64>,
    /// The folder for spill files; a relative path starts at the project folder. By default the system's temporary
    /// folder.
    pub spill_folder: Option<String>,
}

/// `[limits]` of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointLimits {
    /// The limits of its calls.
    pub limits: Limits,
    /// The handling of a result with more rows than `max_rows`.
    pub on_max_rows: OnMaxRows,
}

/// The handling of a result with too many rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnMaxRows {
    /// Refuses the request.
    #[default]
    Refuse,
    /// Truncates the result, and reports it in a response header.
    Truncate,
}

/// Default number of waiting queries for each running query that is allowed.
const WAITING_FOR_EACH: usize = 16;
/// Default size of all spill files, in megabytes.
const SPILL_MB: u64 = 10 << 10;
/// Minimum of a query's default share of memory, in megabytes.
const LEAST_SHARE_MB: u64 = 16;

impl ServerLimits {
    /// The limits of every call, with the defaults: the shorter of both timeouts, a third of the memory for one query,
    /// and half of the slots for one principal.
    pub fn for_calls(&self, server: &Server) -> Limits {
        let mut limits = self.limits.clone();
        let timeout = server.timeout.as_secs().max(1);
        limits.timeout_seconds = Some(limits.timeout_seconds.map_or(timeout, |own| own.min(timeout)));
        let all = (server.memory_limit_bytes as u64) >> 20;
        let share = limits.memory_mb.unwrap_or_else(|| (all / 3).max(LEAST_SHARE_MB));
        limits.memory_mb = Some(share.min(all).max(1));
        let slots = server.max_concurrent_queries as u64;
        limits.max_concurrent = Some(limits.max_concurrent.unwrap_or_else(|| slots.div_ceil(2)).min(slots).max(1));
        limits
    }

    /// Maximum number of waiting queries, in total and of one principal.
    pub fn waiting(&self, server: &Server) -> (usize, usize) {
        let all = self.max_waiting.unwrap_or_else(|| server.max_concurrent_queries.saturating_mul(WAITING_FOR_EACH));
        (all, self.max_waiting_each.unwrap_or_else(|| all.div_ceil(4)).min(all))
    }

    /// Maximum size of all spill files together, in bytes.
    pub fn spill_bytes(&self) -> u64 {
        self.spill_mb.unwrap_or(SPILL_MB).saturating_mul(1 << 20)
    }
}

impl OnMaxRows {
    /// The name in endpoint files.
    pub fn name(self) -> &'static str {
        match self {
            OnMaxRows::Refuse => "refuse",
            OnMaxRows::Truncate => "truncate",
        }
    }
}

pub(super) fn read_server(mut section: Section<'_, '_>) -> ServerLimits {
    let limits = read_limits(&mut section);
    let max_waiting = section.integer("max_waiting", 1..=1_000_000).map(|count| count.value as usize);
    let max_waiting_each = section.integer("max_waiting_each", 1..=1_000_000).map(|count| count.value as usize);
    let spill_mb = section.integer("spill_mb", 0..=(1 << 30)).map(|megabytes| megabytes.value);
    let source = section.source();
    let spill_folder = section.string("spill_folder").and_then(|folder| {
        let is_named = !folder.value.trim().is_empty() && !folder.value.contains('\0');
        if !is_named {
            source.report(&folder.span, "`spill_folder` names no folder", Some("write a path such as `spill`".into()));
        }
        is_named.then_some(folder.value)
    });
    section.finish();
    ServerLimits { limits, max_waiting, max_waiting_each, spill_mb, spill_folder }
}

pub(super) fn read_endpoint(mut section: Section<'_, '_>) -> EndpointLimits {
    let limits = read_limits(&mut section);
    let source = section.source();
    let on_max_rows = section.string("on_max_rows").and_then(|choice| {
        let known = [OnMaxRows::Refuse, OnMaxRows::Truncate].into_iter().find(|known| known.name() == choice.value);
        if known.is_none() {
            let message = format!("`{}` is not what can happen to an answer with too many rows", choice.value);
            source.report(&choice.span, message, Some("use `refuse` or `truncate`".into()));
        }
        known
    });
    section.finish();
    EndpointLimits { limits, on_max_rows: on_max_rows.unwrap_or_default() }
}

/// Reads the limits that server, endpoints and grants have in common.
pub(super) fn read_limits(section: &mut Section<'_, '_>) -> Limits {
    let most = |limit: Limit| 1..=limit.most();
    let value = |spanned: Option<SpannedValue<u64>>| spanned.map(|spanned| spanned.value);
    let burst = section.integer("request_burst", most(Limit::RequestBurst));
    let limits = Limits {
        timeout_seconds: value(section.integer("timeout_seconds", most(Limit::TimeoutSeconds))),
        memory_mb: value(section.integer("memory_mb", most(Limit::MemoryMb))),
        max_rows: value(section.integer("max_rows", most(Limit::MaxRows))),
        max_result_mb: value(section.integer("max_result_mb", most(Limit::MaxResultMb))),
        max_scan_mb: value(section.integer("max_scan_mb", most(Limit::MaxScanMb))),
        max_scan_rows: value(section.integer("max_scan_rows", most(Limit::MaxScanRows))),
        max_concurrent: value(section.integer("max_concurrent", most(Limit::MaxConcurrent))),
        requests_per_second: value(section.integer("requests_per_second", most(Limit::RequestsPerSecond))),
        request_burst: burst.as_ref().map(|burst| burst.value),
        requests_per_day: value(section.integer("requests_per_day", most(Limit::RequestsPerDay))),
    };
    if let (Some(burst), None) = (burst, limits.requests_per_second)
        && !section.has("requests_per_second")
    {
        let help = "say `requests_per_second` too, or remove it";
        section.source().report(&burst.span, "`request_burst` stands without `requests_per_second`", Some(help.into()));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::super::{Project, ProjectFiles};
    use super::*;

    fn read(limits: &str, front_matter: &str) -> (Project, Vec<String>) {
        let endpoint = format!("/*---\nsummary = \"s\"\n{front_matter}---*/\nSELECT 1");
        let files = ProjectFiles {
            config: format!("[lake]\nlocation = \"lake/\"\n{limits}"),
            endpoints: [("endpoints/e.sql".to_owned(), endpoint)].into(),
            ..ProjectFiles::default()
        };
        let (project, findings) = Project::read(&files);
        (project, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn server_and_endpoint_have_the_same_names() {
        let names = "timeout_seconds = 2\nmemory_mb = 3\nmax_rows = 4\nmax_result_mb = 5\nmax_scan_mb = 6\n\
             max_scan_rows = 7\nmax_concurrent = 8\nrequests_per_second = 9\nrequest_burst = 10\nrequests_per_day = 11\n";
        let server =
            format!("[limits]\n{names}max_waiting = 12\nmax_waiting_each = 13\nspill_mb = 14\nspill_folder = \"s\"\n");
        let (project, findings) = read(&server, &format!("[limits]\n{names}on_max_rows = \"truncate\"\n"));
        assert_eq!(findings, Vec::<String>::new());
        let endpoint = &project.endpoints["e"].limits;
        assert_eq!(endpoint.limits, project.config.limits.limits);
        let bounds = endpoint.limits.iter().map(|(_, bound)| bound).collect::<Vec<_>>();
        assert_eq!(bounds, (2..=11).collect::<Vec<_>>());
        assert_eq!(endpoint.on_max_rows, OnMaxRows::Truncate);
        let ServerLimits { max_waiting, max_waiting_each, spill_mb, spill_folder, .. } = &project.config.limits;
        assert_eq!((*max_waiting, *max_waiting_each, *spill_mb), (Some(12), Some(13), Some(14)));
        assert_eq!(spill_folder.as_deref(), Some("s"));
    }

    #[test]
    fn faults_have_a_place_and_say_what_to_do() {
        let (_, findings) = read(
            "[limits]\nmax_rows = 0\nmax_row = 1\non_max_rows = \"refuse\"\nspill_folder = \"\"\n",
            "[limits]\nrequest_burst = 1\non_max_rows = \"cut\"\nmax_waiting = 1\n",
        );
        let wanted = [
            "lakegate.toml:4:12: `max_rows` in [limits] must be a whole number from 1",
            "lakegate.toml:7:16: `spill_folder` names no folder; ",
            "lakegate.toml:5:1: unknown key `max_row` in [limits]; did you mean `max_rows`?",
            "lakegate.toml:6:1: unknown key `on_max_rows` in [limits]; ",
            "endpoints/e.sql:4:17: `request_burst` stands without `requests_per_second`; ",
            "endpoints/e.sql:5:15: `cut` is not what can happen to an answer with too many rows; ",
            "endpoints/e.sql:6:1: unknown key `max_waiting` in [limits]; ",
        ];
        assert_eq!(findings.len(), wanted.len(), "{findings:#?}");
        for (finding, wanted) in findings.iter().zip(wanted) {
            assert!(finding.starts_with(wanted), "{finding}");
        }
    }

    #[test]
    fn what_holds_without_a_word() {
        let (project, _) = read("[server]\ntimeout_seconds = 30\n[limits]\ntimeout_seconds = 40\n", "");
        let limits = project.config.limits.for_calls(&project.config.server);
        let told = limits.iter().map(|(limit, bound)| (limit.name(), bound)).collect::<Vec<_>>();
        assert_eq!(told, [("timeout_seconds", 30), ("memory_mb", 682), ("max_concurrent", 32)]);
        assert_eq!(project.config.limits.waiting(&project.config.server), (1024, 256));
        // No share exceeds the total.
        let (project, _) = read("[server]\nmemory_limit_mb = 16\nmax_concurrent_queries = 1\n", "");
        let limits = project.config.limits.for_calls(&project.config.server);
        assert_eq!((limits.memory_mb, limits.max_concurrent), (Some(16), Some(1)));
    }
}
