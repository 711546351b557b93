//! The sample lake and its oracle on their own: determinism, shape, integrity, and the files on disk.
//!
//! Other tests compare the served endpoints with the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use lakegate::sample::model::Rows;
use lakegate::sample::{Sample, SampleError, is_written, project, write_lake, write_project, write_starter};
use serde_json::Value;

use crate::support::oracle::{self, Caller};

const DAY: i64 = 86_400_000_000;
/// 2022-09-01 and the last microsecond of 2022.
const FIRST: i64 = 19_236 * DAY;
const LAST: i64 = FIRST + 122 * DAY - 1;

fn small() -> Sample {
    Sample::new(7, 0.02).expect("a scale above 0")
}

/// FNV-1a hash of the `Debug` form of each row.
fn fingerprint<T: Debug>(rows: &[T]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for row in rows {
        for byte in format!("{row:?}").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[test]
fn a_seed_and_scale_give_the_same_rows_for_ever() {
    let rows = small().rows();
    // A change here changes the sample for existing users: raise `LAYOUT` in src/sample/lake.rs.
    let prints = [
        fingerprint(&rows.countries),
        fingerprint(&rows.cities),
        fingerprint(&rows.services),
        fingerprint(&rows.product_sizes),
        fingerprint(&rows.clients),
        fingerprint(&rows.routes),
        fingerprint(&rows.trackcodes),
        fingerprint(&rows.orders),
    ];
    insta::assert_snapshot!(prints.join("\n"), @"
    fd2ec49421643983
    e56b989cba155722
    baf88aa4e198c3ab
    fd410781cdc72cbe
    f29e225b7072dc2a
    54a9c03426f04cf8
    a709b3a3ff0f58b0
    56e160c6f84358c5
    ");
    assert_eq!(rows, small().rows());
    assert_ne!(rows.trackcodes, Sample::new(8, 0.02).unwrap().rows().trackcodes);
}

#[test]
fn one_client_owns_fifteen_percent_and_one_nothing() {
    for scale in [0.01, 0.3, 1.0] {
        let sample = Sample::new(7, scale).unwrap();
        let mut counts: BTreeMap<Option<i64>, u64> = BTreeMap::new();
        for shipments in sample.shipments() {
            counts.insert(shipments.client_id, shipments.trackcodes.len() as u64);
        }
        let all: u64 = counts.values().sum();
        assert_eq!(all, sample.trackcode_count());
        assert_eq!(all, (100_000.0 * scale) as u64);
        let share = counts[&Some(sample.biggest_client().id)] as f64 / all as f64;
        assert!((0.145..=0.155).contains(&share), "scale {scale}: {share}");
        assert_eq!(counts[&Some(sample.idle_client().id)], 0);
        assert!((7..20).contains(&counts[&None]), "a handful without a client");
        let by_rank = (0..sample.clients().len()).map(|rank| counts[&Some(sample.client_by_rank(rank).id)]);
        let by_rank = by_rank.collect::<Vec<_>>();
        // Rounding may swap neighbours by one.
        assert!(by_rank.windows(2).all(|pair| pair[0] + 1 >= pair[1]), "scale {scale}: ranks go down");
    }
    assert_eq!(Sample::new(7, 1.0).unwrap().clients().len(), 1_400);
}

#[test]
fn a_scale_that_is_no_size_is_refused() {
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(matches!(Sample::new(7, scale), Err(SampleError::Scale { .. })), "{scale}");
    }
    assert!(Sample::new(7, 1e-9).unwrap().trackcode_count() > 0);
}

#[test]
fn every_reference_leads_somewhere() {
    for sample in [small(), Sample::new(u64::MAX, 0.1).unwrap(), Sample::new(0, 1e-9).unwrap()] {
        let rows = sample.rows();
        let countries = ids(rows.countries.iter().map(|row| row.id));
        let cities = ids(rows.cities.iter().map(|row| row.id));
        let services = ids(rows.services.iter().map(|row| row.id));
        let sizes = ids(rows.product_sizes.iter().map(|row| row.id));
        let clients = ids(rows.clients.iter().map(|row| row.id));
        let routes = ids(rows.routes.iter().map(|row| row.id));
        let trackcodes = ids(rows.trackcodes.iter().map(|row| row.id));
        ids(rows.orders.iter().map(|row| row.id));

        assert!(rows.cities.iter().all(|row| countries.contains(&row.country_id)));
        assert!(rows.routes.iter().all(|row| cities.contains(&row.city_id)));
        for row in &rows.clients {
            assert!(row.city_id.is_none_or(|id| cities.contains(&id)));
            assert!(row.service_ids.iter().all(|id| services.contains(&i64::from(*id))));
        }
        for row in &rows.trackcodes {
            assert!(row.client_id.is_none_or(|id| clients.contains(&id)));
            assert!(row.service_id.is_none_or(|id| services.contains(&id)));
            assert!(sizes.contains(&row.product_size_id));
            assert!((FIRST..=LAST).contains(&row.creation), "{row:?}");
        }
        for row in &rows.orders {
            assert!(row.trackcode_id.is_none_or(|id| trackcodes.contains(&id)));
            assert!(row.route_id.is_none_or(|id| routes.contains(&id)), "{row:?}");
        }
        assert_eq!(rows.orders.iter().filter(|row| row.trackcode_id.is_none()).count(), 2);
    }
}

/// The ids of a table. Asserts that they are unique.
fn ids(all: impl Iterator<Item = i64> + Clone) -> BTreeSet<i64> {
    let distinct = all.clone().collect::<BTreeSet<_>>();
    assert_eq!(distinct.len(), all.count());
    distinct
}

#[test]
fn the_rows_have_what_makes_a_lake_hard() {
    let rows = Sample::new(7, 0.3).unwrap().rows();
    let orders = rows.orders.len() as f64 / rows.trackcodes.len() as f64;
    assert!((1.25..1.38).contains(&orders), "{orders} orders a trackcode");

    let with_orders = rows.orders.iter().filter_map(|row| row.trackcode_id).collect::<BTreeSet<_>>();
    assert!(rows.trackcodes.iter().any(|row| !with_orders.contains(&row.id)));
    assert!(rows.trackcodes.iter().any(|row| row.service_id.is_none()));
    assert!(rows.trackcodes.iter().any(|row| row.creation % DAY == 0), "midnight, where ranges end");
    assert!(rows.trackcodes.iter().any(|row| row.creation % 1_000 != 0), "microseconds");
    for hostile in ["'; DROP TABLE", "=HYPERLINK", "\n", "😀", "\"", ","] {
        assert!(rows.trackcodes.iter().any(|row| row.drop_address.contains(hostile)), "{hostile:?}");
    }

    let some = |what: &str, found: usize| assert!(found > 10, "{what}: {found}");
    let count =
        |found: fn(&lakegate::sample::model::Order) -> bool| rows.orders.iter().filter(|row| found(row)).count();
    some("never started", count(|row| row.start_time.is_none()));
    some("an end without a start", count(|row| row.start_time.is_none() && row.end_time.is_some()));
    some("no end", count(|row| row.start_time.is_some() && row.end_time.is_none()));
    some("no promise", count(|row| row.promise_time.is_none()));
    some("no route", count(|row| row.route_id.is_none()));
    some("just in time", count(|row| row.end_time.is_some() && row.end_time == row.promise_time));
    some("late", count(|row| row.promise_time.is_some() && row.end_time > row.promise_time));
    some("early", count(|row| row.end_time.is_some() && row.end_time < row.promise_time));
    some("routes without a price", rows.routes.iter().filter(|row| row.price_official.is_none()).count());

    // A route carries several clients, and may carry a trackcode twice.
    let client_of = rows.trackcodes.iter().map(|row| (row.id, row.client_id)).collect::<BTreeMap<_, _>>();
    let mut carried: BTreeMap<i64, BTreeSet<Option<i64>>> = BTreeMap::new();
    let mut pairs = BTreeSet::new();
    let mut again = 0;
    for row in &rows.orders {
        if let (Some(route_id), Some(trackcode_id)) = (row.route_id, row.trackcode_id) {
            carried.entry(route_id).or_default().insert(client_of[&trackcode_id]);
            again += usize::from(!pairs.insert((route_id, trackcode_id)));
        }
    }
    some("routes of several clients", carried.values().filter(|clients| clients.len() > 1).count());
    some("a trackcode twice on a route", again);
}

#[test]
fn ids_grow_with_time_and_are_scattered_over_clients() {
    let sample = Sample::new(7, 0.3).unwrap();
    let rows = sample.rows();
    let mut by_id = rows.trackcodes.iter().collect::<Vec<_>>();
    by_id.sort_by_key(|row| row.id);
    let neighbours = by_id.windows(2).filter(|pair| pair[0].client_id == pair[1].client_id).count();
    assert!(neighbours < by_id.len() / 10, "{neighbours} neighbours of one client");
    // Creation times go back by less than two days, because some have only a date.
    let mut latest = 0;
    for row in by_id {
        assert!(row.creation > latest - 2 * DAY);
        latest = latest.max(row.creation);
    }
}

#[test]
fn enterprise_keys_are_uuids_and_different() {
    let sample = Sample::new(7, 1.0).unwrap();
    let keys = sample.clients().iter().map(|client| client.enterprise_key.as_str()).collect::<BTreeSet<_>>();
    assert_eq!(keys.len(), sample.clients().len());
    for key in keys {
        let uuid = uuid::Uuid::try_parse(key).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.to_string().as_str()), (4, key));
    }
}

