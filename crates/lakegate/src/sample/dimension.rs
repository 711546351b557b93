//! Generates the dimension tables: countries, cities, services, boxes, clients and routes.

use super::model::{City, Client, Country, ProductSize, Route, Service};
use super::random::RandomStream;
use super::text;

#[rustfmt::skip]
const COUNTRIES: [(i64, &str, &str, i64, &str); 5] = [
    (1, "PERU", "PE", 51, "PEN"),
    (2, "ARGENTINA", "AR", 54, "ARS"),
    (3, "CHILE", "CL", 56, "CLP"),
    (4, "MEXICO", "MX", 52, "MXN"),
    (5, "COLOMBIA", "CO", 57, "COP"),
];

/// Id, name, country, time zone, longitude and latitude in millidegrees, and the city's share of routes. Two cities are
/// called santiago, and one has no route.
#[rustfmt::skip]
const CITIES: [(i64, &str, i64, &str, i64, i64, usize); 20] = [
    (1, "lima", 1, "America/Lima", -77_043, -12_046, 9),
    (2, "ciudad de méxico", 4, "America/Mexico_City", -99_133, 19_433, 8),
    (3, "guadalajara", 4, "America/Mexico_City", -103_350, 20_677, 3),
    (4, "monterrey", 4, "America/Monterrey", -100_316, 25_686, 3),
    (5, "buenos aires", 2, "America/Argentina/Buenos_Aires", -58_382, -34_604, 5),
    (6, "santiago", 3, "America/Santiago", -70_669, -33_449, 6),
    (7, "bogotá", 5, "America/Bogota", -74_072, 4_711, 5),
    (8, "medellín", 5, "America/Bogota", -75_574, 6_244, 3),
    (10, "viña del mar", 3, "America/Santiago", -71_552, -33_024, 2),
    (11, "arequipa", 1, "America/Lima", -71_537, -16_409, 2),
    (12, "trujillo", 1, "America/Lima", -79_029, -8_112, 2),
    (13, "córdoba", 2, "America/Argentina/Cordoba", -64_188, -31_420, 2),
    (15, "rosario", 2, "America/Argentina/Cordoba", -60_640, -32_944, 1),
    (16, "puebla", 4, "America/Mexico_City", -98_206, 19_041, 1),
    (18, "tijuana", 4, "America/Tijuana", -117_038, 32_514, 1),
    (19, "cali", 5, "America/Bogota", -76_532, 3_451, 1),
    (24, "santiago", 4, "America/Monterrey", -100_150, 25_433, 1),
    (31, "concepción", 3, "America/Santiago", -73_050, -36_827, 1),
    (35, "cusco", 1, "America/Lima", -71_967, -13_532, 1),
    (38, "barranquilla", 5, "America/Bogota", -74_796, 10_964, 0),
];

/// Names repeat, because every country has its own services.
#[rustfmt::skip]
const SERVICES: [(i64, &str); 28] = [
    (1, "regular"), (2, "programado1"), (3, "programado2"), (6, "rush"), (7, "express \"2h\", noche"), (11, "consolidado"),
    (14, "Servicio next"), (95, "regular"), (96, "rush"), (106, "consolidado"), (109, "servicio next"), (110, "economico"),
    (131, "devolución"), (142, "express \"2h\", noche"), (160, "regular"), (165, "programado1"), (170, "punto de retiro"),
    (188, "rush"), (206, "Servicio next"), (215, "economico"), (230, "carga 📦"), (242, "regular"), (249, "servicio next"),
    (258, "consolidado"), (260, "ECONOMICO"), (261, "REGULAR"), (277, "rush"), (286, "punto de retiro"),
];

#[rustfmt::skip]
const SIZES: [(i64, &str, [i64; 3]); 14] = [
    (1, "xs", [10, 10, 10]), (2, "s", [20, 20, 20]), (3, "m", [45, 45, 45]), (4, "l", [90, 90, 90]),
    (5, "xl", [120, 120, 120]), (11, "sobre", [30, 22, 2]), (12, "caja5kg", [33, 25, 18]), (14, "caja10kg", [40, 30, 27]),
    (20, "caja15-10kg", [48, 33, 29]), (35, "m", [40, 40, 40]), (43, "s", [18, 20, 22]), (48, "bolsa", [25, 35, 2]),
    (52, "xxl", [120, 180, 150]), (57, "tubo", [8, 8, 95]),
];

/// Quantiles of prices, in cents.
const PRICE_CENTS: [i64; 9] =
    [60_000, 420_000, 900_000, 1_650_000, 2_800_000, 4_200_000, 5_900_000, 8_300_000, 15_337_920];
/// Quantiles of distances, in metres.
const METRES: [i64; 9] = [0, 9_000, 21_000, 38_000, 57_000, 76_000, 110_000, 240_000, 4_341_360];

/// The number of routes in a cycle, in which every city has its share.
pub(super) const ROUTE_CYCLE: usize = 57;

const FIRST_ROUTE_ID: i64 = 59_363;

/// Domains of random streams.
const CLIENTS: u64 = 1;
const ROUTES: u64 = 2;

pub(super) fn countries() -> Vec<Country> {
    let row = |(id, name, region, prefix_phone, currency_iso): (i64, &str, &str, i64, &str)| Country {
        id,
        name: name.to_owned(),
        region: region.to_owned(),
        prefix_phone,
        currency_iso: currency_iso.to_owned(),
    };
    COUNTRIES.into_iter().map(row).collect()
}

