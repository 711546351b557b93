//! Computes the expected response of each sample endpoint from the generated rows, with loops and maps.
//!
//! It is deliberately independent: no SQL, no engine, and no code of the server. Visibility follows the data model (a
//! row belongs to its client), not the project's policies.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime};
use lakegate::sample::model::{Order, Route, Rows, Trackcode};
use serde_json::{Map, Value, json};

/// One record of a response, with its fields in the endpoint's column order.
pub(crate) type Record = Map<String, Value>;

/// All sample endpoints, and whether each one defines the order of its rows.
pub(crate) const ENDPOINTS: [(&str, bool); 11] = [
    ("all_orders_by_range", false),
    ("get_money_from_routes_by_range", false),
    ("most_visited_location_from_trackcode_by_range", true),
    ("count_trackcode_by_range", true),
    ("count_orders_by_range", true),
    ("count_trackcode_lost_by_range", true),
    ("trackcodes_lost_by_range", true),
    ("most_required_service_by_range", true),
    ("count_delivered_trackcode_before_promise_time_by_range", true),
    ("delivery_points_by_range", true),
    ("count_trackcode_by_client_city_by_range", true),
];

/// Minimum number of clients in a city; smaller groups are suppressed.
const LEAST_CLIENTS: usize = 5;

/// The visibility of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A caller for these clients.
    Clients(BTreeSet<i64>),
    /// A caller who sees all rows, including those without a client.
    All,
}

impl Caller {
    /// A caller for one client.
    pub(crate) fn client(id: i64) -> Self {
        Caller::Clients(BTreeSet::from([id]))
    }

    fn sees(&self, client_id: Option<i64>) -> bool {
        match self {
            Caller::All => true,
            Caller::Clients(ids) => client_id.is_some_and(|id| ids.contains(&id)),
        }
    }
}

/// The response of an endpoint to a caller without masks, for the trackcodes created from `start` to `end`. Both bounds
/// are inclusive, in microseconds since 1970.
pub(crate) fn answer(endpoint: &str, rows: &Rows, caller: &Caller, start: i64, end: i64) -> Vec<Record> {
    let seen = Seen::new(rows, caller, start, end);
    match endpoint {
        "all_orders_by_range" => all_orders(&seen),
        "get_money_from_routes_by_range" => money_from_routes(&seen),
        "most_visited_location_from_trackcode_by_range" => most_visited_location(&seen),
        "count_trackcode_by_range" => count_trackcode(&seen),
        "count_orders_by_range" => vec![record([("count", json!(seen.orders().count()))])],
        "count_trackcode_lost_by_range" => vec![record([("count", json!(lost(&seen).len()))])],
        "trackcodes_lost_by_range" => lost(&seen).into_iter().map(|id| record([("trackcode_id", json!(id))])).collect(),
        "most_required_service_by_range" => most_required_service(&seen),
        "count_delivered_trackcode_before_promise_time_by_range" => count_delivered(&seen),
        "delivery_points_by_range" => delivery_points(&seen),
        "count_trackcode_by_client_city_by_range" => count_by_client_city(&seen),
        _ => panic!("`{endpoint}` is not an endpoint of the sample"),
    }
}

/// A timestamp without a zone, as in responses: with a fraction of three or six digits only if it is not zero.
pub(crate) fn timestamp(micros: i64) -> String {
    naive(micros).format("%Y-%m-%dT%H:%M:%S%.f").to_string()
}

/// The date of a timestamp, as in responses.
pub(crate) fn date(micros: i64) -> String {
    naive(micros).format("%Y-%m-%d").to_string()
}

fn naive(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros).expect("a time of the sample is a time of the calendar").naive_utc()
}

/// The visible rows of the range, and the rows they refer to.
struct Seen<'a> {
    trackcodes: Vec<&'a Trackcode>,
    orders_of: BTreeMap<i64, Vec<&'a Order>>,
    routes: BTreeMap<i64, &'a Route>,
    cities: BTreeMap<i64, &'a str>,
    services: BTreeMap<i64, &'a str>,
    rows: &'a Rows,
}

