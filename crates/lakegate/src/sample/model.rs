//! The rows of the logistics model, one struct a table, with the fields in the order of the files' columns.
//!
//! Times are microseconds since 1970 without a zone.

/// A country that the carrier serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Country {
    /// Its id.
    pub id: i64,
    /// Its name, in capitals.
    pub name: String,
    /// Two letters.
    pub region: String,
    /// The telephone prefix.
    pub prefix_phone: i64,
    /// The currency's three letters.
    pub currency_iso: String,
}

/// A city of a country.
#[derive(Clone, Debug, PartialEq)]
pub struct City {
    /// Its name, in small letters. Two cities may share one.
    pub name: String,
    /// Its country.
    pub country_id: i64,
    /// The time zone's name.
    pub timezone: String,
    /// Its id.
    pub id: i64,
}

/// A client of the carrier: who sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Its id.
    pub id: i64,
    /// Where it is.
    pub address: String,
    /// Its registered name.
    pub business_name: String,
    /// The name that its customers know.
    pub comercial_name: String,
    /// Its city, where known.
    pub city_id: Option<i64>,
    /// The services that it may use.
    pub service_ids: Vec<i32>,
    /// The key by which the client's systems are known: a secret.
    pub enterprise_key: String,
}

/// A kind of delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its id.
    pub id: i64,
    /// Its name. Several services may share one.
    pub name: String,
}

/// A kind of box.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductSize {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Centimetres.
    pub dim_x: f64,
    /// Centimetres.
    pub dim_y: f64,
    /// Centimetres.
    pub dim_z: f64,
}

/// A drive of one vehicle, which carries orders of several clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its id.
    pub id: i64,
    /// Eight hexadecimal digits, as drivers know it.
    pub code: String,
    /// The price that counts, where one was agreed.
    pub price_official: Option<f64>,
    /// The price before changes.
    pub price_original: Option<f64>,
    /// The price with what was added to find a driver.
    pub price_with_incentive: Option<f64>,
    /// Metres.
    pub distance: i64,
    /// The city where it drives.
    pub city_id: i64,
}

/// A parcel, from the moment that a client announces it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trackcode {
    /// Its id.
    pub id: i64,
    /// When it was announced.
    pub creation: i64,
    /// Who sends it; unknown for a few.
    pub client_id: Option<i64>,
    /// Whether it goes through a warehouse.
    pub crossdocking: bool,
    /// Where it is fetched.
    pub pickup_address: String,
    /// Where it goes.
    pub drop_address: String,
    /// The kind of delivery, where known.
    pub service_id: Option<i64>,
    /// What is in it.
    pub product_description: String,
    /// What that is worth.
    pub product_price: f64,
    /// Its box.
    pub product_size_id: i64,
    /// Kilograms.
    pub product_weight: f64,
    /// Where it goes, as a point of longitude and latitude.
    pub drop_point: String,
    /// Where it is fetched, likewise.
    pub pickup_point: String,
}

/// An attempt to deliver a trackcode.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The trackcode; unknown for a few.
    pub trackcode_id: Option<i64>,
    /// The route that took it, where one did.
    pub route_id: Option<i64>,
    /// Its id.
    pub id: i64,
    /// When the delivery was promised.
    pub promise_time: Option<i64>,
    /// When the attempt started; none when it never did.
    pub start_time: Option<i64>,
    /// When it ended, where that was noted.
    pub end_time: Option<i64>,
}

/// All rows of a sample at once: for small scales and for tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// All countries, by id.
    pub countries: Vec<Country>,
    /// All cities, by id.
    pub cities: Vec<City>,
    /// All clients, by id.
    pub clients: Vec<Client>,
    /// All services, by id.
    pub services: Vec<Service>,
    /// All kinds of boxes, by id.
    pub product_sizes: Vec<ProductSize>,
    /// All routes, by id.
    pub routes: Vec<Route>,
    /// All trackcodes, by client (those without one last), creation and id.
    pub trackcodes: Vec<Trackcode>,
    /// All orders, in the order of their trackcodes.
    pub orders: Vec<Order>,
}
