/*---
summary = "From where to where the trackcodes of a date range went, and with which route"
description = """
One row a trackcode and a route that took it, in the order of trackcode and route; a trackcode that no route took is left out.
Points are `POINT (longitude latitude)`. Callers without access to them get the middle of a cell of about five kilometres,
and for a route's code a pseudonym, which is the same for all parcels of the route.
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
SELECT DISTINCT
    t.id AS trackcode_id,
    t.creation,
    t.pickup_point,
    t.drop_point,
    r.code AS route_code
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
JOIN route AS r ON r.id = o.route_id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
ORDER BY trackcode_id, route_code