#[test]
fn shipments_are_clustered_as_the_files_say() {
    let rows = small().rows();
    let order = |client_id: Option<i64>| (client_id.is_none(), client_id);
    assert!(rows.trackcodes.is_sorted_by_key(|row| (order(row.client_id), row.creation, row.id)));
    let place = rows.trackcodes.iter().enumerate().map(|(at, row)| (row.id, at)).collect::<BTreeMap<_, _>>();
    let places = rows.orders.iter().map(|row| row.trackcode_id.map_or(usize::MAX, |id| place[&id]));
    assert!(places.is_sorted());
}

#[test]
fn a_lake_is_written_whole_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("project/lake");
    let sample = Sample::new(7, 0.01).unwrap();
    let mut seen = Vec::new();
    write_lake(&sample, &dir, |done, all| seen.push((done, all))).unwrap();
    assert_eq!((seen.first(), seen.last()), (Some(&(0, 1_000)), Some(&(1_000, 1_000))));
    assert!(seen.is_sorted());
    assert_eq!(
        names(&dir),
        [
            "city.parquet",
            "client.parquet",
            "country.parquet",
            "order",
            "product_size.parquet",
            "route.parquet",
            "sample.json",
            "service.parquet",
            "trackcode",
        ]
    );
    assert_eq!(names(&dir.join("order")), ["0000.parquet"]);
    assert_eq!(names(&dir.join("trackcode")), ["0000.parquet"]);
    assert_eq!(names(dir.parent().unwrap()), ["lake"]);
    assert!(is_written(&sample, &dir));

    let other = Sample::new(8, 0.01).unwrap();
    assert!(!is_written(&other, &dir));
    write_lake(&other, &dir, |_, _| {}).unwrap();
    assert!(is_written(&other, &dir) && !is_written(&sample, &dir));
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sample = Sample::new(7, 0.01).unwrap();
    fs::write(folder.path().join("trackcode.parquet"), "mine").unwrap();
    let refused = write_lake(&sample, folder.path(), |_, _| {}).unwrap_err();
    assert!(matches!(refused, SampleError::Exists { .. }), "{refused}");
    assert_eq!(names(folder.path()), ["trackcode.parquet"]);
}

