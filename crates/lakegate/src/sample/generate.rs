//! Generates the sample: the number of trackcodes of each client, and each client's trackcodes and orders.
//!
//! Rows are generated client by client, so that the biggest client bounds the memory and not the scale. A permutation
//! gives every trackcode a position in the whole sample. Ids and times follow the position, so those of one client are
//! scattered over all ids, as in a system with many concurrent users.

use super::SampleError;
use super::calendar::{Calendar, HOUR};
use super::dimension;
use super::model::{City, Client, Country, Order, ProductSize, Route, Rows, Service, Trackcode};
use super::random::{Permutation, RandomStream};
use super::text;

/// A hundred million trackcodes, more than is practical on one machine.
const MAX_SCALE: f64 = 1_000.0;
const TRACKCODES_AT_SCALE_1: f64 = 100_000.0;
const CLIENTS_AT_SCALE_1: f64 = 1_400.0;
const MIN_TRACKCODES: u64 = 200;
const MIN_CLIENTS: u64 = 20;

const FIRST_TRACKCODE_ID: i64 = 1_020_779;
const FIRST_ORDER_ID: i64 = 1_395_742;
/// Order ids reserved for each trackcode: more than any uses, so that ids have gaps.
const ORDER_ID_BLOCK: i64 = 16;

/// Domains of random streams and permutations.
const RANKS: u64 = 10;
const PLACES: u64 = 11;
const SHIPMENTS: u64 = 12;

/// Quantiles of goods' values, in cents.
const PRICE_CENTS: [i64; 9] = [50, 1_050, 1_690, 2_410, 3_310, 4_550, 6_500, 10_460, 188_423];
/// Quantiles of parcel weights, in grams.
const GRAMS: [i64; 9] = [38, 540, 790, 1_050, 1_350, 1_740, 2_310, 3_390, 41_665];

/// A sample with one seed and scale. It always has the same rows.
#[derive(Clone, Debug)]
pub struct Sample {
    seed: u64,
    scale: f64,
    clients: Vec<Client>,
    /// The rank of each client by size.
    ranks: Vec<u64>,
    /// The number of trackcodes before each client; the last entry is the total of all clients.
    offsets: Vec<u64>,
    trackcodes: u64,
    routes: u64,
    places: Permutation,
    calendar: Calendar,
}

/// The shipments of one client: trackcodes by creation and id, and their orders in the same order.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipments {
    /// The client; `None` for trackcodes without a known client.
    pub client_id: Option<i64>,
    /// The trackcodes.
    pub trackcodes: Vec<Trackcode>,
    /// Their orders.
    pub orders: Vec<Order>,
}

impl Sample {
    /// A sample with about 100,000 trackcodes times `scale`, of 1,400 clients (fewer below scale 1).
    ///
    /// The biggest client has 15 % of the trackcodes, the others have ever fewer, and the last has none. A handful of
    /// trackcodes has no client, and two orders have no trackcode.
    pub fn new(seed: u64, scale: f64) -> Result<Self, SampleError> {
        if !(scale > 0.0 && scale <= MAX_SCALE) {
            return Err(SampleError::Scale { scale, max: MAX_SCALE });
        }
        let trackcodes = ((TRACKCODES_AT_SCALE_1 * scale).round() as u64).max(MIN_TRACKCODES);
        let clients = ((CLIENTS_AT_SCALE_1 * scale.min(1.0)).round() as u64).max(MIN_CLIENTS);
        let by_rank = Permutation::new(seed, RANKS, clients);
        let ranks = (0..clients).map(|index| by_rank.at(index)).collect::<Vec<_>>();
        let unknown = 7 + trackcodes / 50_000;
        let sizes = sizes(clients, trackcodes - unknown);
        let mut offsets = vec![0];
        let mut total = 0;
        for rank in &ranks {
            total += sizes[*rank as usize];
            offsets.push(total);
        }
        Ok(Self {
            seed,
            scale,
            clients: (0..clients).map(|index| dimension::client(seed, index)).collect(),
            ranks,
            offsets,
            trackcodes,
            routes: (trackcodes * 86 / 1_000).max(dimension::ROUTE_CYCLE as u64),
            places: Permutation::new(seed, PLACES, trackcodes),
            calendar: Calendar::new(trackcodes),
        })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The total number of trackcodes.
    pub fn trackcode_count(&self) -> u64 {
        self.trackcodes
    }

    /// All clients, by id.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The client with the most trackcodes: rank 0 of [`Sample::client_by_rank`].
    pub fn biggest_client(&self) -> &Client {
        self.client_by_rank(0)
    }

    /// The client without trackcodes: the last rank.
    pub fn idle_client(&self) -> &Client {
        self.client_by_rank(self.clients.len() - 1)
    }

    /// The client at this rank by number of trackcodes, where 0 is the biggest. A rank beyond the last returns the
    /// last.
    pub fn client_by_rank(&self, rank: usize) -> &Client {
        let rank = rank.min(self.clients.len() - 1) as u64;
        let index = self.ranks.iter().position(|other| *other == rank).expect("ranks are a permutation of the clients");
        &self.clients[index]
    }

    /// All countries, by id.
    pub fn countries(&self) -> Vec<Country> {
        dimension::countries()
    }

    /// All cities, by id.
    pub fn cities(&self) -> Vec<City> {
        dimension::cities()
    }

    /// All services, by id.
    pub fn services(&self) -> Vec<Service> {
        dimension::services()
    }

    /// All kinds of boxes, by id.
    pub fn product_sizes(&self) -> Vec<ProductSize> {
        dimension::product_sizes()
    }

    /// All routes, by id.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        (0..self.routes).map(|index| dimension::route(self.seed, index))
    }

