/*---
summary = "The routes that carried the trackcodes created in a date range, and their price"
description = """
One row a route and trackcode: a route that took the same trackcode twice is listed once. `price` is the official
price of the route, 10.0 where it has none. Orders that no route took are left out.
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
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
