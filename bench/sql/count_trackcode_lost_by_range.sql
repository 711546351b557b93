-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT count(DISTINCT t.id) AS count
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
  AND o.start_time IS NULL