#[test]
fn what_a_killed_process_left_is_no_lake_and_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lake");
    let leftover = folder.path().join(".lake.partial");
    fs::create_dir_all(leftover.join("trackcode")).unwrap();
    fs::write(leftover.join("trackcode/0007.parquet"), "half").unwrap();
    fs::write(leftover.join("city.parquet"), "half").unwrap();
    let sample = Sample::new(7, 0.01).unwrap();
    assert!(!is_written(&sample, &dir));
    write_lake(&sample, &dir, |_, _| {}).unwrap();
    assert!(!dir.join("trackcode/0007.parquet").exists());
    assert_eq!(names(folder.path()), ["lake"]);
}

#[test]
fn a_big_client_does_not_make_small_files() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lake");
    write_lake(&Sample::new(7, 1.0).unwrap(), &dir, |_, _| {}).unwrap();
    let parts = names(&dir.join("trackcode"));
    assert!((2..=4).contains(&parts.len()), "{parts:?}");
}

#[test]
fn the_logistics_project_has_an_endpoint_file_for_every_answer_of_the_oracle() {
    let files = project::files().iter().map(|(path, _)| *path).collect::<BTreeSet<_>>();
    for (endpoint, _) in oracle::ENDPOINTS {
        assert!(files.contains(format!("endpoints/{endpoint}.sql").as_str()), "{endpoint}");
    }
    for folder in ["endpoints", "tables"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/logistics").join(folder);
        let embedded = files.iter().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        assert_eq!(names(&source), embedded.collect::<Vec<_>>(), "every file of the folder is part of the binary");
    }
}

