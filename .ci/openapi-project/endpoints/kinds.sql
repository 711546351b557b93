/*---
summary = "Columns of every kind"

[params.kind]
type = "string"
enum = ["a", "b", "c"]
example = "a"
---*/
SELECT
    kind,
    count(*) AS things,
    sum(id) AS ids,
    avg(score) AS mean_score,
    min(day) AS first_day,
    max(moment) AS last_moment,
    array_agg(id ORDER BY id) AS list,
    named_struct('least', min(id), 'active', bool_or(active)) AS object,
    1.0 / 3 AS third,
    CASE WHEN count(*) > 5 THEN 1 ELSE 0.5 END AS either
FROM thing
WHERE kind = $kind
GROUP BY kind
