//! The table of metric families, with their types and help texts. A test compares it with `docs/observability.md`.

/// A metric family: one name, for all label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, without the `_total` suffix of counters.
    pub name: &'static str,
    /// The Prometheus type.
    pub kind: Kind,
    /// The label names.
    pub labels: &'static [&'static str],
    /// The help text, without a full stop.
    pub help: &'static str,
}

/// The Prometheus metric types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A distribution of values.
    Histogram,
    /// Labels without a value.
    Info,
}

macro_rules! families {
    ($($name:ident, $text:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $name: Family = Family {
            name: $text, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*

        /// All metrics.
        pub const FAMILIES: &[Family] = &[$($name,)*];
    };
}

families! {
    BUILD, "lakegate_build", Info, ["version"], "The build that runs";
    UPTIME, "lakegate_uptime_seconds", Gauge, [], "How long the server runs";
    REQUESTS, "lakegate_requests", Counter, ["endpoint", "status"], "Requests that were answered or refused";
    DURATION, "lakegate_request_duration_seconds", Histogram, ["endpoint"], "From a request to the end of its answer";
    STAGE, "lakegate_stage_duration_seconds", Histogram, ["stage"], "How long a stage was at work on a request";
    ENDPOINT_STAGE, "lakegate_endpoint_stage_seconds", Counter, ["endpoint", "stage"], "How long a stage was at work, by endpoint";
    OUTCOMES, "lakegate_request_outcomes", Counter, ["outcome"], "How requests ended, also those whose caller left";
    REFUSALS, "lakegate_refusals", Counter, ["code"], "Requests that were refused, failed or cut, by code";
    ROWS, "lakegate_answer_rows", Counter, ["endpoint"], "Rows that were sent";
    BYTES, "lakegate_answer_bytes", Counter, ["endpoint"], "Bytes of answers that were sent";
    SCANNED_ROWS, "lakegate_scanned_rows", Counter, ["endpoint"], "Rows that queries read, before any policy";
    SCANNED_BYTES, "lakegate_scanned_bytes", Counter, ["endpoint"], "Bytes that queries read, of files and of copies in memory";
    SPILLED_BYTES, "lakegate_spilled_bytes", Counter, ["endpoint"], "Bytes that queries put on disk for want of memory";
    SLOW, "lakegate_slow_queries", Counter, ["endpoint"], "Queries that took longer than `slow_query_ms`";
    WAITING, "lakegate_queries_waiting", Gauge, [], "Queries that wait for their turn or are planned";
    RUNNING, "lakegate_queries_running", Gauge, [], "Queries that run";
    RESERVED, "lakegate_query_memory_bytes", Gauge, [], "Memory that running queries have reserved";
    HOT, "lakegate_hot_tables_bytes", Gauge, [], "Memory of what is kept decoded of tables";
    PREPARED_REFUSED, "lakegate_prepared_plans_refused", Counter, [], "Prepared plans that did not carry their policies and were not used";
    CACHE, "lakegate_result_cache_requests", Counter, ["answer"], "What the result cache said";
    RELOADS, "lakegate_reloads", Counter, ["outcome"], "How often the project was read again";
    AUDIT_WAITING, "lakegate_audit_waiting_records", Gauge, [], "Records of the audit log that wait for the disk";
    AUDIT_LOST, "lakegate_audit_lost_records", Counter, [], "Records of the audit log that the disk did not take";
    TRACE_EXPORTS, "lakegate_trace_exports", Counter, ["outcome"], "Batches of spans that were sent to the collector";
    MEMORY, "process_resident_memory_bytes", Gauge, [], "Memory of the process";
    OPEN_FILES, "process_open_fds", Gauge, [], "Open files and connections of the process";
    CPU, "process_cpu_seconds", Counter, [], "Time that the process has computed";
}

impl Kind {
    /// The name that Prometheus uses.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}
