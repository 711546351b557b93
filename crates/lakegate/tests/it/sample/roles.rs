//! The demo's roles, served by the real binary: what an owner, a partner, support and an operator get.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use lakegate::sample::Sample;
use lakegate::sample::model::Rows;
use serde_json::{Value as Json, json};

use crate::http::answers::{compare, micros};
use crate::support::binary::Project;
use crate::support::oracle::{self, Caller, Record};
use crate::support::wire::{Process, Reply};

const SCALE: &str = "0.08";
const MONTH: (&str, &str) = ("2022-10-01", "2022-11-01");
const YEAR: (&str, &str) = ("2022-01-01", "2022-12-31T23:59:59.999999Z");
const CITIES: &str = "count_trackcode_by_client_city_by_range";
/// An endpoint that selects a column that nobody may see.
const KEYS: &str = "/*---\nsummary = \"Keys\"\n---*/\nSELECT id, enterprise_key FROM client ORDER BY id\n";

/// A running demo, and the rows it serves.
struct Demo {
    _project: Project,
    server: Process,
    client: i64,
    rows: Rows,
}

impl Demo {
    fn start() -> Self {
        let project = Project::new();
        project.write("demo/endpoints/keys.sql", KEYS);
        let arguments = ["demo", "--dir", "demo", "--scale", SCALE, "--listen", "127.0.0.1:0", "--json"];
        let server = Process::start(&mut project.command(&arguments));
        let sample = Sample::new(1, SCALE.parse().unwrap()).unwrap();
        Self { _project: project, server, client: sample.biggest_client().id, rows: sample.rows() }
    }

    fn owner(&self) -> String {
        format!("client-{}", self.client)
    }

    fn partner(&self) -> String {
        format!("partner-of-{}", self.client)
    }

    fn token(&self, name: &str) -> &str {
        let principals = self.server.said["principals"].as_array().unwrap();
        principals.iter().find(|one| one["name"] == name).unwrap()["token"].as_str().unwrap()
    }

    fn ask(&self, name: &str, endpoint: &str, (start, end): (&str, &str)) -> Reply {
        let query = format!("/api/{endpoint}?start_datetime={start}&end_datetime={end}");
        self.server.get(&query, self.token(name))
    }

    fn raw(&self, endpoint: &str, caller: &Caller, (start, end): (&str, &str)) -> Vec<Record> {
        oracle::answer(endpoint, &self.rows, caller, micros(start), micros(end))
    }

    /// The unmasked rows of an owner or partner.
    fn own(&self, endpoint: &str, range: (&str, &str)) -> Vec<Record> {
        self.raw(endpoint, &Caller::client(self.client), range)
    }
}

fn objects(records: Vec<Record>) -> Vec<Json> {
    records.into_iter().map(Json::Object).collect()
}

/// The centre of a point's grid cell of 0.05 degrees, computed from the point in millionths of a degree.
fn cell(point: &Json) -> String {
    let inner = point.as_str().unwrap().strip_prefix("POINT (").unwrap().strip_suffix(')').unwrap();
    let middle = |degrees: &str| {
        let millionths = degrees.replacen('.', "", 1).parse::<i64>().unwrap();
        let middle = millionths.div_euclid(50_000) * 50_000 + 25_000;
        let sign = if middle < 0 { "-" } else { "" };
        format!("{sign}{}.{:03}", middle.abs() / 1_000_000, middle.abs() % 1_000_000 / 1_000)
    };
    let (longitude, latitude) = inner.split_once(' ').unwrap();
    format!("POINT ({} {})", middle(longitude), middle(latitude))
}

/// Splits rows into the rows without route codes, and the route codes of each trackcode.
fn split_codes(rows: &[Json]) -> (Vec<Json>, BTreeMap<i64, BTreeSet<String>>) {
    let mut codes: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut rest = rows.to_vec();
    for row in &mut rest {
        let fields = row.as_object_mut().unwrap();
        let code = fields.remove("route_code").unwrap().as_str().unwrap().to_owned();
        codes.entry(fields["trackcode_id"].as_i64().unwrap()).or_default().insert(code);
    }
    (rest, codes)
}

