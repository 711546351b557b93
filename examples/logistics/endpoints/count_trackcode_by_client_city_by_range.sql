/*---
summary = "How many trackcodes the clients of each city announced in a date range"
description = """
One row a city, most trackcodes first. It is for comparing cities and not clients: a city is left out when fewer than five
clients announced anything there, so that no count says what a single client sends.
"""
min_group_size = 5
subject = "c.id"

[params.start_datetime]
type = "timestamp"
description = "Start of the range, inclusive. A date alone means its midnight, UTC"
example = "2022-10-01"

[params.end_datetime]
type = "timestamp"
description = "End of the range, inclusive. A date alone means its midnight, UTC: the day itself is then left out"
example = "2022-10-31T23:59:59.999999Z"

[[rules]]
check = "$start_datetime <= $end_datetime"
message = "start_datetime must not be after end_datetime"
---*/
SELECT
    ci.name AS city_name,
    count(*) AS trackcodes
FROM trackcode AS t
JOIN client AS c ON c.id = t.client_id
JOIN city AS ci ON ci.id = c.city_id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
GROUP BY ci.name
ORDER BY trackcodes DESC, city_name
