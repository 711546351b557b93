//! Unreadable bodies and query strings: not a JSON object, too large, or badly encoded.

use axum::http::Request;
use serde_json::json;

use crate::http::requests::{app, is, send};

#[tokio::test]
async fn bodies_that_are_no_json_object_are_refused() {
    let (app, token, _) = app().await;
    let deep = format!("{{\"least\": {}{}}}", "[".repeat(450), "]".repeat(450));
    for body in [
        &b"[]"[..],
        b"null",
        b"1",
        b"\"{}\"",
        b"true",
        b"{",
        b"{}{}",
        b"{} x",
        b"{\"least\": 1,}",
        b"{'least': 1}",
        b"{least: 1}",
        b"{\"least\": 01}",
        b"{\"least\": NaN}",
        b"{\"least\": 1e999}",
        b"{\"least\": \"\xff\"}",
        b"{\"least\": \"\\ud800\"}",
        b"{\"least\": \"\x00\"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"least=1",
        b"<least>1</least>",
        b"// x\n{}",
        deep.as_bytes(),
    ] {
        let got =
            send(&app, &token, Request::post("/api/notes").header("content-type", "application/json"), body.to_vec())
                .await;
        assert!(is(&got, 400, "request_body_malformed"), "{body:?}: {}", got.text());
        assert!(!got.text().contains("least\\\""), "{}", got.text());
        // Without a JSON media type, the error is about the media type first.
        let typed = Request::post("/api/notes").header("content-type", "application/x-www-form-urlencoded");
        let got = send(&app, &token, typed, body.to_vec()).await;
        assert!(is(&got, 415, "request_media_type"), "{body:?}: {}", got.text());
    }
    // Some clients of the legacy system send no media type or another one, so JSON bodies are accepted anyway.
    for media_type in
        [None, Some("application/json; charset=utf-8"), Some("application/vnd.x+json"), Some("text/plain")]
    {
        let mut request = Request::post("/api/notes");
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        assert_eq!(send(&app, &token, request, "{\"least\": 3}").await.rows().len(), 1, "{media_type:?}");
    }
    for body in ["", " \r\n\t", "{}", "\n{ }\n", "{\"least\": null}"] {
        assert_eq!(send(&app, &token, Request::post("/api/notes"), body).await.rows().len(), 2, "{body:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let (app, token, _) = app().await;
    let body = |bytes: usize| format!("{{\"least\": 1{}}}", " ".repeat(bytes - 12));
    assert_eq!(body(1000).len(), 1000);
    assert_eq!(send(&app, &token, Request::post("/api/notes"), body(1000)).await.rows().len(), 2);
    for bytes in [1001, 100_000] {
        let got = send(&app, &token, Request::post("/api/notes"), body(bytes)).await;
        assert!(is(&got, 413, "request_body_too_large"), "{bytes}: {}", got.text());
        // Without a valid token, the body is not read.
        let got = app.send(Request::post("/api/notes").body(body(bytes).into()).unwrap()).await;
        assert!(is(&got, 401, "access_token_missing"), "{bytes}: {}", got.text());
    }
}

#[tokio::test]
async fn a_query_string_that_is_not_encoded_text_is_refused() {
    let (app, token, _) = app().await;
    for query in
        ["least=%", "least=%1", "least=%zz", "least=%%", "%=1", "least=%ff", "least=%c0%af", "least=%ed%a0%80", "%e9=1"]
    {
        let got = app.get(&token, &format!("/api/notes?{query}")).await;
        assert!(is(&got, 400, "request_query_malformed"), "{query}: {}", got.text());
        let got = app.post(&token, &format!("/api/notes?{query}"), &json!({})).await;
        assert!(is(&got, 400, "request_query_malformed"), "{query}: {}", got.text());
    }
    for query in ["", "&", "&&least=1&", "l%65ast=%31"] {
        assert_eq!(app.get(&token, &format!("/api/notes?{query}")).await.rows().len(), 2, "{query}");
    }
}
