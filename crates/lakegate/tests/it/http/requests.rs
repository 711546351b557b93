//! Requests that fail before their arguments are read: unknown paths, methods, formats, tokens in the URL, forged
//! headers, and hidden endpoints.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use lakegate::store::new_token;
use lakegate_core::access::{EndpointPattern, Grantee};
use lakegate_core::value::{Scalar, Value};

use crate::http::refusals::refused;
use crate::support::app::{Answer, TestApp};

const CONFIG: &str = r#"
[lake]
location = "lake/"
[server]
max_body_bytes = 1000
[tables.note]
location = "note.csv"
row_filter = "tenant IN (principal('tenant'))"
"#;

const NOTES: &str = "id,tenant,text\n1,1,a\n2,2,b\n3,2,c\n";

const NOTES_SQL: &str = "/*---\nsummary = \"The caller's notes\"\n[params.least]\ntype = \"integer\"\ndefault = 0\n---*/\nSELECT id FROM note WHERE id >= $least ORDER BY id\n";

/// A project with the endpoint `notes` and the hidden endpoint `secret`. Returns a token for tenant 2 with grants for
/// all endpoints, and one with a grant for `notes` only.
pub(crate) async fn app() -> (TestApp, String, String) {
    let hidden = NOTES_SQL.replacen("summary", "hidden = true\nsummary", 1);
    let app = TestApp::project(&[
        ("lakegate.toml", CONFIG),
        ("lake/note.csv", NOTES),
        ("endpoints/notes.sql", NOTES_SQL),
        ("endpoints/secret.sql", &hidden),
    ])
    .await;
    let tenant = [("tenant", Value::Scalar(Scalar::Integer(2)))];
    let all = app.admit("all", "client", &tenant).await;
    app.add_principal("one", "client", &tenant).await;
    let notes = EndpointPattern::Named("notes".to_owned());
    app.grant(Grantee::Principal("one".to_owned()), notes, None).await;
    let one = app.token("one", None).await;
    (app, all, one)
}

pub(crate) async fn send(app: &TestApp, token: &str, request: Builder, body: impl Into<Body>) -> Answer {
    app.send(request.header("token", token).body(body.into()).unwrap()).await
}

pub(crate) fn is(answer: &Answer, status: u16, code: &str) -> bool {
    let got = refused(answer);
    got == (status, code.to_owned())
}

