//! Hostile arguments for each endpoint of the sample: status, code, each invalid argument named, no value repeated.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate::sample::Sample;
use lakegate_core::value::{Scalar, Value};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

use crate::http::refusals::{endpoints, refused};
use crate::support::app::{Answer, TestApp};

/// Texts that a parser, a formatter or an engine might misinterpret. None is a timestamp.
const PAYLOADS: &[&str] = &[
    "'",
    "\"",
    "`",
    "\\",
    "2022-10-01'",
    "2022-10-01' OR '1'='1",
    "2022-10-01'; DROP TABLE trackcode; --",
    "2022-10-01'/**/UNION/**/SELECT/**/enterprise_key/**/FROM/**/client--",
    "2022-10-01 -- x",
    "/* 2022-10-01 */",
    "$1",
    "$start_datetime",
    "${start_datetime}",
    "{{7*7}}",
    "$principal.client_id",
    "principal('client_id')",
    "%",
    "%s%n",
    "?",
    ":start_datetime",
    "2022-10-01\0",
    "\0",
    "\u{ff07}OR\u{ff07}1\u{ff07}=\u{ff07}1",
    "\u{2019} OR 1=1",
    "２０２２-10-01",
    "٢٠٢٢-١٠-٠١",
    "2022\u{2010}10\u{2010}01",
    "\u{202e}10-01-2022",
    "2022-10-01\u{200b}",
    "2022-10-01\r\nx-evil: 1",
    "2022-10-01abc",
    "2022-10-01T00:00:00Z; x",
    "0x7E6",
    "20221001",
    "1664582400",
    "2022",
    "2022-10",
    "2022-02-30",
    "2023-02-29",
    "2022-13-01",
    "2022-00-10",
    "2022-10-01T24:00:00Z",
    "2022-10-01T12:00:60Z",
    "2016-12-31T23:59:60Z",
    "2022-10-01T8:5:0",
    "2022-10-01T00:00:00+99:99",
    "2022-10-01T00:00:00\u{2212}05:00",
    "2022-10-01T00:00:00.1234567891234",
    "-2022-10-01",
    "+12022-10-01",
    "now",
    "now()",
    "CURRENT_TIMESTAMP",
    "infinity",
    "epoch",
    "NULL",
    "null",
    "true",
    "*",
    "",
    " ",
    "\u{feff}2022-10-01",
];

/// JSON that is not a string, or not a single one.
fn other_json() -> Vec<Json> {
    vec![
        json!(1),
        json!(-1.5),
        json!(20221001),
        json!(true),
        json!([]),
        json!(["2022-10-01"]),
        json!(["2022-10-01", "2022-10-02"]),
        json!({}),
        json!({ "$date": "2022-10-01" }),
        json!({ "start_datetime": "2022-10-01" }),
    ]
}

async fn app() -> (TestApp, String) {
    let sample = Sample::new(5, 0.002).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    let own = Value::Scalar(Scalar::Integer(sample.biggest_client().id));
    let token = app.admit("client", "client", &[("client_id", own)]).await;
    (app, token)
}

/// The parameters that a refusal names, in order, each with its code.
fn named(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(refused(answer), (400, "arguments_invalid".to_owned()), "{}", answer.text());
    let problem = answer.json();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (text(&error["parameter"]), text(&error["code"])))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(parameter, code)| ((*parameter).to_owned(), (*code).to_owned())).collect()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn no_payload_passes_in_any_parameter_of_any_endpoint() {
    let (app, token) = app().await;
    for endpoint in endpoints(&app) {
        for (hostile, harmless) in [("start_datetime", "end_datetime"), ("end_datetime", "start_datetime")] {
            for payload in PAYLOADS {
                let what = format!("{payload:?} as {hostile} of {endpoint}");
                let query = format!("/api/{endpoint}?{hostile}={}&{harmless}=2022-10-01", encoded(payload));
                let got = app.get(&token, &query).await;
                assert_eq!(named(&got), pairs(&[(hostile, "argument_type")]), "{what}");
                let posted = app
                    .post(&token, &format!("/api/{endpoint}"), &json!({ hostile: payload, harmless: "2022-10-01" }))
                    .await;
                assert_eq!(named(&posted), pairs(&[(hostile, "argument_type")]), "{what}");
                assert_eq!(got.json()["errors"], posted.json()["errors"], "{what}");
                // An error never repeats an argument, neither as plain text nor escaped as JSON.
                if payload.len() > 4 && !"2022-10-01".contains(payload) {
                    assert!(!posted.text().contains(payload), "{what}: {}", posted.text());
                    assert!(!posted.text().contains(json!(payload).to_string().trim_matches('"')), "{what}");
                }
            }
            for json in other_json() {
                let posted = app
                    .post(&token, &format!("/api/{endpoint}"), &json!({ hostile: json, harmless: "2022-10-01" }))
                    .await;
                assert_eq!(named(&posted), pairs(&[(hostile, "argument_type")]), "{json} as {hostile} of {endpoint}");
            }
        }
    }
}

