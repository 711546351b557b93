//! The rows of the logistics model: one struct for each table, with fields in column order.
//!
//! Times are microseconds since 1970, without a time zone.

/// A country that the carrier serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Country {
    /// The id.
    pub id: i64,
    /// The name, in upper case.
    pub name: String,
    /// The two-letter country code.
    pub region: String,
    /// The telephone prefix.
    pub prefix_phone: i64,
    /// The three-letter currency code.
    pub currency_iso: String,
}

/// A city of a country.
#[derive(Clone, Debug, PartialEq)]
pub struct City {
    /// The name, in lower case. Two cities may share one.
    pub name: String,
    /// Its country.
    pub country_id: i64,
    /// The name of the time zone.
    pub timezone: String,
    /// The id.
    pub id: i64,
}

/// A client of the carrier, who sends parcels.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The id.
    pub id: i64,
    /// The address.
    pub address: String,
    /// The registered name.
    pub business_name: String,
    /// The trade name, which its customers know.
    pub comercial_name: String,
    /// Its city, if known.
    pub city_id: Option<i64>,
    /// The services that it may use.
    pub service_ids: Vec<i32>,
    /// The key that identifies the client's systems; a secret.
    pub enterprise_key: String,
}

/// A kind of delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The id.
    pub id: i64,
    /// The name. Several services may share one.
    pub name: String,
}

/// A kind of box.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductSize {
    /// The id.
    pub id: i64,
    /// The name.
    pub name: String,
    /// Centimetres.
    pub dim_x: f64,
    /// Centimetres.
    pub dim_y: f64,
    /// Centimetres.
    pub dim_z: f64,
}

/// A trip of one vehicle, which carries orders of several clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The id.
    pub id: i64,
    /// Eight hexadecimal digits, for drivers.
    pub code: String,
    /// The effective price, if one was agreed.
    pub price_official: Option<f64>,
    /// The price before changes.
    pub price_original: Option<f64>,
    /// The price with the incentive that was needed to find a driver.
    pub price_with_incentive: Option<f64>,
    /// Metres.
    pub distance: i64,
    /// The city of the route.
    pub city_id: i64,
}

/// A parcel, from its announcement by a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Trackcode {
    /// The id.
    pub id: i64,
    /// When it was announced.
    pub creation: i64,
    /// The sending client; unknown for a few.
    pub client_id: Option<i64>,
    /// Whether it goes through a warehouse.
    pub crossdocking: bool,
    /// The pickup address.
    pub pickup_address: String,
    /// The delivery address.
    pub drop_address: String,
    /// The kind of delivery, if known.
    pub service_id: Option<i64>,
    /// The content.
    pub product_description: String,
    /// The value of the content.
    pub product_price: f64,
    /// Its box.
    pub product_size_id: i64,
    /// Kilograms.
    pub product_weight: f64,
    /// The delivery location, as a point of longitude and latitude.
    pub drop_point: String,
    /// The pickup location, as a point of longitude and latitude.
    pub pickup_point: String,
}

/// An attempt to deliver a trackcode.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The trackcode; unknown for a few.
    pub trackcode_id: Option<i64>,
    /// The route that took it, if any.
    pub route_id: Option<i64>,
    /// The id.
    pub id: i64,
    /// When the delivery was promised.
    pub promise_time: Option<i64>,
    /// When the attempt started; `None` if it never did.
    pub start_time: Option<i64>,
    /// When the attempt ended, if recorded.
    pub end_time: Option<i64>,
}

/// All rows of a sample at once, for small scales and tests.
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
