-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT DISTINCT
    r.id AS route_id,
    r.code AS route_code,
    t.id AS trackcode_id,
    coalesce(r.price_official, 10.0) AS price,
    r.distance,
    t.pickup_address,
    t.drop_address,
    s.name AS service_name,
    t.creation
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
JOIN route AS r ON r.id = o.route_id
LEFT JOIN service AS s ON s.id = t.service_id
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