#[tokio::test]
async fn every_wrong_argument_is_named_at_once() {
    let (app, token) = app().await;
    let good = "start_datetime=2022-10-01&end_datetime=2022-10-02";
    for endpoint in endpoints(&app) {
        let path = format!("/api/{endpoint}");
        for (query, wanted) in [
            ("".to_owned(), &[("start_datetime", "argument_missing"), ("end_datetime", "argument_missing")][..]),
            ("?start_datetime=2022-10-01".to_owned(), &[("end_datetime", "argument_missing")]),
            ("?start_datetime&end_datetime=2022-10-01".to_owned(), &[("start_datetime", "argument_type")]),
            (format!("?{good}&client_id=1"), &[("client_id", "argument_unknown")]),
            (format!("?{good}&Start_datetime=2022-10-01"), &[("Start_datetime", "argument_unknown")]),
            (format!("?{good}&=1"), &[("", "argument_unknown")]),
            (format!("?{good}&start_datetime=2022-10-01"), &[("start_datetime", "argument_duplicate")]),
            (format!("?{good}&start%5Fdatetime=2022-10-01"), &[("start_datetime", "argument_duplicate")]),
            (format!("?{good}&start_datetime[]=2022-10-01"), &[("start_datetime[]", "argument_unknown")]),
            (format!("?{good}&limit=x"), &[("limit", "argument_type")]),
            (format!("?{good}&limit=1&page_size=2"), &[("limit", "argument_constraint")]),
            (
                "?nothing=1&Limit=5&start_datetime=x&start_datetime=y".to_owned(),
                &[
                    ("nothing", "argument_unknown"),
                    ("Limit", "argument_unknown"),
                    ("start_datetime", "argument_duplicate"),
                    ("end_datetime", "argument_missing"),
                ],
            ),
        ] {
            let got = app.get(&token, &format!("{path}{query}")).await;
            assert_eq!(named(&got), pairs(wanted), "{endpoint} {query}");
        }
        for (body, wanted) in [
            ("", &[("start_datetime", "argument_missing"), ("end_datetime", "argument_missing")][..]),
            ("{}", &[("start_datetime", "argument_missing"), ("end_datetime", "argument_missing")]),
            (r#"{"start_datetime": null, "end_datetime": "2022-10-01"}"#, &[("start_datetime", "argument_missing")]),
            (
                r#"{"start_datetime": "2022-10-01", "start_datetime": "2022-10-01", "end_datetime": "2022-10-02"}"#,
                &[("start_datetime", "argument_duplicate")],
            ),
            (
                r#"{"x": {"a": [1, {"b": null}]}, "token": "t", "start_datetime": 5, "end_datetime": "2022-02-30"}"#,
                &[
                    ("x", "argument_unknown"),
                    ("token", "argument_unknown"),
                    ("start_datetime", "argument_type"),
                    ("end_datetime", "argument_type"),
                ],
            ),
        ] {
            let got = app.post_text(&token, &path, body).await;
            assert_eq!(named(&got), pairs(wanted), "{endpoint} {body}");
        }
        // An argument in both the query string and the body is a duplicate.
        let body = json!({ "start_datetime": "2022-10-01", "end_datetime": "2022-10-02" });
        let twice = app.post(&token, &format!("{path}?start_datetime=2022-10-01"), &body).await;
        assert_eq!(named(&twice), pairs(&[("start_datetime", "argument_duplicate")]), "{endpoint}");
    }
}

#[tokio::test]
async fn an_inverted_range_breaks_the_rule_and_the_widest_one_does_not() {
    let (app, token) = app().await;
    for endpoint in endpoints(&app) {
        for (start, end) in [
            ("2022-10-02", "2022-10-01"),
            ("2022-10-01T00:00:00.000001Z", "2022-10-01"),
            ("2022-10-01T00:00:00-00:01", "2022-10-01"),
            ("9999-12-31", "0000-01-01"),
        ] {
            let body = json!({ "start_datetime": start, "end_datetime": end });
            let got = app.post(&token, &format!("/api/{endpoint}"), &body).await;
            assert_eq!(refused(&got), (422, "rule_violated".to_owned()), "{endpoint} {start}..{end}");
            assert_eq!(got.json()["detail"], "start_datetime must not be after end_datetime");
        }
        for (start, end) in [
            ("0000-01-01", "9999-12-31T23:59:59.999999Z"),
            ("0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"),
            ("2022-10-01", "2022-10-01"),
            ("2022-10-01T00:00:00+05:00", "2022-09-30t19:00:00z"),
        ] {
            let body = json!({ "start_datetime": start, "end_datetime": end });
            let got = app.post(&token, &format!("/api/{endpoint}"), &body).await;
            assert_eq!(got.status, 200, "{endpoint} {start}..{end}: {}", got.text());
        }
    }
}

/// A small request must not cause a huge error or much work.
#[tokio::test]
async fn a_flood_of_unknown_names_is_told_in_short() {
    let (app, token) = app().await;
    let members = (0..60_000).map(|at| format!("\"a{at}\":1")).collect::<Vec<_>>().join(",");
    let got = app.post_text(&token, "/api/count_orders_by_range", &format!("{{{members}}}")).await;
    let named = named(&got);
    assert_eq!(named.len(), 53);
    assert!(got.text().contains("59950 more unknown parameters"), "{}", got.text());
    assert_eq!(named[52], ("end_datetime".to_owned(), "argument_missing".to_owned()));
    assert!(got.body.len() < 20_000, "{}", got.body.len());
}

#[tokio::test]
async fn a_name_is_repeated_in_short_and_without_control_characters() {
    let (app, token) = app().await;
    let name = format!("a\r\nb\0c\u{1b}[31m{}", "d".repeat(5_000));
    let got = app.get(&token, &format!("/api/count_orders_by_range?{}=1", encoded(&name))).await;
    let first = &named(&got)[0];
    assert!(first.0.starts_with("abc[31mddd") && first.0.len() == 64, "{first:?}");
}
