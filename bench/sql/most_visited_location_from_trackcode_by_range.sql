-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT
    CAST(t.creation AS DATE) AS date_creation,
    ci.name,
    count(DISTINCT t.id) AS amount
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
JOIN route AS r ON r.id = o.route_id
JOIN city AS ci ON ci.id = r.city_id
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
GROUP BY CAST(t.creation AS DATE), ci.name
ORDER BY amount DESC, date_creation, ci.name
