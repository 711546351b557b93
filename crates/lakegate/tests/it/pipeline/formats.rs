//! Formats and compression of responses over HTTP: the negotiated form, its headers, and truncation on failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt;
use lakegate::sample::Sample;
use lakegate_core::format::{Coding, Format};
use serde_json::json;

use crate::http::answers::client_ids;
use crate::http::requests::{app, is, send};
use crate::support::app::{Answer, TestApp};
use crate::support::oracle::ENDPOINTS;

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// A project whose endpoint returns this number of rows, and fails at a chosen row.
async fn numbers(rows: usize) -> (TestApp, String) {
    let mixed = |n: usize| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let lines =
        (0..rows).map(|n| format!("{n},=text number {:x} that makes the row longer\n", mixed(n))).collect::<String>();
    let sql = "/*---\nsummary = \"Numbers\"\ncache_seconds = 60\n[params.fails_at]\ntype = \"integer\"\ndefault = -1\n---*/\n\
               SELECT n, text, CASE WHEN n = $fails_at THEN 1 / (n - $fails_at) ELSE n END AS checked FROM number\n";
    let app = TestApp::project(&[
        ("lakegate.toml", "[lake]\nlocation = \"lake/\"\n[tables.number]\nlocation = \"number.csv\"\nshared = true\n[formats]\nxlsx_max_rows = 50\n"),
        ("lake/number.csv", &format!("n,text\n{lines}")),
        ("endpoints/numbers.sql", sql),
    ])
    .await;
    let token = app.admit_with("one", "numbers", &[json!({})]).await;
    (app, token)
}

#[tokio::test]
async fn a_format_is_chosen_by_name_or_by_accept_and_said_in_the_headers() {
    let (app, token, _) = app().await;
    for format in Format::ALL {
        let by_name = app.get(&token, &format!("/api/notes?format={}", format.name())).await;
        let accept = Request::get("/api/notes").header("accept", format.media_type());
        let by_accept = send(&app, &token, accept, Body::empty()).await;
        let posted = Request::post("/api/notes").header("accept", format.media_type());
        let posted = send(&app, &token, posted, "{}").await;
        assert_eq!(by_name.body, by_accept.body, "{format:?}");
        assert_eq!(by_name.body, posted.body, "{format:?}");
        for answer in [by_name, by_accept, posted] {
            assert_eq!(answer.status, 200, "{format:?}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(header(&answer, "content-type"), Some(format.content_type().as_str()));
            assert_eq!(header(&answer, "content-encoding"), None);
            let saved = format!("attachment; filename=\"notes.{}\"", format.extension());
            assert_eq!(header(&answer, "content-disposition"), format.is_file().then_some(saved.as_str()));
            assert_eq!(header(&answer, "vary"), Some("authorization, x-api-key, token, accept, accept-encoding"));
        }
    }
    assert_eq!(app.get(&token, "/api/notes?format=ndjson").await.text(), "{\"id\":2}\n{\"id\":3}\n");
    assert_eq!(app.get(&token, "/api/notes?format=csv").await.text(), "id\r\n2\r\n3\r\n");
    assert_eq!(app.get(&token, "/api/notes?format=csv&least=9").await.text(), "id\r\n");
    assert_eq!(app.get(&token, "/api/notes?format=ndjson&least=9").await.text(), "");
}

#[tokio::test]
async fn an_unknown_format_is_told_which_there_are() {
    let (app, token, _) = app().await;
    let got = app.get(&token, "/api/notes?format=xml").await;
    assert!(is(&got, 406, "request_format_unknown"));
    for format in Format::ALL {
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("`{}` (`{}`)", format.name(), format.media_type())), "{detail}");
    }
    let refused = Request::get("/api/notes").header("accept-encoding", "identity;q=0, deflate");
    assert!(is(&send(&app, &token, refused, Body::empty()).await, 406, "request_format_unknown"));
}