    /// The shipments of each client, by client id; those without a known client come last.
    pub fn shipments(&self) -> impl Iterator<Item = Shipments> {
        (0..=self.clients.len()).map(|index| self.shipments_of(index))
    }

    /// All rows at once, for small scales.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows {
            countries: self.countries(),
            cities: self.cities(),
            clients: self.clients.clone(),
            services: self.services(),
            product_sizes: self.product_sizes(),
            routes: self.routes().collect(),
            trackcodes: Vec::new(),
            orders: Vec::new(),
        };
        for shipments in self.shipments() {
            rows.trackcodes.extend(shipments.trackcodes);
            rows.orders.extend(shipments.orders);
        }
        rows
    }

    /// The shipments of the client at this index; an index one past the last means those without a client.
    fn shipments_of(&self, index: usize) -> Shipments {
        let client = self.clients.get(index);
        let end = self.offsets.get(index + 1).copied().unwrap_or(self.trackcodes);
        let mut random = RandomStream::new(self.seed, SHIPMENTS, index as u64);
        let senders = (0..random.between(1, 4)).map(|_| Sender::new(client, &mut random)).collect::<Vec<_>>();
        let mut made = (self.offsets[index]..end)
            .map(|number| {
                let place = self.places.at(number);
                let sender = random.pick(&senders).clone();
                let trackcode = self.trackcode(place, client, sender, &mut random);
                let orders = self.orders(place, client, &trackcode, &mut random);
                (trackcode, orders)
            })
            .collect::<Vec<_>>();
        made.sort_by_key(|(trackcode, _)| (trackcode.creation, trackcode.id));
        let (trackcodes, orders): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let mut orders = orders.into_iter().flatten().collect::<Vec<_>>();
        if client.is_none() {
            orders.extend(self.stray_orders(&trackcodes));
        }
        Shipments { client_id: client.map(|client| client.id), trackcodes, orders }
    }

    fn trackcode(&self, place: u64, client: Option<&Client>, sender: Sender, random: &mut RandomStream) -> Trackcode {
        // Most parcels stay in the client's city, or in the first city if the client's is unknown.
        let city_id = client.and_then(|client| client.city_id);
        Trackcode {
            id: FIRST_TRACKCODE_ID + 3 * place as i64 + random.between(0, 2),
            creation: self.calendar.creation(place, random),
            client_id: client.map(|client| client.id),
            crossdocking: random.chance(1_200),
            pickup_address: sender.address,
            drop_address: text::address(random),
            service_id: dimension::a_service(client, random),
            product_description: text::goods(random),
            product_price: random.quantile(&PRICE_CENTS) as f64 / 100.0,
            product_size_id: dimension::a_product_size(random),
            product_weight: random.quantile(&GRAMS) as f64 / 1_000.0,
            drop_point: dimension::point(city_id, random),
            pickup_point: sender.point,
        }
    }

    /// The attempts to deliver a trackcode, 1.3 on average.
    fn orders(
        &self,
        place: u64,
        client: Option<&Client>,
        trackcode: &Trackcode,
        random: &mut RandomStream,
    ) -> Vec<Order> {
        let attempts = match random.below(1_000) {
            0..40 => 0,
            40..750 => 1,
            750..930 => 2,
            930..980 => 3,
            980..994 => 4,
            _ => random.between(5, 9),
        };
        let creation = trackcode.creation;
        let promise = whole_hour(creation + random.between(6 * HOUR, 9 * 24 * HOUR), random);
        let promise_time = (!random.chance(20)).then_some(promise);
        let first_id = FIRST_ORDER_ID + ORDER_ID_BLOCK * place as i64 + random.between(0, 2);
        let mut planned = milliseconds(creation + random.between(HOUR, 4 * 24 * HOUR));
        let mut route_id = None;
        let mut orders = Vec::new();
        for attempt in 0..attempts {
            let same_again = route_id.is_some() && random.chance(2_000);
            if !same_again {
                route_id = self.a_route(place, client, random);
            }
            let (start_time, end_time) = attempt_times(planned, promise, random);
            let id = first_id + attempt;
            orders.push(Order { trackcode_id: Some(trackcode.id), route_id, id, promise_time, start_time, end_time });
            planned = milliseconds(planned + random.between(8 * HOUR, 40 * HOUR));
        }
        orders
    }

    /// The id of a route at about the same time, mostly in the client's city; sometimes `None`, for an order that no
    /// route took.
    fn a_route(&self, place: u64, client: Option<&Client>, random: &mut RandomStream) -> Option<i64> {
        if random.chance(300) {
            return None;
        }
        let around = (u128::from(place) * u128::from(self.routes) / u128::from(self.trackcodes)) as u64;
        let soon = around + random.below(self.routes / 40 + 1);
        // At the end of the year there is no later route, so an earlier one is used.
        let index = if soon < self.routes { soon } else { 2 * self.routes - 1 - soon };
        let city_id = client.and_then(|client| client.city_id).unwrap_or_default();
        let (first, count) = dimension::route_slots(city_id);
        if count == 0 || random.chance(2_000) {
            return Some(dimension::route_id(self.seed, index));
        }
        let cycle = dimension::ROUTE_CYCLE as u64;
        let at_home = index / cycle * cycle + first + random.below(count);
        Some(dimension::route_id(self.seed, if at_home < self.routes { at_home } else { index }))
    }

    /// Two orders without a trackcode, so that some rows belong to nobody.
    fn stray_orders(&self, trackcodes: &[Trackcode]) -> Vec<Order> {
        let stray = |trackcode: &Trackcode| {
            let place = (trackcode.id - FIRST_TRACKCODE_ID) / 3;
            Order {
                trackcode_id: None,
                route_id: Some(dimension::route_id(self.seed, self.routes / 2)),
                id: FIRST_ORDER_ID + ORDER_ID_BLOCK * place + ORDER_ID_BLOCK - 1,
                promise_time: Some(trackcode.creation + 24 * HOUR),
                start_time: None,
                end_time: None,
            }
        };
        trackcodes.iter().take(2).map(stray).collect()
    }
}