#[test]
fn the_logistics_project_is_written_once_and_never_over_other_work() {
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("lakegate.toml");
    write_project(folder.path()).unwrap();
    write_project(folder.path()).unwrap();
    let endpoint = folder.path().join("endpoints/count_orders_by_range.sql");
    assert!(fs::read_to_string(&endpoint).unwrap().contains("count(*)"));
    fs::remove_file(&endpoint).unwrap();
    fs::write(&toml, "# mine").unwrap();
    assert!(matches!(write_project(folder.path()), Err(SampleError::Exists { path }) if path == toml));
    assert!(!endpoint.exists(), "nothing is written when anything is in the way");
}

#[test]
fn the_starter_project_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new");
    write_starter(&dir).unwrap();
    for (path, content) in project::starter_files() {
        assert_eq!(fs::read_to_string(dir.join(path)).unwrap(), *content);
    }
    assert!(matches!(write_starter(&dir), Err(SampleError::Exists { .. })));

    let started = folder.path().join("started");
    fs::create_dir_all(started.join("lake")).unwrap();
    fs::write(started.join("lake/product.csv"), "mine").unwrap();
    assert!(matches!(write_starter(&started), Err(SampleError::Exists { .. })));
    assert_eq!(names(&started), ["lake"]);
}

#[tokio::test]
async fn the_projects_that_lakegate_writes_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let (logistics, starter) = (folder.path().join("logistics"), folder.path().join("starter"));
    write_project(&logistics).unwrap();
    write_lake(&Sample::new(7, 0.01).unwrap(), &logistics.join("lake"), |_, _| {}).unwrap();
    let served = lakegate::project::load(&logistics, None).await.unwrap();
    let names = served.endpoints().map(|planned| planned.endpoint().name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names, oracle::ENDPOINTS.map(|(endpoint, _)| endpoint.to_owned()).into());
    let columns = served.endpoints().flat_map(|planned| planned.columns());
    assert!(columns.into_iter().all(|column| column.name != "enterprise_key"), "a secret is in no answer");

    write_starter(&starter).unwrap();
    let served = lakegate::project::load(&starter, None).await.unwrap();
    let names = served.endpoints().map(|planned| planned.endpoint().name.clone()).collect::<Vec<_>>();
    assert_eq!(names, ["best_products", "sales_by_range"]);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the test made this folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn the_oracle_keeps_callers_apart_and_an_operator_sees_the_rows_of_nobody() {
    let sample = small();
    let rows = sample.rows();
    let count = |endpoint: &str, caller: &Caller| oracle::answer(endpoint, &rows, caller, FIRST, LAST);
    let listed = |caller: &Caller| count("all_orders_by_range", caller).len();
    let each = rows.clients.iter().map(|client| listed(&Caller::client(client.id))).sum::<usize>();
    let orphans = rows.trackcodes.iter().filter(|row| row.client_id.is_none()).count();
    assert_eq!(listed(&Caller::All), rows.trackcodes.len());
    assert_eq!(each + orphans, rows.trackcodes.len());
    let (big, second) = (sample.biggest_client().id, sample.client_by_rank(1).id);
    let both = Caller::Clients(BTreeSet::from([big, second]));
    assert_eq!(listed(&both), listed(&Caller::client(big)) + listed(&Caller::client(second)));
    assert_eq!(listed(&Caller::Clients(BTreeSet::new())), 0);

    // Orders without a trackcode are in no response, not even an operator's.
    let orders = count("count_orders_by_range", &Caller::All);
    assert_eq!(orders[0]["count"], rows.orders.len() - 2);
    for (endpoint, _) in oracle::ENDPOINTS {
        let idle = count(endpoint, &Caller::client(sample.idle_client().id));
        let groups = ["count_trackcode_by_range", "count_trackcode_by_client_city_by_range"];
        let counts = endpoint.starts_with("count_") && !groups.contains(&endpoint);
        assert_eq!(idle.len(), usize::from(counts), "{endpoint}");
    }
}