/// Compares pseudonymised rows with raw ones: all other columns are equal, and each code has one pseudonym of its own.
fn compare_pseudonyms(what: &str, got: &[Json], wanted: &[Json], ordered: bool) {
    let (got, pseudonyms) = split_codes(got);
    let (wanted, codes) = split_codes(wanted);
    compare(what, got, wanted, ordered);
    let mut pseudonym_of = BTreeMap::new();
    for (id, codes) in codes.iter().filter(|(_, codes)| codes.len() == 1) {
        let (code, pseudonym) = (codes.first().unwrap(), pseudonyms[id].first().unwrap());
        assert!(pseudonym.len() == 32 && pseudonym.bytes().all(|byte| byte.is_ascii_hexdigit()), "{pseudonym}");
        assert!(!pseudonym.contains(code.as_str()));
        assert_eq!(pseudonym_of.entry(code).or_insert(pseudonym), &pseudonym, "equal codes, equal pseudonyms");
    }
    let different = pseudonym_of.values().collect::<BTreeSet<_>>();
    assert_eq!(different.len(), pseudonym_of.len(), "different codes, different pseudonyms");
    assert!(pseudonym_of.len() > 20, "{what}: {} routes", pseudonym_of.len());
    for (id, codes) in &codes {
        if let Some(known) = codes.iter().map(|code| pseudonym_of.get(code)).collect::<Option<Vec<_>>>() {
            assert_eq!(known.into_iter().copied().cloned().collect::<BTreeSet<_>>(), pseudonyms[id]);
        }
    }
    let shared = codes.values().flatten().count() > codes.values().flatten().collect::<BTreeSet<_>>().len();
    assert!(shared, "some route carried two trackcodes");
}

#[test]
fn a_partner_sees_its_clients_rows_in_part_and_masked() {
    let demo = Demo::start();
    let name = demo.partner();
    let listed = demo.server.get("/api", demo.token(&name)).json();
    let names = listed["endpoints"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names, ["all_orders_by_range", "delivery_points_by_range"]);

    let granted = ["trackcode_id", "creation", "pickup_address", "drop_address", "product_weight", "service_name"];
    let mut wanted = demo.own("all_orders_by_range", MONTH);
    assert!(wanted.len() > 100);
    for row in &mut wanted {
        row.retain(|column, _| granted.contains(&column.as_str()));
        row["pickup_address"] = json!("[redacted]");
        row["drop_address"] = json!("[redacted]");
    }
    let got = demo.ask(&name, "all_orders_by_range", MONTH).rows();
    compare("a partner's orders", got, objects(wanted), false);
    let columns = listed["endpoints"][0]["columns"].as_array().unwrap().iter().map(|column| column["name"].clone());
    assert_eq!(columns.collect::<Vec<_>>(), granted);

    let mut wanted = demo.own("delivery_points_by_range", MONTH);
    for row in &mut wanted {
        for point in ["pickup_point", "drop_point"] {
            row[point] = json!(cell(&row[point]));
        }
    }
    let got = demo.ask(&name, "delivery_points_by_range", MONTH).rows();
    // Pseudonyms change the order of a trackcode's routes, and nothing else.
    compare_pseudonyms("a partner's points", &got, &objects(wanted), true);

    // A range over 31 days is refused, and so is a column that is not granted, in `select` or `order`.
    for endpoint in ["all_orders_by_range", "delivery_points_by_range"] {
        let refused = demo.ask(&name, endpoint, ("2022-10-01", "2022-11-02"));
        assert_eq!(refused.refusal(), (422, "argument_not_granted".to_owned()));
        assert!(refused.text().contains("31d"), "{}", refused.text());
    }
    for modifier in ["select=product_price", "order=business_name"] {
        let path = "/api/all_orders_by_range?start_datetime=2022-10-01&end_datetime=2022-10-02";
        let refused = demo.server.get(&format!("{path}&{modifier}"), demo.token(&name));
        assert_eq!(refused.refusal(), (400, "arguments_invalid".to_owned()), "{modifier}");
    }
    let refused = demo.ask(&name, "count_orders_by_range", MONTH);
    assert_eq!(refused.refusal(), (403, "access_not_granted".to_owned()));
}