impl<'a> Seen<'a> {
    fn new(rows: &'a Rows, caller: &Caller, start: i64, end: i64) -> Self {
        let mut trackcodes = Vec::new();
        for trackcode in &rows.trackcodes {
            if caller.sees(trackcode.client_id) && start <= trackcode.creation && trackcode.creation <= end {
                trackcodes.push(trackcode);
            }
        }
        let mut orders_of: BTreeMap<i64, Vec<&Order>> = BTreeMap::new();
        for order in &rows.orders {
            if let Some(trackcode_id) = order.trackcode_id {
                orders_of.entry(trackcode_id).or_default().push(order);
            }
        }
        Self {
            trackcodes,
            orders_of,
            routes: rows.routes.iter().map(|route| (route.id, route)).collect(),
            cities: rows.cities.iter().map(|city| (city.id, city.name.as_str())).collect(),
            services: rows.services.iter().map(|service| (service.id, service.name.as_str())).collect(),
            rows,
        }
    }

    /// Each order of the range, with its trackcode.
    fn orders(&self) -> impl Iterator<Item = (&'a Trackcode, &'a Order)> {
        self.trackcodes.iter().flat_map(|trackcode| {
            let orders = self.orders_of.get(&trackcode.id).map(Vec::as_slice).unwrap_or_default();
            orders.iter().map(|order| (*trackcode, *order))
        })
    }

    fn service_name(&self, trackcode: &Trackcode) -> Option<&'a str> {
        trackcode.service_id.and_then(|id| self.services.get(&id).copied())
    }
}

fn all_orders(seen: &Seen<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    for trackcode in &seen.trackcodes {
        let client = seen.rows.clients.iter().find(|client| Some(client.id) == trackcode.client_id);
        let city_name = client.and_then(|client| client.city_id).and_then(|id| seen.cities.get(&id));
        records.push(record([
            ("trackcode_id", json!(trackcode.id)),
            ("creation", json!(timestamp(trackcode.creation))),
            ("crossdocking", json!(trackcode.crossdocking)),
            ("pickup_address", json!(trackcode.pickup_address)),
            ("drop_address", json!(trackcode.drop_address)),
            ("product_description", json!(trackcode.product_description)),
            ("product_price", json!(trackcode.product_price)),
            ("product_weight", json!(trackcode.product_weight)),
            ("business_name", json!(client.map(|client| &client.business_name))),
            ("comercial_name", json!(client.map(|client| &client.comercial_name))),
            ("service_name", json!(seen.service_name(trackcode))),
            ("city_name", json!(city_name)),
        ]));
    }
    records
}

fn money_from_routes(seen: &Seen<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    let mut known = BTreeSet::new();
    for (trackcode, order) in seen.orders() {
        let Some(route) = order.route_id.and_then(|id| seen.routes.get(&id)) else {
            continue;
        };
        let found = record([
            ("route_id", json!(route.id)),
            ("route_code", json!(route.code)),
            ("trackcode_id", json!(trackcode.id)),
            ("price", json!(route.price_official.unwrap_or(10.0))),
            ("distance", json!(route.distance)),
            ("pickup_address", json!(trackcode.pickup_address)),
            ("drop_address", json!(trackcode.drop_address)),
            ("service_name", json!(seen.service_name(trackcode))),
            ("creation", json!(timestamp(trackcode.creation))),
        ]);
        if known.insert(Value::Object(found.clone()).to_string()) {
            records.push(found);
        }
    }
    records
}

fn most_visited_location(seen: &Seen<'_>) -> Vec<Record> {
    let mut visits: BTreeMap<(String, &str), BTreeSet<i64>> = BTreeMap::new();
    for (trackcode, order) in seen.orders() {
        let Some(route) = order.route_id.and_then(|id| seen.routes.get(&id)) else {
            continue;
        };
        if let Some(city) = seen.cities.get(&route.city_id) {
            visits.entry((date(trackcode.creation), city)).or_default().insert(trackcode.id);
        }
    }
    // The map is sorted by date and name, and the stable sort keeps that order among equal counts.
    let mut amounts = visits.into_iter().map(|(place, ids)| (place, ids.len())).collect::<Vec<_>>();
    amounts.sort_by(|(_, left), (_, right)| right.cmp(left));
    let row = |((day, city), amount)| {
        record([("date_creation", json!(day)), ("name", json!(city)), ("amount", json!(amount))])
    };
    amounts.into_iter().map(row).collect()
}

