//! Non-interference: a caller's responses on the whole lake equal, byte for byte, the ungoverned responses on a lake
//! with the caller's rows only; and no change to other clients' rows changes them.

use std::collections::BTreeSet;

use lakegate::sample::Sample;
use lakegate::sample::model::Rows;
use serde_json::json;

use crate::http::answers::{RANGES, client_ids};
use crate::support::app::{Answer, TestApp};
use crate::support::oracle::ENDPOINTS;

/// Occurs in each text of each row of other clients.
const CANARY: &str = "CANARY-9f3a";

/// The rows that a client may see, derived from the data model and not from the policies.
fn only_of(rows: &Rows, client: i64) -> Rows {
    let mut own = rows.clone();
    own.clients.retain(|row| row.id == client);
    own.trackcodes.retain(|row| row.client_id == Some(client));
    let trackcodes = own.trackcodes.iter().map(|row| Some(row.id)).collect::<BTreeSet<_>>();
    own.orders.retain(|row| trackcodes.contains(&row.trackcode_id));
    let routes = own.orders.iter().filter_map(|row| row.route_id).collect::<BTreeSet<_>>();
    own.routes.retain(|row| routes.contains(&row.id));
    own
}

/// The rows, with a canary in each text of other clients' rows, and with their numbers and times changed.
fn with_canaries(rows: &Rows, client: i64) -> Rows {
    let own = only_of(rows, client);
    let mut marked = rows.clone();
    for row in marked.clients.iter_mut().filter(|row| row.id != client) {
        row.business_name = format!("{CANARY} business");
        row.comercial_name = format!("{CANARY} name");
        row.enterprise_key = format!("{CANARY} key");
    }
    for row in marked.trackcodes.iter_mut().filter(|row| row.client_id != Some(client)) {
        row.pickup_address = format!("{CANARY} pickup");
        row.drop_address = format!("{CANARY} drop");
        row.pickup_point = format!("{CANARY} pickup point");
        row.drop_point = format!("{CANARY} drop point");
        row.product_description = format!("{CANARY} product");
        row.product_price = -1.0;
        row.service_id = None;
    }
    let own_routes = own.routes.iter().map(|row| row.id).collect::<BTreeSet<_>>();
    for row in marked.routes.iter_mut().filter(|row| !own_routes.contains(&row.id)) {
        row.code = CANARY.to_owned();
        row.price_official = Some(f64::NAN);
    }
    let own_orders = own.orders.iter().map(|row| row.id).collect::<BTreeSet<_>>();
    for row in marked.orders.iter_mut().filter(|row| !own_orders.contains(&row.id)) {
        (row.start_time, row.end_time) = (None, None);
    }
    marked
}

/// The rows without half of those of other clients.
fn without_many(rows: &Rows, client: i64) -> Rows {
    let mut fewer = rows.clone();
    fewer.trackcodes.retain(|row| row.client_id == Some(client) || row.id % 2 == 0);
    fewer.clients.retain(|row| row.id == client || row.id % 2 == 0);
    fewer
}

async fn answers(rows: &Rows, client: Option<i64>, in_memory: bool) -> Vec<Answer> {
    let app = if in_memory { TestApp::logistics(rows).await } else { TestApp::logistics_from_files(rows).await };
    let token = match client {
        Some(id) => app.admit("caller", "client", &[("client_id", client_ids(&[id]))]).await,
        // The operator sees all rows of its lake, so this response is ungoverned.
        None => app.admit("caller", "operator", &[]).await,
    };
    let mut answers = Vec::new();
    for (endpoint, _) in ENDPOINTS {
        for (start, end) in RANGES {
            answers.push(
                app.post(&token, &format!("/api/{endpoint}"), &json!({ "start_datetime": start, "end_datetime": end }))
                    .await,
            );
        }
    }
    answers
}

fn assert_same(what: &str, got: &[Answer], wanted: &[Answer]) {
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let (endpoint, ordered) = ENDPOINTS[at / RANGES.len()];
        assert_eq!(got.status, 200);
        if ordered {
            assert_eq!(got.text(), wanted.text(), "{what}: {endpoint}");
        } else {
            crate::http::answers::compare(&format!("{what}: {endpoint}"), got.rows(), wanted.rows(), false);
        }
        assert!(!got.text().contains(CANARY), "{what}: {endpoint}");
        let length = |answer: &Answer| answer.headers.get("content-length").cloned();
        assert_eq!(length(got), length(wanted), "{what}: {endpoint}");
    }
}

#[tokio::test]
async fn a_caller_gets_what_a_lake_of_its_own_rows_gives_anybody() {
    let sample = Sample::new(5, 0.02).unwrap();
    let rows = sample.rows();
    for client in [sample.biggest_client().id, sample.client_by_rank(5).id, sample.idle_client().id] {
        let ungoverned = answers(&only_of(&rows, client), None, false).await;
        for in_memory in [true, false] {
            let governed = answers(&with_canaries(&rows, client), Some(client), in_memory).await;
            assert_same(&format!("client {client}, in memory {in_memory}"), &governed, &ungoverned);
        }
    }
}

#[tokio::test]
async fn no_change_to_foreign_rows_changes_an_answer() {
    let sample = Sample::new(6, 0.01).unwrap();
    let rows = sample.rows();
    let client = sample.biggest_client().id;
    for in_memory in [true, false] {
        let before = answers(&rows, Some(client), in_memory).await;
        for changed in [with_canaries(&rows, client), without_many(&rows, client)] {
            assert_same("changed foreign rows", &answers(&changed, Some(client), in_memory).await, &before);
        }
    }
}