/// Errors and lists stay JSON, whatever the client accepts.
#[tokio::test]
async fn refusals_and_lists_stay_json() {
    let (app, token, _) = app().await;
    let wrong = Request::get("/api/notes?least=x").header("accept", "text/csv").header("accept-encoding", "gzip");
    let wrong = send(&app, &token, wrong, Body::empty()).await;
    assert!(is(&wrong, 400, "arguments_invalid"));
    assert_eq!(header(&wrong, "content-disposition"), None);
    let list = Request::get("/api").header("accept", "text/csv").header("accept-encoding", "gzip");
    let list = send(&app, &token, list, Body::empty()).await;
    assert_eq!(list.json()["endpoints"][0]["name"], "notes");
}

#[tokio::test]
async fn answers_are_compressed_for_who_takes_that() {
    let (app, token) = numbers(2_000).await;
    let plain = app.get(&token, "/api/numbers").await;
    for coding in Coding::ALL {
        let get =
            |path: &str| Request::get(path.to_owned()).header("accept-encoding", format!("{}, deflate", coding.name()));
        let packed = send(&app, &token, get("/api/numbers"), Body::empty()).await;
        assert_eq!((packed.status, header(&packed, "content-encoding")), (200, Some(coding.name())));
        assert!(packed.body.len() * 3 < plain.body.len(), "{coding:?}: {}", packed.body.len());
        // Formats with their own compression are not compressed again.
        let parquet = send(&app, &token, get("/api/numbers?format=parquet"), Body::empty()).await;
        assert_eq!((parquet.status, header(&parquet, "content-encoding")), (200, None));
        assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    }
    let (app, token, _) = self::app().await;
    let tiny = Request::get("/api/notes").header("accept-encoding", "gzip, zstd, br");
    let tiny = send(&app, &token, tiny, Body::empty()).await;
    assert_eq!((header(&tiny, "content-encoding"), tiny.text()), (None, r#"[{"id":2},{"id":3}]"#));
    let refused = Request::get("/api/notes").header("accept-encoding", "gzip, identity;q=0");
    let packed = send(&app, &token, refused, Body::empty()).await;
    assert_eq!(header(&packed, "content-encoding"), Some("gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn head_says_what_get_would() {
    let (app, token) = numbers(2_000).await;
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Xlsx) {
        let path = format!("/api/numbers?format={}", format.name());
        let head = send(&app, &token, Request::head(&path).header("accept-encoding", "br"), Body::empty()).await;
        let get = send(&app, &token, Request::get(&path).header("accept-encoding", "br"), Body::empty()).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{format:?}");
        for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_DISPOSITION] {
            assert_eq!(head.headers.get(&name), get.headers.get(&name), "{format:?} {name}");
        }
    }
}

#[tokio::test]
async fn formulas_are_guarded_unless_the_caller_says_no() {
    let (app, token) = numbers(1).await;
    let path = "/api/numbers?format=csv&select=text";
    let guarded = "text\r\n\"'=text number 0 that makes the row longer\"\r\n";
    assert_eq!(app.get(&token, path).await.text(), guarded);
    assert_eq!(app.get(&token, &format!("{path}&csv_guard=on")).await.text(), guarded);
    let raw = app.get(&token, &format!("{path}&csv_guard=off")).await;
    assert_eq!(raw.text(), "text\r\n=text number 0 that makes the row longer\r\n");
    let wrong = app.get(&token, &format!("{path}&csv_guard=no")).await;
    assert!(is(&wrong, 400, "arguments_invalid"));
    assert_eq!(wrong.json()["errors"][0]["parameter"], "csv_guard");
    let twice = app.get(&token, &format!("{path}&csv_guard=on&csv_guard=on")).await;
    assert_eq!(twice.json()["errors"][0]["code"], "argument_duplicate");
}

#[tokio::test]
async fn a_workbook_of_too_many_rows_is_refused_with_what_to_do() {
    let (app, token) = numbers(51).await;
    let got = app.get(&token, "/api/numbers?format=xlsx").await;
    assert!(is(&got, 422, "result_too_large"));
    assert_eq!(header(&got, "content-disposition"), None);
    let problem = got.json();
    assert!(problem["detail"].as_str().unwrap().contains("more than 50 rows"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("format=csv"), "{problem}");
    let (app, token) = numbers(50).await;
    assert_eq!(app.get(&token, "/api/numbers?format=xlsx").await.status, 200);
}

/// Each representation has its own validator, and a cached response is sent in its original form.
#[tokio::test]
async fn an_answer_that_is_kept_keeps_its_form() {
    let (app, token) = numbers(2_000).await;
    let ask = |path: &str, accepted: &str, known: &str| {
        let request = Request::get(path.to_owned()).header("accept-encoding", accepted.to_owned());
        let request = request.header("if-none-match", known.to_owned()).header("token", token.clone());
        request.body(Body::empty()).unwrap()
    };
    let mut validators = Vec::new();
    for path in [
        "",
        "?format=json",
        "?format=csv",
        "?format=csv&csv_guard=off",
        "?format=ndjson",
        "?format=arrow",
        "?format=parquet",
    ] {
        for accepted in ["identity", "gzip", "br", "zstd"] {
            let path = format!("/api/numbers{path}");
            let first = app.send(ask(&path, accepted, "\"another\"")).await;
            let again = app.send(ask(&path, accepted, "\"another\"")).await;
            assert_eq!((first.status, &first.body), (200, &again.body), "{path} {accepted}");
            for name in ["content-type", "content-encoding", "content-disposition", "etag"] {
                assert_eq!(header(&first, name), header(&again, name), "{path} {accepted}");
            }
            let validator = header(&first, "etag").unwrap().to_owned();
            assert_eq!(app.send(ask(&path, accepted, &validator)).await.status, 304, "{path} {accepted}");
            validators.push(validator);
        }
    }
    validators.sort();
    validators.dedup();
    // Explicit and default JSON share a validator, and Parquet is never compressed again.
    assert_eq!(validators.len(), 5 * 4 + 1);
}

/// A query that fails midway returns an error status or a truncated response, never a complete one.
#[tokio::test]
async fn a_query_that_fails_midway_is_never_a_whole_answer() {
    let (app, token) = numbers(40_000).await;
    let mut cut = Vec::new();
    for format in Format::ALL {
        for coding in ["identity", "gzip", "br", "zstd"] {
            let path = format!("/api/numbers?format={}&fails_at=39999", format.name());
            let request = Request::get(path).header("accept-encoding", coding).header("token", token.as_str());
            let response = app.respond(request.body(Body::empty()).unwrap()).await;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            match format {
                // These formats return no bytes before the end, or before a row group is full.
                Format::Parquet | Format::Xlsx => assert_eq!(status, 422),
                _ => assert!(status == 422 || (status == 200 && body.is_err()), "{format:?} {coding}: {status}"),
            }
            if status == 200 {
                cut.push(format!("{} {coding}", format.name()));
            }
            let whole = format!("/api/numbers?format={}", format.name());
            let whole = Request::get(whole).header("accept-encoding", coding).header("token", token.as_str());
            let whole = app.respond(whole.body(Body::empty()).unwrap()).await;
            if format != Format::Xlsx {
                assert!(whole.status() == 200 && whole.into_body().collect().await.is_ok(), "{format:?} {coding}");
            }
        }
    }
    // The other combinations were small enough to return an error status.
    for format in ["json", "ndjson", "csv", "arrow"] {
        assert!(cut.contains(&format!("{format} identity")) && cut.contains(&format!("{format} gzip")), "{cut:?}");
    }
}

#[tokio::test]
async fn every_endpoint_of_the_sample_has_every_format() {
    let sample = Sample::new(5, 0.005).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    let token = app.admit("one", "client", &[("client_id", client_ids(&[sample.biggest_client().id]))]).await;
    for (endpoint, _) in ENDPOINTS {
        for range in
            ["start_datetime=2022-01-01&end_datetime=2023-01-01", "start_datetime=1999-01-01&end_datetime=1999-01-02"]
        {
            let path = |format: &str| format!("/api/{endpoint}?{range}&format={format}");
            let rows = app.get(&token, &path("json")).await.rows();
            let lines = app.get(&token, &path("ndjson")).await;
            let lines = lines.text().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let lines = lines.collect::<Vec<_>>();
            assert_eq!(lines.len(), rows.len(), "{endpoint}");
            for format in ["csv", "arrow", "parquet", "xlsx"] {
                let got = app.get(&token, &path(format)).await;
                assert_eq!(got.status, 200, "{endpoint} {format}: {}", String::from_utf8_lossy(&got.body));
                assert!(!got.body.is_empty());
            }
        }
    }
}
