//! `GET /metrics`: access to it, correct counts, and no input from callers in its output.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lakegate::audit::Outcome;
use lakegate::observe::{CacheLookup, Event, FAMILIES, Reload, STAGES};
use lakegate_core::error::CODES;
use serde_json::Value as Json;

use crate::support::app::{Answer, TestApp};
use crate::support::canary_project::{CANARIES, many, notes, with_role};
use crate::support::eventually::eventually_async;

const METRICS_FOR: &str = "\n[observe]\nmetrics_for = [\"monitor\"]\n";

/// The samples of an exposition: name with labels, and value.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    async fn of(app: &TestApp, token: &str) -> Self {
        Self::read(app.admin(token, "GET", "/metrics", Json::Null).await.text())
    }

    fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// The value of a sample; 0 if it is missing.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The values of a label.
    fn values(&self, label: &str) -> BTreeSet<&str> {
        let start = format!("{label}=\"");
        self.0.keys().filter_map(|name| name.split_once(&start)?.1.split_once('"')).map(|(value, _)| value).collect()
    }
}

#[tokio::test]
async fn metrics_are_for_admin_tokens_and_the_roles_that_the_project_names() {
    let (app, caller) = notes(METRICS_FOR).await;
    let admin = app.admin_token("ada").await;
    let monitor = with_role(&app, "prometheus", "monitor", None).await;
    let scoped = with_role(&app, "scoped", "monitor", Some(&["notes"])).await;
    for token in [&admin, &monitor] {
        let answer = app.admin(token, "GET", "/metrics", Json::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    }
    let refused = |answer: Answer| answer.problem();
    for (token, status, code) in [
        (caller.as_str(), 403, "access_not_admin"),
        (&scoped, 403, "access_out_of_scope"),
        ("lg_nobody_at_all", 401, "access_token_unknown"),
    ] {
        let answer = app.admin(token, "GET", "/metrics", Json::Null).await;
        assert_eq!(refused(answer), (status, code.to_owned()));
    }
    let nobody = app.send_admin(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(refused(nobody), (401, "access_token_missing".to_owned()));
    // This token reads metrics only, and the callers' API has no metrics.
    assert_eq!(refused(app.admin(&monitor, "GET", "/admin/principals", Json::Null).await).0, 403);
    assert_eq!(refused(app.get(&monitor, "/api/notes").await).0, 403);
    assert_eq!(refused(app.get(&admin, "/metrics").await).0, 404);
    let page = Request::get("/metrics").header("authorization", format!("Bearer {admin}"));
    let page = page.header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
    assert_eq!(refused(app.send_admin(page).await), (403, "admin_origin_refused".to_owned()));
}

#[tokio::test]
async fn without_such_a_role_in_the_project_only_admins_read_metrics() {
    let (app, _) = notes("").await;
    let monitor = with_role(&app, "prometheus", "monitor", None).await;
    let answer = app.admin(&monitor, "GET", "/metrics", Json::Null).await;
    assert_eq!(answer.problem(), (403, "access_not_admin".to_owned()));
}

#[tokio::test]
async fn metrics_count_what_happened() {
    for from_files in [false, true] {
        let server = if from_files { crate::support::app::NOTHING_IN_MEMORY } else { "" };
        let (app, token) = notes(server).await;
        let admin = app.admin_token("ada").await;
        for _ in 0..3 {
            assert_eq!(app.get(&token, "/api/notes").await.rows().len(), 2);
        }
        assert_eq!(app.get(&token, "/api/notes?wrd=x").await.status, 400);
        assert_eq!(app.get("lg_nobody_at_all", "/api/notes").await.status, 401);
        let metrics = Metrics::of(&app, &admin).await;
        let requests =
            |status| metrics.get(&format!("lakegate_requests_total{{endpoint=\"notes\",status=\"{status}\"}}"));
        assert_eq!((requests(200), requests(400), requests(401)), (3.0, 1.0, 1.0));
        let of_notes = |name: &str| metrics.get(&format!("{name}{{endpoint=\"notes\"}}"));
        assert_eq!(of_notes("lakegate_request_duration_seconds_count"), 5.0);
        assert_eq!(of_notes("lakegate_answer_rows_total"), 6.0);
        // The scan reads all three rows, including those of other tenants; the response has two.
        assert_eq!(of_notes("lakegate_scanned_rows_total"), 9.0, "{from_files}");
        assert!(of_notes("lakegate_answer_bytes_total") > 100.0);
        if !from_files {
            assert!(of_notes("lakegate_scanned_bytes_total") > 0.0);
            assert!(metrics.get("lakegate_hot_tables_bytes") > 0.0);
        }
        assert_eq!(metrics.get("lakegate_refusals_total{code=\"arguments_invalid\"}"), 1.0);
        assert_eq!(metrics.get("lakegate_refusals_total{code=\"access_token_unknown\"}"), 1.0);
        assert_eq!(metrics.get("lakegate_request_outcomes_total{outcome=\"answered\"}"), 3.0);
        assert_eq!(metrics.get("lakegate_request_outcomes_total{outcome=\"refused\"}"), 2.0);
        let stage = |stage| metrics.get(&format!("lakegate_stage_duration_seconds_count{{stage=\"{stage}\"}}"));
        assert_eq!(["govern", "queue", "plan", "first_row", "encode"].map(stage), [3.0; 5]);
        assert_eq!((stage("authenticate"), stage("authorize"), stage("arguments")), (5.0, 4.0, 3.0));
        let running = ["lakegate_queries_waiting", "lakegate_queries_running", "lakegate_query_memory_bytes"];
        assert_eq!(running.map(|name| metrics.get(name)), [0.0; 3]);
        assert!(metrics.get("lakegate_uptime_seconds") >= 0.0);
        assert_eq!(metrics.get(&format!("lakegate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    }
}

#[tokio::test]
async fn buckets_add_up() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    for _ in 0..5 {
        app.get(&token, "/api/notes").await;
    }
    let metrics = Metrics::of(&app, &admin).await;
    let bucket = |bound: &str| {
        metrics.get(&format!("lakegate_request_duration_seconds_bucket{{le=\"{bound}\",endpoint=\"notes\"}}"))
    };
    assert_eq!(bucket("+Inf"), 5.0);
    let mut least = 0.0;
    for bound in ["0.0001", "0.001", "0.01", "0.1", "1.0", "10.0", "60.0", "+Inf"] {
        assert!(bucket(bound) >= least, "{bound}: {:?}", metrics.0);
        least = bucket(bound);
    }
}

/// Callers choose paths, names, arguments, headers, methods and tokens. The metrics contain no such input, no principal
/// and no row, and no label gets a new value.
#[tokio::test]
async fn a_caller_can_not_make_labels() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    let outsider = with_role(&app, "canary-name", "client", None).await;
    for at in 0..50 {
        let name = format!("/api/canary-name-{at}");
        app.get(&token, &name).await;
        app.get(&token, &format!("/canary-name/{at}")).await;
        app.get(&token, &format!("/api/notes?word=canary-argument-{at}")).await;
        app.get(&token, &format!("/api/notes?canary-name-{at}=1")).await;
        app.get(&format!("canary-caller-{at}"), "/api/notes").await;
        let odd = Request::builder().method(format!("CANARY-{at}").as_str()).uri("/api/notes");
        let odd = odd.header("x-canary-name", "canary-argument").header("traceparent", "canary-argument");
        app.send(odd.body(Body::empty()).unwrap()).await;
    }
    app.get(&token, "/api/%22%7D%201%0Acanary-name%7Ba=%22").await;
    // Without a grant, this endpoint is unknown, so it creates no label.
    assert_eq!(app.get(&outsider, "/api/secret").await.status, 404);
    app.get(&outsider, "/api/notes").await;
    let answer = app.admin(&admin, "GET", "/metrics", Json::Null).await;
    for canary in CANARIES {
        assert!(!answer.text().to_lowercase().contains(canary), "{canary}: {}", answer.text());
    }
    let metrics = Metrics::read(answer.text());
    assert_eq!(metrics.values("endpoint"), BTreeSet::from(["", "notes"]));
    let labels = |name: &str| {
        let inside = name.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        inside.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect::<Vec<_>>()
    };
    let known = ["code", "endpoint", "le", "outcome", "answer", "stage", "status", "version"];
    for name in metrics.0.keys() {
        assert!(labels(name).iter().all(|label| known.contains(&label.as_str())), "{name}");
    }
    let codes = CODES.iter().map(|code| code.name()).collect::<BTreeSet<_>>();
    assert!(metrics.values("code").is_subset(&codes));
    assert!(metrics.values("stage").is_subset(&STAGES.iter().map(|stage| stage.name()).collect()));
    assert!(metrics.values("status").iter().all(|status| status.parse::<u16>().unwrap() < 600));
    // This caller has a grant, so the endpoint's name becomes a label.
    app.get(&token, "/api/secret").await;
    assert_eq!(Metrics::of(&app, &admin).await.values("endpoint"), BTreeSet::from(["", "notes", "secret"]));
}

/// A running query and its memory show in the metrics, and nothing remains after its caller disconnects.
#[tokio::test]
async fn a_caller_who_leaves_is_counted_and_leaves_nothing_behind() {
    let (app, token) = many("").await;
    let admin = app.admin_token("ada").await;
    let request = Request::get("/api/many").header("token", &token).body(Body::empty()).unwrap();
    let mut running = app.respond(request).await;
    assert!(running.body_mut().frame().await.unwrap().is_ok());
    let metrics = Metrics::of(&app, &admin).await;
    assert_eq!(metrics.get("lakegate_queries_running"), 1.0);
    // The response has not ended, so it is not counted yet.
    assert_eq!(metrics.get("lakegate_requests_total{endpoint=\"many\",status=\"200\"}"), 0.0);
    drop(running);
    let cancelled = "lakegate_request_outcomes_total{outcome=\"cancelled\"}";
    let mut metrics = Metrics::of(&app, &admin).await;
    eventually_async("the query ends and is counted", async || {
        metrics = Metrics::of(&app, &admin).await;
        metrics.get("lakegate_queries_running") == 0.0 && metrics.get(cancelled) == 1.0
    })
    .await;
    assert_eq!(metrics.get("lakegate_requests_total{endpoint=\"many\",status=\"200\"}"), 1.0);
    assert!(metrics.get("lakegate_scanned_rows_total{endpoint=\"many\"}") > 0.0);
}

/// With one query slot, the second query waits until the first one ends.
#[tokio::test]
async fn a_query_that_waits_is_counted() {
    let (app, token) = many("\n[server]\nmax_concurrent_queries = 1\n").await;
    let admin = app.admin_token("ada").await;
    let request = Request::get("/api/many").header("token", &token).body(Body::empty()).unwrap();
    let first = app.respond(request).await;
    let second = app.get(&token, "/api/many?most=0");
    let seen = async {
        let mut metrics = Metrics::of(&app, &admin).await;
        eventually_async("the second query waits", async || {
            metrics = Metrics::of(&app, &admin).await;
            metrics.get("lakegate_queries_waiting") == 1.0
        })
        .await;
        assert_eq!(metrics.get("lakegate_queries_running"), 1.0);
        drop(first);
    };
    let (second, ()) = tokio::join!(second, seen);
    assert_eq!(second.rows().len(), 0);
}

#[tokio::test]
async fn what_streams_is_counted_at_its_end() {
    let (app, token) = many("").await;
    let admin = app.admin_token("ada").await;
    assert_eq!(app.get(&token, "/api/many?most=5").await.rows().len(), 50_000);
    let metrics = Metrics::of(&app, &admin).await;
    assert_eq!(metrics.get("lakegate_answer_rows_total{endpoint=\"many\"}"), 50_000.0);
    assert_eq!(metrics.get("lakegate_request_outcomes_total{outcome=\"answered\"}"), 1.0);
    assert_eq!(metrics.get("lakegate_stage_duration_seconds_count{stage=\"stream\"}"), 1.0);
}

#[tokio::test]
async fn kept_answers_and_reloads_are_counted() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    let first = app.get(&token, "/api/kept").await;
    assert_eq!(app.get(&token, "/api/kept").await.body, first.body);
    let again = Request::get("/api/kept").header("token", &token).header("if-none-match", &first.headers["etag"]);
    assert_eq!(app.send(again.body(Body::empty()).unwrap()).await.status, 304);
    lakegate::reload::reload(&app.app).await.unwrap();
    crate::support::app::append(app.folder.path(), "\n[nonsense]\n");
    assert!(lakegate::reload::reload(&app.app).await.is_err());
    let metrics = Metrics::of(&app, &admin).await;
    let cache = |answer| metrics.get(&format!("lakegate_result_cache_requests_total{{answer=\"{answer}\"}}"));
    assert_eq!(["miss", "hit", "not_modified", "joined"].map(cache), [1.0, 1.0, 1.0, 0.0]);
    let reloads = |outcome| metrics.get(&format!("lakegate_reloads_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(["taken", "refused"].map(reloads), [1.0, 1.0]);
    // A cached response counts as a response, but no rows are scanned for it.
    assert_eq!(metrics.get("lakegate_answer_rows_total{endpoint=\"kept\"}"), 4.0);
    assert_eq!(metrics.get("lakegate_scanned_rows_total{endpoint=\"kept\"}"), 3.0);
}

/// With an exact row count, a request runs two queries.
#[tokio::test]
async fn what_all_queries_of_a_request_read_is_counted() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    let counted = Request::get("/api/notes?page_size=1").header("token", &token).header("prefer", "count=exact");
    let counted = app.send(counted.body(Body::empty()).unwrap()).await;
    assert_eq!(counted.rows().len(), 1);
    let metrics = Metrics::of(&app, &admin).await;
    assert_eq!(metrics.get("lakegate_scanned_rows_total{endpoint=\"notes\"}"), 6.0);
    assert_eq!(metrics.get("lakegate_queries_running"), 0.0);
}

#[tokio::test]
async fn events_of_other_parts_are_counted() {
    let (app, _) = notes("").await;
    let admin = app.admin_token("ada").await;
    for answer in [CacheLookup::Hit, CacheLookup::Hit, CacheLookup::Miss] {
        app.app.observer.notice(&Event::CacheLookedUp(answer));
    }
    app.app.observer.notice(&Event::Reloaded(Reload::Refused));
    let metrics = Metrics::of(&app, &admin).await;
    let cache = |answer| metrics.get(&format!("lakegate_result_cache_requests_total{{answer=\"{answer}\"}}"));
    assert_eq!(["hit", "miss", "joined", "not_modified"].map(cache), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!(metrics.get("lakegate_reloads_total{outcome=\"refused\"}"), 1.0);
    assert_eq!(metrics.get("lakegate_reloads_total{outcome=\"taken\"}"), 0.0);
}

/// A record that cannot be written is counted.
#[cfg(unix)]
#[tokio::test]
async fn lost_records_of_the_audit_log_are_counted() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    app.audit.flush().await;
    let folder = app.folder.path().join("audit");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    app.get(&token, "/api/notes").await;
    app.audit.flush().await;
    let lost = Metrics::of(&app, &admin).await.get("lakegate_audit_lost_records_total");
    assert!(lost >= 1.0, "{lost}");
}

/// All metrics that the files in `deploy/` query exist.
#[test]
fn dashboards_and_alerts_ask_for_metrics_that_there_are() {
    let files = [
        include_str!("../../../../../deploy/grafana/lakegate.json"),
        include_str!("../../../../../deploy/prometheus/lakegate-alerts.yml"),
    ];
    let asked =
        files.iter().flat_map(|file| file.split(|character: char| !character.is_alphanumeric() && character != '_'));
    let asked =
        asked.filter(|word| word.starts_with("lakegate_") || word.starts_with("process_")).collect::<BTreeSet<_>>();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        let is_there = FAMILIES.iter().any(|family| match family.kind.name() {
            "counter" => name.strip_suffix("_total") == Some(family.name),
            "info" => name.strip_suffix("_info") == Some(family.name),
            "histogram" => name.strip_suffix("_bucket") == Some(family.name),
            _ => name == family.name,
        });
        assert!(is_there, "{name}");
    }
}

/// Metrics are in the order of the table, also those without series, and series in the order of their labels.
#[tokio::test]
async fn a_scrape_has_a_fixed_order() {
    let (app, token) = notes("").await;
    let admin = app.admin_token("ada").await;
    for path in ["/api/secret", "/api/notes?wrd=x", "/api/notes", "/api/kept", "/nothing"] {
        app.get(&token, path).await;
    }
    let answer = app.admin(&admin, "GET", "/metrics", Json::Null).await;
    let names = answer.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let known = FAMILIES.iter().map(|family| family.name).filter(|name| !name.starts_with("process_"));
    assert_eq!(names.filter(|name| !name.starts_with("process_")).collect::<Vec<_>>(), known.collect::<Vec<_>>());
    let series = |name: &str, label: &str| {
        let start = format!("{name}{{");
        let lines = answer.text().lines().filter(|line| line.starts_with(&start));
        let values = lines.map(|line| line.split_once(&format!("{label}=\"")).unwrap().1.split('"').next().unwrap());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series("lakegate_answer_rows_total", "endpoint"), ["", "kept", "notes", "secret"]);
    let requests = series("lakegate_requests_total", "endpoint").into_iter();
    let requests = requests.zip(series("lakegate_requests_total", "status")).collect::<Vec<_>>();
    assert!(requests.len() > 4 && requests.is_sorted(), "{requests:?}");
    assert_eq!(series("lakegate_request_outcomes_total", "outcome"), Outcome::NAMES);
    let stages = STAGES.map(|stage| stage.name());
    assert_eq!(series("lakegate_stage_duration_seconds_count", "stage"), stages);
    assert_eq!(series("lakegate_trace_exports_total", "outcome"), ["good", "failed"]);
}

/// `docs/observability.md` has one row for each metric, with its type and labels, and no other rows.
#[tokio::test]
async fn the_page_lists_every_metric() {
    let (app, _) = notes("").await;
    let admin = app.admin_token("ada").await;
    let answer = app.admin(&admin, "GET", "/metrics", Json::Null).await;
    let exported = answer.text().lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported = exported.map(str::to_owned).collect::<BTreeSet<_>>();
    let known =
        FAMILIES.iter().map(|family| format!("{} {}", family.name, family.kind.name())).collect::<BTreeSet<_>>();
    if cfg!(target_os = "linux") {
        assert_eq!(exported, known);
    }
    let page = include_str!("../../../../../docs/observability.md");
    let rows = page.lines().filter(|line| line.starts_with("| `lakegate_") || line.starts_with("| `process_"));
    let rows = rows.map(|line| line.split('|').take(4).map(str::trim).collect::<Vec<_>>().join("|"));
    let rows = rows.collect::<BTreeSet<_>>();
    let expected = FAMILIES.iter().map(|family| {
        let labels = family.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let suffix = match family.kind.name() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        format!("|`{}{suffix}`|{}|{labels}", family.name, family.kind.name())
    });
    assert_eq!(rows, expected.collect::<BTreeSet<_>>());
    for outcome in Outcome::ALL {
        assert!(page.contains(&format!("`{}`", outcome.name())), "{}", outcome.name());
    }
    for stage in STAGES {
        assert!(page.contains(&format!("| `{}` |", stage.name())), "{}", stage.name());
    }
}
