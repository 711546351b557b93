-- The caller's filter is written by hand: $1 is its client, $2 and $3 are the range.
SELECT
    CAST(t.creation AS DATE) AS date_creation,
    count(*) AS counting
FROM trackcode AS t
WHERE t.client_id = $1
  AND t.creation BETWEEN $2 AND $3
GROUP BY CAST(t.creation AS DATE)
ORDER BY date_creation
