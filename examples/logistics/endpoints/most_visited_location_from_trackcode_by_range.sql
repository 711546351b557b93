/*---
summary = "The cities to which trackcodes went, a day at a time, most visited first"
description = """
One row a creation date and city, where the city is that of the route. `amount` counts trackcodes, not orders: a
trackcode that a city's routes took twice counts once there, one that routes of two cities took counts in both.
Cities of the same name are one. Equal amounts are in the order of date and name.
"""

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
    CAST(t.creation AS DATE) AS date_creation,
    ci.name,
    count(DISTINCT t.id) AS amount
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
JOIN route AS r ON r.id = o.route_id
JOIN city AS ci ON ci.id = r.city_id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
GROUP BY CAST(t.creation AS DATE), ci.name
ORDER BY amount DESC, date_creation, ci.name
