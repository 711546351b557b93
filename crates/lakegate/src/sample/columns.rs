//! The column definitions of the sample's files, and the conversion of its rows to columns.

use lakegate_query::lake::write::{Column, ColumnData, ColumnKind};

use super::model::{City, Client, Country, Order, ProductSize, Route, Service, Trackcode};

const INTEGER: ColumnKind = ColumnKind::Integer;
const NUMBER: ColumnKind = ColumnKind::Number;
const TEXT: ColumnKind = ColumnKind::Text;
const TIMESTAMP: ColumnKind = ColumnKind::Timestamp;

pub(super) const COUNTRY: [Column; 5] = [
    Column::new("id", INTEGER),
    Column::new("name", TEXT),
    Column::new("region", TEXT),
    Column::new("prefix_phone", INTEGER),
    Column::new("currency_iso", TEXT),
];
pub(super) const CITY: [Column; 4] = [
    Column::new("name", TEXT),
    Column::repeating("country_id", INTEGER),
    Column::repeating("timezone", TEXT),
    Column::new("id", INTEGER),
];
pub(super) const SERVICE: [Column; 2] = [Column::new("id", INTEGER), Column::repeating("name", TEXT)];
pub(super) const PRODUCT_SIZE: [Column; 5] = [
    Column::new("id", INTEGER),
    Column::repeating("name", TEXT),
    Column::new("dim_x", NUMBER),
    Column::new("dim_y", NUMBER),
    Column::new("dim_z", NUMBER),
];
pub(super) const CLIENT: [Column; 7] = [
    Column::new("id", INTEGER),
    Column::new("address", TEXT),
    Column::new("business_name", TEXT),
    Column::new("comercial_name", TEXT),
    Column::repeating("city_id", INTEGER),
    Column::repeating("service_ids", ColumnKind::IntegerList),
    Column::new("enterprise_key", TEXT),
];
pub(super) const ROUTE: [Column; 7] = [
    Column::new("id", INTEGER),
    Column::new("code", TEXT),
    Column::new("price_official", NUMBER),
    Column::new("price_original", NUMBER),
    Column::new("price_with_incentive", NUMBER),
    Column::new("distance", INTEGER),
    Column::repeating("city_id", INTEGER),
];
pub(super) const TRACKCODE: [Column; 13] = [
    Column::new("id", INTEGER),
    Column::new("creation", TIMESTAMP),
    Column::repeating("client_id", INTEGER),
    Column::repeating("crossdocking", ColumnKind::Boolean),
    Column::repeating("pickup_address", TEXT),
    Column::new("drop_address", TEXT),
    Column::repeating("service_id", INTEGER),
    Column::new("product_description", TEXT),
    Column::new("product_price", NUMBER),
    Column::repeating("product_size_id", INTEGER),
    Column::new("product_weight", NUMBER),
    Column::new("drop_point", TEXT),
    Column::repeating("pickup_point", TEXT),
];
pub(super) const ORDER: [Column; 6] = [
    Column::new("trackcode_id", INTEGER),
    Column::new("route_id", INTEGER),
    Column::new("id", INTEGER),
    Column::new("promise_time", TIMESTAMP),
    Column::new("start_time", TIMESTAMP),
    Column::new("end_time", TIMESTAMP),
];

pub(super) fn countries(rows: &[Country]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| Some(row.id)),
        texts(rows, |row| &row.name),
        texts(rows, |row| &row.region),
        integers(rows, |row| Some(row.prefix_phone)),
        texts(rows, |row| &row.currency_iso),
    ]
}

pub(super) fn cities(rows: &[City]) -> Vec<ColumnData> {
    vec![
        texts(rows, |row| &row.name),
        integers(rows, |row| Some(row.country_id)),
        texts(rows, |row| &row.timezone),
        integers(rows, |row| Some(row.id)),
    ]
}

pub(super) fn services(rows: &[Service]) -> Vec<ColumnData> {
    vec![integers(rows, |row| Some(row.id)), texts(rows, |row| &row.name)]
}

pub(super) fn product_sizes(rows: &[ProductSize]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| Some(row.id)),
        texts(rows, |row| &row.name),
        numbers(rows, |row| Some(row.dim_x)),
        numbers(rows, |row| Some(row.dim_y)),
        numbers(rows, |row| Some(row.dim_z)),
    ]
}

pub(super) fn clients(rows: &[Client]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| Some(row.id)),
        texts(rows, |row| &row.address),
        texts(rows, |row| &row.business_name),
        texts(rows, |row| &row.comercial_name),
        integers(rows, |row| row.city_id),
        ColumnData::IntegerList(rows.iter().map(|row| Some(row.service_ids.clone())).collect()),
        texts(rows, |row| &row.enterprise_key),
    ]
}

pub(super) fn routes(rows: &[Route]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| Some(row.id)),
        texts(rows, |row| &row.code),
        numbers(rows, |row| row.price_official),
        numbers(rows, |row| row.price_original),
        numbers(rows, |row| row.price_with_incentive),
        integers(rows, |row| Some(row.distance)),
        integers(rows, |row| Some(row.city_id)),
    ]
}

pub(super) fn trackcodes(rows: &[Trackcode]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| Some(row.id)),
        ColumnData::Timestamp(rows.iter().map(|row| Some(row.creation)).collect()),
        integers(rows, |row| row.client_id),
        ColumnData::Boolean(rows.iter().map(|row| Some(row.crossdocking)).collect()),
        texts(rows, |row| &row.pickup_address),
        texts(rows, |row| &row.drop_address),
        integers(rows, |row| row.service_id),
        texts(rows, |row| &row.product_description),
        numbers(rows, |row| Some(row.product_price)),
        integers(rows, |row| Some(row.product_size_id)),
        numbers(rows, |row| Some(row.product_weight)),
        texts(rows, |row| &row.drop_point),
        texts(rows, |row| &row.pickup_point),
    ]
}

pub(super) fn orders(rows: &[Order]) -> Vec<ColumnData> {
    vec![
        integers(rows, |row| row.trackcode_id),
        integers(rows, |row| row.route_id),
        integers(rows, |row| Some(row.id)),
        ColumnData::Timestamp(rows.iter().map(|row| row.promise_time).collect()),
        ColumnData::Timestamp(rows.iter().map(|row| row.start_time).collect()),
        ColumnData::Timestamp(rows.iter().map(|row| row.end_time).collect()),
    ]
}

fn integers<T>(rows: &[T], value: impl Fn(&T) -> Option<i64>) -> ColumnData {
    ColumnData::Integer(rows.iter().map(value).collect())
}

fn numbers<T>(rows: &[T], value: impl Fn(&T) -> Option<f64>) -> ColumnData {
    ColumnData::Number(rows.iter().map(value).collect())
}

fn texts<T>(rows: &[T], value: impl Fn(&T) -> &str) -> ColumnData {
    ColumnData::Text(rows.iter().map(|row| Some(value(row).to_owned())).collect())
}
