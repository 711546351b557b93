//! Each sample endpoint equals an independent computation over its rows, for several callers and ranges.

use chrono::{DateTime, Utc};
use lakegate::sample::Sample;
use lakegate::sample::model::Rows;
use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;
use crate::support::oracle::{Caller, ENDPOINTS, answer};

/// A range with a bound in the middle of a day, one that covers everything, a short one with offsets, and an empty one.
pub(crate) const RANGES: [(&str, &str); 4] = [
    ("2022-10-01", "2022-10-31T23:59:59.999999Z"),
    ("1970-01-01", "2100-01-01"),
    ("2022-11-11T11:11:11.5-05:00", "2022-11-20T01:00:00Z"),
    ("1999-01-01", "1999-12-31"),
];

pub(crate) fn micros(text: &str) -> i64 {
    match ScalarType::Timestamp.parse(text) {
        Some(Scalar::Timestamp(time)) => DateTime::<Utc>::timestamp_micros(&time),
        _ => panic!("{text}"),
    }
}

pub(crate) fn client_ids(ids: &[i64]) -> Value {
    match ids {
        [one] => Value::Scalar(Scalar::Integer(*one)),
        many => Value::List(ScalarType::Integer, many.iter().copied().map(Scalar::Integer).collect()),
    }
}

/// Callers of a sample: the biggest client, a medium one, one without rows, one for three clients, and an operator.
pub(crate) async fn callers(app: &TestApp, sample: &Sample) -> Vec<(String, String, Caller)> {
    let biggest = sample.biggest_client().id;
    let middling = sample.client_by_rank(7).id;
    let several = [middling, sample.client_by_rank(3).id, sample.idle_client().id];
    let mut callers = Vec::new();
    for (name, ids) in [
        ("biggest", &[biggest][..]),
        ("middling", &[middling][..]),
        ("idle", &[sample.idle_client().id][..]),
        ("several", &several[..]),
        ("nobody", &[-1][..]),
    ] {
        let token = app.admit(name, "client", &[("client_id", client_ids(ids))]).await;
        callers.push((name.to_owned(), token, Caller::Clients(ids.iter().copied().collect())));
    }
    callers.push(("operator".to_owned(), app.admit("operator", "operator", &[]).await, Caller::All));
    callers
}

#[tokio::test]
async fn every_endpoint_answers_what_the_rows_say() {
    let sample = Sample::new(11, 0.03).unwrap();
    let rows = sample.rows();
    hold_against_the_oracle(&TestApp::logistics(&rows).await, &sample, &rows).await;
}

#[tokio::test]
async fn every_endpoint_answers_from_files_what_it_answers_from_memory() {
    let sample = Sample::new(12, 0.01).unwrap();
    let rows = sample.rows();
    hold_against_the_oracle(&TestApp::logistics_from_files(&rows).await, &sample, &rows).await;
}

pub(crate) async fn hold_against_the_oracle(app: &TestApp, sample: &Sample, rows: &Rows) {
    let mut answers = 0;
    for (name, token, caller) in callers(app, sample).await {
        for (endpoint, ordered) in ENDPOINTS {
            for (start, end) in RANGES {
                let body = json!({ "start_datetime": start, "end_datetime": end });
                let got = app.post(&token, &format!("/api/{endpoint}"), &body).await.rows();
                let wanted = answer(endpoint, rows, &caller, micros(start), micros(end));
                compare(
                    &format!("{name} {endpoint} {start}..{end}"),
                    got,
                    wanted.into_iter().map(Json::Object).collect(),
                    ordered,
                );
                answers += 1;
            }
        }
    }
    assert_eq!(answers, 6 * ENDPOINTS.len() * RANGES.len());
}

#[tokio::test]
async fn get_and_post_and_all_headers_give_the_same_answer() {
    let sample = Sample::new(3, 0.005).unwrap();
    let app = TestApp::logistics(&sample.rows()).await;
    let token = app.admit("one", "client", &[("client_id", client_ids(&[sample.biggest_client().id]))]).await;
    let path = "/api/count_trackcode_by_range";
    let posted = app.post(&token, path, &json!({ "start_datetime": "2022-09-01", "end_datetime": "2022-12-31" })).await;
    let query = format!("{path}?start_datetime=2022-09-01&end_datetime=2022-12-31");
    assert!(posted.rows().len() > 5);
    for (header, value) in
        [("authorization", format!("bearer {token}")), ("x-api-key", token.clone()), ("token", token.clone())]
    {
        let request = axum::http::Request::get(&query).header(header, value).body(axum::body::Body::empty()).unwrap();
        assert_eq!(app.send(request).await.body, posted.body, "{header}");
    }
    // A call may split its arguments between the query string and the body.
    let mixed =
        app.post(&token, &format!("{path}?start_datetime=2022-09-01"), &json!({ "end_datetime": "2022-12-31" })).await;
    assert_eq!(mixed.body, posted.body);
}

/// Asserts equal rows, and equal order where the endpoint defines one.
pub(crate) fn compare(what: &str, mut got: Vec<Json>, mut wanted: Vec<Json>, ordered: bool) {
    assert_eq!(got.len(), wanted.len(), "rows of {what}");
    if !ordered {
        got.sort_by_key(Json::to_string);
        wanted.sort_by_key(Json::to_string);
    }
    for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        assert!(same(got, wanted), "{what}, row {at}:\n   got {got}\nwanted {wanted}");
    }
}

/// JSON equality with equal column order; `10.0` and `10` are equal.
fn same(got: &Json, wanted: &Json) -> bool {
    match (got, wanted) {
        (Json::Number(got), Json::Number(wanted)) => got == wanted || got.as_f64() == wanted.as_f64(),
        (Json::Object(got), Json::Object(wanted)) => {
            got.len() == wanted.len()
                && got.iter().zip(wanted).all(|(got, wanted)| got.0 == wanted.0 && same(got.1, wanted.1))
        }
        (got, wanted) => got == wanted,
    }
}