#[test]
fn an_owner_sees_its_addresses_and_an_operator_sees_everything() {
    let demo = Demo::start();
    let owner = demo.owner();
    let got = demo.ask(&owner, "all_orders_by_range", YEAR).rows();
    compare("an owner's orders", got, objects(demo.own("all_orders_by_range", YEAR)), false);
    for (endpoint, ordered) in [("delivery_points_by_range", true), ("get_money_from_routes_by_range", false)] {
        let got = demo.ask(&owner, endpoint, YEAR).rows();
        compare_pseudonyms(endpoint, &got, &objects(demo.own(endpoint, YEAR)), ordered);
    }
    // Two callers of a client get the same pseudonym for a route.
    let points = |name: &str| demo.ask(name, "delivery_points_by_range", MONTH).rows();
    assert_eq!(split_codes(&points(&owner)).1, split_codes(&points(&demo.partner())).1);

    for (endpoint, ordered) in oracle::ENDPOINTS {
        let got = demo.ask("operator", endpoint, YEAR).rows();
        compare(endpoint, got, objects(demo.raw(endpoint, &Caller::All, YEAR)), ordered);
    }
}

#[test]
fn support_counts_cities_with_enough_clients_and_sees_nothing_else() {
    let demo = Demo::start();
    for (endpoint, _) in oracle::ENDPOINTS.into_iter().filter(|(endpoint, _)| *endpoint != CITIES) {
        let refused = demo.ask("support", endpoint, MONTH);
        assert_eq!(refused.refusal(), (403, "access_not_granted".to_owned()), "{endpoint}");
    }
    let listed = demo.server.get("/api", demo.token("support")).json();
    assert_eq!(listed["endpoints"].as_array().unwrap().len(), 1);
    let got = demo.ask("support", CITIES, YEAR).rows();
    compare(CITIES, got.clone(), objects(demo.raw(CITIES, &Caller::All, YEAR)), true);

    // Count independently: a city is present exactly if enough of its clients sent something.
    let senders = demo.rows.trackcodes.iter().filter_map(|row| row.client_id).collect::<BTreeSet<_>>();
    let name_of = demo.rows.cities.iter().map(|city| (city.id, city.name.as_str())).collect::<BTreeMap<_, _>>();
    let mut clients: BTreeMap<&str, usize> = BTreeMap::new();
    for client in demo.rows.clients.iter().filter(|client| senders.contains(&client.id)) {
        if let Some(city_id) = client.city_id {
            *clients.entry(name_of[&city_id]).or_default() += 1;
        }
    }
    let shown = got.iter().map(|row| row["city_name"].as_str().unwrap()).collect::<BTreeSet<_>>();
    for (city, count) in &clients {
        assert_eq!(shown.contains(city), *count >= 5, "{city}: {count}");
    }
    assert!(!shown.is_empty() && shown.len() < clients.len(), "{clients:?}");
    // A client alone never reaches the minimum group size.
    assert_eq!(demo.ask(&demo.owner(), CITIES, YEAR).rows(), Vec::<Json>::new());
}

#[test]
fn nobody_sees_the_key_of_a_client() {
    let demo = Demo::start();
    let names = demo.server.said["principals"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    for name in names {
        for (endpoint, _) in oracle::ENDPOINTS {
            let text = demo.ask(name, endpoint, YEAR).text();
            assert!(!text.contains("enterprise_key"), "{name} {endpoint}");
            for client in &demo.rows.clients {
                assert!(!text.contains(&client.enterprise_key), "{name} {endpoint}: {}", client.id);
            }
        }
        let keys = demo.server.get("/api/keys", demo.token(name));
        if keys.status == 200 {
            let rows = keys.rows();
            assert!(!rows.is_empty() && rows.iter().all(|row| row["enterprise_key"].is_null()), "{name}: {rows:?}");
        } else {
            assert_eq!(keys.refusal(), (403, "access_not_granted".to_owned()), "{name}");
        }
    }
}