pub(super) fn cities() -> Vec<City> {
    let row = |(id, name, country_id, timezone, ..): (i64, &str, i64, &str, i64, i64, usize)| City {
        name: name.to_owned(),
        country_id,
        timezone: timezone.to_owned(),
        id,
    };
    CITIES.into_iter().map(row).collect()
}

pub(super) fn services() -> Vec<Service> {
    SERVICES.into_iter().map(|(id, name)| Service { id, name: name.to_owned() }).collect()
}

pub(super) fn product_sizes() -> Vec<ProductSize> {
    let row = |(id, name, [x, y, z]): (i64, &str, [i64; 3])| ProductSize {
        id,
        name: name.to_owned(),
        dim_x: x as f64,
        dim_y: y as f64,
        dim_z: z as f64,
    };
    SIZES.into_iter().map(row).collect()
}

/// The id of a random box.
pub(super) fn a_product_size(random: &mut RandomStream) -> i64 {
    random.pick(&SIZES).0
}

/// The client at this index. Ids have gaps, as in a system that has deleted some.
pub(super) fn client(seed: u64, index: u64) -> Client {
    let mut random = RandomStream::new(seed, CLIENTS, index);
    let enterprise_key = text::uuid(&mut random);
    let (mut business_name, mut comercial_name) = text::company(&mut random);
    let mut address = text::address(&mut random);
    // With 192 clients or more, every hostile value is the name or address of a client, whatever the seed.
    let hostile = text::HOSTILE[(index / 8) as usize % text::HOSTILE.len()];
    match index % 24 {
        2 => business_name = hostile.to_owned(),
        9 => comercial_name = hostile.to_owned(),
        17 => address = hostile.to_owned(),
        _ => {}
    }
    let city = random.pick(&CITIES).0;
    let city_id = (!random.chance(100)).then_some(city);
    let mut service_ids: Vec<i32> = (0..random.below(7)).map(|_| random.pick(&SERVICES).0 as i32).collect();
    service_ids.sort_unstable();
    service_ids.dedup();
    let id = 3_946 + (index + index / 11 + index / 97 * 3) as i64;
    Client { id, address, business_name, comercial_name, city_id, service_ids, enterprise_key }
}

/// A random service of a trackcode, mostly one of its client's.
pub(super) fn a_service(client: Option<&Client>, random: &mut RandomStream) -> Option<i64> {
    if random.chance(20) {
        return None;
    }
    match client {
        Some(client) if !client.service_ids.is_empty() && !random.chance(500) => {
            Some(i64::from(*random.pick(&client.service_ids)))
        }
        _ => Some(random.pick(&SERVICES).0),
    }
}

/// The id of the route at this index. Ids grow with the index.
pub(super) fn route_id(seed: u64, index: u64) -> i64 {
    FIRST_ROUTE_ID + 2 * index as i64 + (RandomStream::new(seed, ROUTES, index).word() & 1) as i64
}

/// The route at this index.
pub(super) fn route(seed: u64, index: u64) -> Route {
    let mut random = RandomStream::new(seed, ROUTES, index);
    let id = FIRST_ROUTE_ID + 2 * index as i64 + (random.word() & 1) as i64;
    let code = text::hex(&mut random, 8);
    let cents = random.quantile(&PRICE_CENTS);
    let (official, original) = match random.below(100) {
        0..17 => (None, None),
        17..25 => (None, Some(cents)),
        25..29 => (Some(0), Some(0)),
        29..45 => (Some(cents), Some(cents - cents / 8)),
        _ => (Some(cents), Some(cents)),
    };
    let incentive = random.chance(30).then_some(cents + cents / 5);
    let price = |cents: Option<i64>| cents.map(|cents| cents as f64 / 100.0);
    Route {
        id,
        code,
        price_official: price(official),
        price_original: price(original),
        price_with_incentive: price(incentive),
        distance: random.quantile(&METRES),
        city_id: route_city(index),
    }
}

/// The city of the route at this index. Cities alternate by their shares.
fn route_city(index: u64) -> i64 {
    let mut slot = index as usize % ROUTE_CYCLE;
    for (id, .., share) in CITIES {
        if slot < share {
            return id;
        }
        slot -= share;
    }
    unreachable!("the shares of all cities add up to a cycle")
}

/// The slots of a cycle whose routes are in this city: the first slot and their number.
pub(super) fn route_slots(city_id: i64) -> (u64, u64) {
    let mut first = 0;
    for (id, .., share) in CITIES {
        if id == city_id {
            return (first, share as u64);
        }
        first += share as u64;
    }
    (0, 0)
}

/// A random point near a city, as `POINT (longitude latitude)` with six decimals.
pub(super) fn point(city_id: Option<i64>, random: &mut RandomStream) -> String {
    let (.., longitude, latitude, _) = *CITIES.iter().find(|city| Some(city.0) == city_id).unwrap_or(&CITIES[0]);
    let x = longitude * 1_000 + random.between(-150_000, 150_000);
    let y = latitude * 1_000 + random.between(-150_000, 150_000);
    format!("POINT ({} {})", degrees(x), degrees(y))
}

fn degrees(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", micro.unsigned_abs() / 1_000_000, micro.unsigned_abs() % 1_000_000)
}