#[tokio::test]
async fn other_paths_lead_nowhere() {
    let (app, token, _) = app().await;
    let long = format!("/api/{}", "a".repeat(20_000));
    for path in [
        "/api/Notes",
        "/api/NOTES",
        "/api/notes.sql",
        "/api/notes%20",
        "/api/notes%00",
        "/api/notes%2F",
        "/api/..%2Fnotes",
        "/api/%2e%2e",
        "/api/%",
        "/api/notes;x=1",
        "/api/note",
        "/api/*",
        "/api/%27%3B%20DROP%20TABLE%20note%3B--",
        "/api/%F0%9F%A6%80",
        // Bytes that are not valid text are treated as an unknown name.
        "/api/%ff",
        "/api/notes%c0%af",
        &long,
    ] {
        let got = app.get(&token, path).await;
        assert!(is(&got, 404, "endpoint_unknown"), "{path}: {}", got.text());
        assert!(got.body.len() < 400, "{path}");
        let unknown = app.get("somebody-else", path).await;
        assert!(is(&unknown, 401, "access_token_unknown"), "{path}: {}", unknown.text());
    }
    for path in [
        "/",
        "/notes",
        "/API/notes",
        "/api/",
        "/api/notes/",
        "/api//notes",
        "//api/notes",
        "/api/./notes",
        "/api/../api/notes",
        "/api/%2e%2e/api/notes",
        "/api/x/../notes",
        "/api/notes/1",
        "/%61pi/notes",
        "/api%2fnotes",
        "/health",
        "/health/ready/",
        "/admin",
        "/lake/note.csv",
        "/lakegate.toml",
        "/.git/config",
    ] {
        let got = app.get(&token, path).await;
        assert!(is(&got, 404, "request_path_unknown"), "{path}: {}", got.text());
        assert_eq!(refused(&app.get("somebody-else", path).await), refused(&got), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_what_is_allowed() {
    let (app, token, _) = app().await;
    for (path, methods, allow) in [
        ("/api/notes", &["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"][..], "GET,HEAD,POST"),
        ("/api/nothing", &["PUT", "DELETE"], "GET,HEAD,POST"),
        ("/api", &["POST", "DELETE"], "GET,HEAD"),
        ("/health/live", &["POST"], "GET,HEAD"),
    ] {
        for method in methods {
            let got = send(&app, &token, Request::builder().method(*method).uri(path), Body::empty()).await;
            assert!(is(&got, 405, "request_method_not_allowed"), "{method} {path}: {}", got.text());
            assert_eq!(got.headers["allow"], allow, "{method} {path}");
        }
    }
    let head = send(&app, &token, Request::head("/api/notes"), Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let method_in_header = Request::get("/api/notes").header("x-http-method-override", "DELETE");
    assert_eq!(send(&app, &token, method_in_header, Body::empty()).await.rows().len(), 2);
}

#[tokio::test]
async fn formats_that_can_not_be_made_are_refused() {
    let (app, token, _) = app().await;
    for accept in [
        "text/html",
        "text/plain, application/xml;q=0.9",
        "application/json;q=0",
        "application/json; q=0.0",
        "image/*",
        "json",
    ] {
        let got = send(&app, &token, Request::get("/api/notes").header("accept", accept), Body::empty()).await;
        assert!(is(&got, 406, "request_format_unknown"), "{accept}: {}", got.text());
    }
    for format in ["xml", "JSON", "", "json%00", "../json", "json'"] {
        let got = app.get(&token, &format!("/api/notes?format={format}")).await;
        assert!(is(&got, 406, "request_format_unknown"), "{format}: {}", got.text());
    }
    for accept in [
        "application/json",
        "APPLICATION/JSON",
        "*/*",
        "text/html, */*;q=0.1",
        "application/*",
        "text/html,application/json;q=0.5",
        "",
    ] {
        let got = send(&app, &token, Request::get("/api/notes").header("accept", accept), Body::empty()).await;
        assert_eq!(got.rows().len(), 2, "{accept}");
    }
    // `format` overrides `Accept`.
    let both = Request::get("/api/notes?format=json").header("accept", "text/html");
    assert_eq!(send(&app, &token, both, Body::empty()).await.rows().len(), 2);
    let twice = app.get(&token, "/api/notes?format=json&format=json").await;
    assert!(is(&twice, 400, "arguments_invalid"));
    assert_eq!(twice.json()["errors"][0]["code"], "argument_duplicate");
}

#[tokio::test]
async fn a_token_in_the_url_is_refused_and_not_repeated() {
    let (app, token, _) = app().await;
    let other = new_token().unwrap().text().to_owned();
    for secret in [&token, &other] {
        for query in [
            format!("token={secret}"),
            format!("TOKEN={secret}"),
            format!("%74oken={secret}"),
            format!("access_token={secret}"),
            format!("api_key={secret}"),
            format!("X-API-Key={secret}"),
            format!("Authorization=Bearer+{secret}"),
            format!("enterpriseKey={secret}"),
            // Under an unexpected name, or as the name itself.
            format!("key={secret}"),
            format!("least={secret}"),
            secret.clone(),
            format!("format={secret}"),
        ] {
            for path in ["/api/notes", "/api/nothing"] {
                for header in [Some(token.as_str()), Some("somebody-else"), None] {
                    let mut request = Request::get(format!("{path}?least=x&{query}"));
                    if let Some(header) = header {
                        request = request.header("token", header);
                    }
                    let got = app.send(request.body(Body::empty()).unwrap()).await;
                    assert!(is(&got, 400, "request_token_in_url"), "{query}: {}", got.text());
                    assert!(!got.text().contains(&secret[..20]), "{}", got.text());
                }
            }
        }
    }
    // Refused even without a value, so that the client learns it before it puts a token there.
    assert!(is(&app.get(&token, "/api/notes?token=").await, 400, "request_token_in_url"));
}

/// Only the token identifies the caller.
#[tokio::test]
async fn headers_that_name_somebody_change_nothing() {
    let (app, token, _) = app().await;
    let plain = app.get(&token, "/api/notes").await;
    assert_eq!(plain.rows().len(), 2);
    for (name, value) in [
        ("x-client-id", "1"),
        ("client_id", "1"),
        ("tenant", "1"),
        ("x-tenant", "1"),
        ("x-forwarded-user", "all"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-remote-user", "all"),
        ("remote-user", "all"),
        ("x-role", "operator"),
        ("x-roles", "operator"),
        ("x-lakegate-principal", "all"),
        ("x-original-url", "/api/secret"),
        ("x-rewrite-url", "/api/secret"),
        ("forwarded", "for=127.0.0.1"),
        ("cookie", "tenant=1; token=x"),
        ("host", "evil.example"),
        ("x-request-id", "00000000-0000-0000-0000-000000000000"),
        ("if-none-match", "\"*\""),
        ("range", "bytes=0-1"),
    ] {
        let got = send(&app, &token, Request::get("/api/notes").header(name, value), Body::empty()).await;
        assert_eq!((got.status, &got.body), (200, &plain.body), "{name}");
        assert_ne!(got.headers["x-request-id"], "00000000-0000-0000-0000-000000000000");
        let nobody = app.send(Request::get("/api/notes").header(name, value).body(Body::empty()).unwrap()).await;
        assert!(is(&nobody, 401, "access_token_missing"), "{name}: {}", nobody.text());
    }
}

/// For a caller without a grant, a hidden endpoint behaves like one that does not exist.
#[tokio::test]
async fn a_hidden_endpoint_is_not_there() {
    let (app, all, one) = app().await;
    assert_eq!(app.get(&all, "/api/secret").await.rows().len(), 2);
    let names = |answer: Answer| {
        let endpoints = answer.json()["endpoints"].as_array().unwrap().clone();
        endpoints.iter().map(|endpoint| endpoint["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(app.get(&all, "/api").await), ["notes", "secret"]);
    assert_eq!(names(app.get(&one, "/api").await), ["notes"]);

    // Equal byte for byte, except for the request id.
    let bare = |answer: Answer| {
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}").replace(&id, ""));
        (answer.status, headers.collect::<Vec<_>>(), answer.text().replace(&id, ""))
    };
    for token in [one.as_str(), "somebody-else"] {
        for (method, query, body) in [
            ("GET", "", ""),
            ("HEAD", "", ""),
            ("GET", "?least=x&nothing=1", ""),
            ("GET", "?format=csv", ""),
            ("GET", "?token=1", ""),
            ("GET", "?%", ""),
            ("POST", "", "{}"),
            ("POST", "", "{\"least\": \"x\"}"),
            ("POST", "", "[]"),
            ("PUT", "", ""),
        ] {
            let at = |name: &str| {
                let request = Request::builder().method(method).uri(format!("/api/{name}{query}"));
                send(&app, token, request, body.to_owned())
            };
            let hidden = bare(at("secret").await);
            assert_eq!(hidden, bare(at("nosuch").await), "{method} {query} {body}");
            assert!(hidden.0 >= 400 && !hidden.2.contains("secret"), "{hidden:?}");
        }
    }
}
