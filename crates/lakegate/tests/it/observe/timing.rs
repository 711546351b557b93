//! `Server-Timing`: sent only to callers with a role that the project names.

use crate::support::app::TestApp;
use crate::support::canary_project::{many, notes};

const FOR_OPERATORS: &str = "\n[observe]\nserver_timing_for = [\"operator\", \"developer\"]\n";

async fn timing(app: &TestApp, token: &str, path: &str) -> Option<String> {
    let answer = app.get(token, path).await;
    answer.headers.get("server-timing").map(|timing| String::from_utf8_lossy(timing.as_bytes()).into_owned())
}

/// The names in the header. Asserts that each has a numeric duration.
fn names(timing: &str) -> Vec<&str> {
    let metric = |metric: &'_ str| -> usize {
        let (name, duration) = metric.split_once(";dur=").unwrap_or_else(|| panic!("{metric}"));
        assert!(duration.parse::<f64>().is_ok_and(|duration| duration >= 0.0), "{metric}");
        name.len()
    };
    timing.split(", ").map(|part| &part[..metric(part)]).collect()
}

#[tokio::test]
async fn roles_that_the_project_names_are_told_what_stages_took() {
    let (app, _) = notes(FOR_OPERATORS).await;
    let tenant =
        [("tenant", lakegate_core::value::Value::Scalar(lakegate_core::value::Scalar::String("x".to_owned())))];
    let developer = app.admit("dev", "developer", &tenant).await;
    let told = timing(&app, &developer, "/api/notes").await.unwrap_or_default();
    let stages = ["authenticate", "authorize", "arguments", "govern", "queue", "plan", "first_row"];
    assert_eq!(names(&told)[..7], stages, "{told}");
    assert_eq!(names(&told).last(), Some(&"total"));
    // An error has the stages up to its cause.
    let refused = timing(&app, &developer, "/api/notes?wrd=1").await.unwrap_or_default();
    assert_eq!(names(&refused), ["authenticate", "authorize", "total"]);
}

#[tokio::test]
async fn of_an_answer_in_pieces_the_head_tells_what_is_known_by_then() {
    let (app, _) = many(FOR_OPERATORS).await;
    let tenant = "canary-tenant".to_owned();
    let tenant = [("tenant", lakegate_core::value::Value::Scalar(lakegate_core::value::Scalar::String(tenant)))];
    let operator = app.admit("op", "operator", &tenant).await;
    let told = timing(&app, &operator, "/api/many?most=5").await.unwrap_or_default();
    assert!(names(&told).contains(&"first_row") && names(&told).contains(&"encode"), "{told}");
}

/// A query's duration depends on rows that the caller does not see.
#[tokio::test]
async fn nobody_else_is_told() {
    let (app, caller) = notes(FOR_OPERATORS).await;
    for token in [caller.as_str(), "lg_nobody_at_all"] {
        for path in ["/api/notes", "/api/notes?wrd=1", "/api", "/api/nothing", "/health/live"] {
            assert_eq!(timing(&app, token, path).await, None, "{path}");
        }
    }
    // Without a configured role, no caller gets the header.
    let (app, _) = notes("").await;
    let operator = app.admit("op", "operator", &[]).await;
    assert_eq!(timing(&app, &operator, "/api/notes").await, None);
}
