-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT
    t.id AS trackcode_id,
    t.creation,
    t.crossdocking,
    t.pickup_address,
    t.drop_address,
    t.product_description,
    t.product_price,
    t.product_weight,
    c.business_name,
    c.comercial_name,
    s.name AS service_name,
    ci.name AS city_name
FROM trackcode AS t
LEFT JOIN client AS c ON c.id = t.client_id
LEFT JOIN city AS ci ON ci.id = c.city_id
LEFT JOIN service AS s ON s.id = t.service_id
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
