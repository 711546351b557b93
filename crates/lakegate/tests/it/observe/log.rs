//! The log: one line per request, in text or JSON, without log injection; and slow queries.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use lakegate::observe::output;
use lakegate_core::project::LogForm;
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::serve::process::shop;
use crate::support::canary_project::{many, notes};
use crate::support::eventually::eventually_async;
use crate::support::wire::Process;

/// Captured log output.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Captures this thread's log output while the guard lives.
    pub(crate) fn of_this_thread(form: LogForm, colours: bool) -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = output::subscriber(form, "info".into(), colours, move || writer.clone());
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// The output so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> Vec<Json> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    fn of_requests(&self) -> Vec<Json> {
        self.json().into_iter().filter(|line| !line["request.path"].is_null()).collect()
    }
}

#[tokio::test]
async fn a_request_is_one_line_with_its_id() {
    let (app, token) = notes("").await;
    let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
    let good = app.get(&token, "/api/notes?word=canary-argument").await;
    let bad = app.get(&token, "/api/notes?wrd=canary-argument").await;
    let live = app.get(&token, "/health/live").await;
    let logged = lines.of_requests();
    assert_eq!(logged.len(), 3, "{}", lines.text());
    for (line, answer) in logged.iter().zip([&good, &bad, &live]) {
        assert_eq!(line["request.id"], answer.headers["x-request-id"].to_str().unwrap());
        assert_eq!(line["response.status"], answer.status);
        assert_eq!(line["request.method"], "GET");
        assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(
        (&logged[0]["message"], &logged[0]["level"], &logged[0]["endpoint.name"], &logged[0]["response.rows"]),
        (&"answered".into(), &"INFO".into(), &"notes".into(), &2.into())
    );
    assert_eq!(logged[0]["response.bytes"], good.body.len());
    assert_eq!((&logged[1]["message"], &logged[1]["error.code"]), (&"refused".into(), &"arguments_invalid".into()));
    // No arguments, rows or tokens.
    for word in ["canary-argument", "canary-row", token.as_str()] {
        assert!(!lines.text().contains(word), "{word}: {}", lines.text());
    }
}

#[tokio::test]
async fn an_answer_in_pieces_is_one_line_at_its_end() {
    let (app, token) = many("").await;
    let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
    let request = Request::get("/api/many?most=5").header("token", &token).body(Body::empty()).unwrap();
    let answer = app.respond(request).await;
    assert!(lines.of_requests().is_empty());
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let logged = lines.of_requests();
    assert_eq!(logged.len(), 1);
    assert_eq!((&logged[0]["response.rows"], &logged[0]["response.bytes"]), (&50_000.into(), &body.len().into()));

    let request = Request::get("/api/many").header("token", &token).body(Body::empty()).unwrap();
    drop(app.respond(request).await);
    eventually_async("the second request is logged", async || lines.of_requests().len() >= 2).await;
    assert_eq!(lines.of_requests()[1]["message"], "cancelled");
}

#[tokio::test]
async fn a_role_that_sees_all_rows_is_told_of_each_time() {
    let (app, _) = notes("unfiltered_for = [\"operator\"]\n").await;
    let operator = app.admit("op", "operator", &[]).await;
    let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
    let answer = app.get(&operator, "/api/notes").await;
    assert_eq!(answer.rows().len(), 3);
    let logged = lines.json();
    let line = logged.iter().find(|line| line["tables"] == "note").unwrap_or_else(|| panic!("{}", lines.text()));
    assert_eq!(line["request.id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&line["principal.name"], &line["endpoint.name"]), (&"op".into(), &"notes".into()));
}

/// A caller can put line breaks, terminal codes or quotes into a path, percent-encoded or not.
#[tokio::test]
async fn a_caller_can_not_write_lines() {
    for form in [LogForm::Text, LogForm::Json] {
        let (app, token) = notes("").await;
        let (lines, _guard) = Lines::of_this_thread(form, false);
        for path in [
            "/api/a%0AINFO%20answered",
            "/api/a%0D%0A%1B[2Jx",
            "/api/a%22,%22level%22:%22FORGED",
            "/api/%E2%80%A8line",
            "/api/notes?a%0Ab=1",
        ] {
            app.get(&token, path).await;
        }
        let text = lines.text();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
        if form == LogForm::Json {
            assert!(lines.json().iter().all(|line| line["level"] == "INFO" && line["message"] == "refused"));
        }
    }
}

proptest! {
    /// An event with any text in a field or in its message, with `Display` or `Debug`, is one line without control
    /// characters. In JSON the field keeps its value.
    #[test]
    fn an_event_is_one_line(text in "(?s).{0,40}|[\u{0}-\u{9f}\u{2028}\u{202e}]{0,12}") {
        for (form, colours) in [(LogForm::Text, false), (LogForm::Text, true), (LogForm::Json, false)] {
            let (lines, guard) = Lines::of_this_thread(form, colours);
            tracing::info!(field = text, shown = %text, debugged = ?text, "{text}");
            drop(guard);
            let written = lines.text();
            prop_assert!(written.ends_with('\n'));
            let line = &written[..written.len() - 1];
            let is_fine = |character: char| !character.is_control() || (colours && character == '\u{1b}');
            prop_assert!(line.chars().all(is_fine), "{line:?}");
            if colours {
                // Only colour codes remain.
                for code in line.split('\u{1b}').skip(1) {
                    let end = code.trim_start_matches(|character: char| "[;0123456789".contains(character));
                    prop_assert!(end.starts_with('m'), "{line:?}");
                }
            }
            if form == LogForm::Json {
                let json = serde_json::from_str::<Json>(line);
                prop_assert!(json.is_ok(), "{line:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_slow_query_is_told_of_with_its_stages_and_its_plan_without_values() {
    let (app, token) = many("\n[observe]\nslow_query_ms = 1\n").await;
    let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
    let answer = app.get(&token, "/api/many?most=5").await;
    let logged = lines.json();
    let slow = logged.iter().find(|line| line["message"] == "slow query").unwrap_or_else(|| panic!("{}", lines.text()));
    assert_eq!(slow["level"], "WARN");
    assert_eq!(slow["request.id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&slow["endpoint.name"], &slow["principal.name"]), (&"many".into(), &"canary-caller".into()));
    assert_eq!((&slow["response.rows"], &slow["scanned.rows"]), (&50_000.into(), &300.into()));
    assert_eq!(slow["policy.fingerprint"].as_str().unwrap().len(), 64);
    for stage in ["govern", "queue", "plan", "first_row", "stream", "encode"] {
        assert!(slow[format!("stages.{stage}_ms")].is_number(), "{stage}: {slow}");
    }
    let plan = slow["plan"].as_str().unwrap();
    assert!(plan.contains("Barrier") && plan.len() <= 4_100, "{plan}");
    // The plan shows attributes and arguments by name, not by value.
    assert!(!slow.to_string().contains("canary-tenant") && plan.contains("$most"), "{plan}");
    let metrics = app.admin(&app.admin_token("ada").await, "GET", "/metrics", Json::Null).await;
    assert!(metrics.text().contains("lakegate_slow_queries_total{endpoint=\"many\"} 1\n"), "{}", metrics.text());
}

#[tokio::test]
async fn a_quick_query_is_not_slow_and_nothing_is_without_the_key() {
    for section in ["", "\n[observe]\nslow_query_ms = 3600000\n"] {
        let (app, token) = notes(section).await;
        let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
        app.get(&token, "/api/notes").await;
        assert!(!lines.text().contains("slow query"), "{}", lines.text());
    }
}

/// A fingerprint over a secret would confirm guesses, so the log leaves it out, like the audit log.
#[tokio::test]
async fn a_fingerprint_of_a_secret_is_not_told() {
    for (more, told) in [("", true), ("\n[access]\nsecret_attributes = [\"tenant\"]\n", false)] {
        let (app, token) = many(&format!("{more}\n[observe]\nslow_query_ms = 1\n")).await;
        let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
        app.get(&token, "/api/many?most=5").await;
        let slow = lines.json().into_iter().find(|line| line["message"] == "slow query").unwrap();
        assert_eq!(slow["policy.fingerprint"].is_string(), told, "{slow}");
    }
    let (app, token) = many("\n[server]\naudit = \"off\"\n[observe]\nslow_query_ms = 1\n").await;
    let (lines, _guard) = Lines::of_this_thread(LogForm::Json, false);
    app.get(&token, "/api/many?most=5").await;
    let slow = lines.json().into_iter().find(|line| line["message"] == "slow query").unwrap();
    assert!(slow["policy.fingerprint"].is_null(), "{slow}");
}

#[test]
fn the_project_chooses_the_form_of_the_log() {
    let (project, token) = shop();
    let path = project.path().join("shop/lakegate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{config}\n[observe]\nlog = \"json\"\n")).unwrap();
    let arguments = ["serve", "--project", "shop", "--listen", "127.0.0.1:0", "--json"];
    let server = Process::start(project.command(&arguments).env("LAKEGATE_LOG", "info"));
    assert_eq!(server.get("/api/best_products", &token).status, 200);
    let log = server.stop().stderr;
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Json>(line).unwrap()).collect::<Vec<_>>();
    let line =
        lines.iter().find(|line| line["request.path"] == "/api/best_products").unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&line["message"], &line["response.status"]), (&"answered".into(), &200.into()));
}
