-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT
    s.name,
    count(*) AS counting
FROM trackcode AS t
JOIN service AS s ON s.id = t.service_id
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
GROUP BY s.name
ORDER BY counting DESC, s.name