/// An address from which a client sends.
#[derive(Clone, Debug)]
struct Sender {
    address: String,
    point: String,
}

impl Sender {
    fn new(client: Option<&Client>, random: &mut RandomStream) -> Self {
        let city_id = client.and_then(|client| client.city_id);
        Self { address: text::address(random), point: dimension::point(city_id, random) }
    }
}

/// The number of trackcodes of each rank: 15 % for the first, none for the last, and shares like 1/3, 1/4, 1/5, …
/// between.
fn sizes(clients: u64, trackcodes: u64) -> Vec<u64> {
    let biggest = trackcodes * 15 / 100;
    let rest = u128::from(trackcodes - biggest);
    let weight = |rank: u64| 1_000_000_000_000 / u128::from(rank + 2);
    let total: u128 = (1..clients - 1).map(weight).sum();
    let mut sizes = vec![biggest];
    let (mut before, mut given) = (0, 0);
    for rank in 1..clients - 1 {
        before += weight(rank);
        let until = (rest * before / total) as u64;
        sizes.push(until - given);
        given = until;
    }
    sizes.push(0);
    sizes
}

/// The start and end of an attempt: one in seven has no start, and some ends are missing.
fn attempt_times(planned: i64, promise: i64, random: &mut RandomStream) -> (Option<i64>, Option<i64>) {
    let end = milliseconds(planned + random.between(HOUR / 6, 14 * HOUR));
    if random.chance(1_400) {
        // As in real data, a few of these have an end.
        return (None, random.chance(40).then_some(end));
    }
    let end = match random.below(100) {
        0..4 => None,
        // Both sides of "at or before".
        4 if promise > planned => Some(promise),
        5 if promise > planned => Some(promise + 1),
        _ => Some(end),
    };
    (Some(planned), end)
}

/// Rounds most promises down to a whole hour.
fn whole_hour(time: i64, random: &mut RandomStream) -> i64 {
    if random.chance(8_000) { time - time % HOUR } else { time }
}

fn milliseconds(time: i64) -> i64 {
    time - time % 1_000
}