#[test]
fn the_answers_of_the_oracle_fit_each_other() {
    let rows = small().rows();
    check_answers(&rows, &Caller::All, FIRST, LAST);
    check_answers(&rows, &Caller::client(small().biggest_client().id), FIRST + 30 * DAY, FIRST + 60 * DAY);
}

fn check_answers(rows: &Rows, caller: &Caller, start: i64, end: i64) {
    let answer = |endpoint: &str| oracle::answer(endpoint, rows, caller, start, end);
    let listed = answer("all_orders_by_range").len() as u64;
    assert!(listed > 0);
    let sum = |endpoint: &str, field: &str| {
        answer(endpoint).iter().map(|row| row[field].as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!(sum("count_trackcode_by_range", "counting"), listed);
    assert!(sum("most_required_service_by_range", "counting") <= listed);
    assert_eq!(sum("count_trackcode_lost_by_range", "count"), answer("trackcodes_lost_by_range").len() as u64);
    let delivered = "count_delivered_trackcode_before_promise_time_by_range";
    assert_eq!(sum(delivered, "total_orders"), sum("count_orders_by_range", "count"));
    assert!(sum(delivered, "counting_delivered_orders") < sum(delivered, "total_orders"));
    let money = answer("get_money_from_routes_by_range");
    assert!((money.len() as u64) < sum("count_orders_by_range", "count"));
    let points = answer("delivery_points_by_range");
    assert!(!points.is_empty() && (points.len() as u64) < sum("count_orders_by_range", "count"));
    let in_cities = sum("count_trackcode_by_client_city_by_range", "trackcodes");
    assert!(in_cities <= if *caller == Caller::All { listed } else { 0 }, "one client is never enough");
    let visited = answer("most_visited_location_from_trackcode_by_range");
    assert!(visited.is_sorted_by(|left, right| left["amount"].as_u64() >= right["amount"].as_u64()));
    let text = Value::from(money).to_string();
    assert!(text.contains("\"price\":10.0"), "a route without a price");
    assert!(rows.clients.iter().all(|client| !text.contains(&client.enterprise_key)));
}

#[test]
fn times_are_written_with_the_digits_that_they_have() {
    let midnight = FIRST + 30 * DAY;
    assert_eq!(oracle::timestamp(midnight), "2022-10-01T00:00:00");
    assert_eq!(oracle::timestamp(midnight + 123_000), "2022-10-01T00:00:00.123");
    assert_eq!(oracle::timestamp(midnight + 30_600_123_456), "2022-10-01T08:30:00.123456");
    assert_eq!(oracle::date(midnight - 1), "2022-09-30");
}