fn count_trackcode(seen: &Seen<'_>) -> Vec<Record> {
    let mut days: BTreeMap<String, u64> = BTreeMap::new();
    for trackcode in &seen.trackcodes {
        *days.entry(date(trackcode.creation)).or_default() += 1;
    }
    let row = |(day, counting)| record([("date_creation", json!(day)), ("counting", json!(counting))]);
    days.into_iter().map(row).collect()
}

/// Ids of trackcodes with an order that never started.
fn lost(seen: &Seen<'_>) -> BTreeSet<i64> {
    let never_started = seen.orders().filter(|(_, order)| order.start_time.is_none());
    never_started.map(|(trackcode, _)| trackcode.id).collect()
}

fn most_required_service(seen: &Seen<'_>) -> Vec<Record> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for trackcode in &seen.trackcodes {
        if let Some(name) = seen.service_name(trackcode) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut counts = counts.into_iter().collect::<Vec<_>>();
    counts.sort_by(|(_, left), (_, right)| right.cmp(left));
    let row = |(name, counting)| record([("name", json!(name)), ("counting", json!(counting))]);
    counts.into_iter().map(row).collect()
}

fn count_delivered(seen: &Seen<'_>) -> Vec<Record> {
    let (mut in_time, mut total) = (0, 0);
    for (_, order) in seen.orders() {
        total += 1;
        if let (Some(end_time), Some(promise_time)) = (order.end_time, order.promise_time) {
            in_time += u64::from(end_time <= promise_time);
        }
    }
    vec![record([("counting_delivered_orders", json!(in_time)), ("total_orders", json!(total))])]
}

fn delivery_points(seen: &Seen<'_>) -> Vec<Record> {
    let mut found: BTreeMap<(i64, &str), &Trackcode> = BTreeMap::new();
    for (trackcode, order) in seen.orders() {
        if let Some(route) = order.route_id.and_then(|id| seen.routes.get(&id)) {
            found.insert((trackcode.id, &route.code), trackcode);
        }
    }
    let row = |((id, code), trackcode): ((i64, &str), &Trackcode)| {
        record([
            ("trackcode_id", json!(id)),
            ("creation", json!(timestamp(trackcode.creation))),
            ("pickup_point", json!(trackcode.pickup_point)),
            ("drop_point", json!(trackcode.drop_point)),
            ("route_code", json!(code)),
        ])
    };
    found.into_iter().map(row).collect()
}

fn count_by_client_city(seen: &Seen<'_>) -> Vec<Record> {
    let mut cities: BTreeMap<&str, (u64, BTreeSet<i64>)> = BTreeMap::new();
    for trackcode in &seen.trackcodes {
        let client = seen.rows.clients.iter().find(|client| Some(client.id) == trackcode.client_id);
        let Some((client, city_id)) = client.and_then(|client| Some((client, client.city_id?))) else {
            continue;
        };
        if let Some(name) = seen.cities.get(&city_id) {
            let (trackcodes, clients) = cities.entry(name).or_default();
            *trackcodes += 1;
            clients.insert(client.id);
        }
    }
    let large = cities.into_iter().filter(|(_, (_, clients))| clients.len() >= LEAST_CLIENTS);
    let mut counts = large.map(|(name, (trackcodes, _))| (name, trackcodes)).collect::<Vec<_>>();
    counts.sort_by(|(_, left), (_, right)| right.cmp(left));
    let row = |(name, trackcodes)| record([("city_name", json!(name)), ("trackcodes", json!(trackcodes))]);
    counts.into_iter().map(row).collect()
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Record {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
