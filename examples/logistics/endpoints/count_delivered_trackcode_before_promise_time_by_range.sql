/*---
summary = "Number of orders delivered in time, and of all orders, of the trackcodes created in a date range"
description = """
One row. `counting_delivered_orders` counts the orders whose `end_time` is at or before their `promise_time`;
`total_orders` counts all orders of the same trackcodes, also late, unfinished and never started ones.
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
    count(*) FILTER (WHERE o.end_time <= o.promise_time) AS counting_delivered_orders,
    count(*) AS total_orders
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
