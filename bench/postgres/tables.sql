-- The sample's tables. Keys and indexes come after the rows; see indexes.sql.
CREATE TABLE country (id bigint, name text, region text, prefix_phone bigint, currency_iso text);
CREATE TABLE city (name text, country_id bigint, timezone text, id bigint);
CREATE TABLE service (id bigint, name text);
CREATE TABLE product_size (id bigint, name text, dim_x float8, dim_y float8, dim_z float8);
CREATE TABLE client (
    id bigint, address text, business_name text, comercial_name text, city_id bigint, service_ids bigint[],
    enterprise_key text
);
CREATE TABLE route (
    id bigint, code text, price_official float8, price_original float8, price_with_incentive float8, distance bigint,
    city_id bigint
);
CREATE TABLE trackcode (
    id bigint, creation timestamp, client_id bigint, crossdocking boolean, pickup_address text, drop_address text,
    service_id bigint, product_description text, product_price float8, product_size_id bigint, product_weight float8,
    drop_point text, pickup_point text
);
CREATE TABLE "order" (
    trackcode_id bigint, route_id bigint, id bigint, promise_time timestamp, start_time timestamp, end_time timestamp
);
