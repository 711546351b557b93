/*---
summary = "The trackcodes created in a date range that have an order which never started"
description = """
One row a trackcode, in the order of their ids: the list behind `count_trackcode_lost_by_range`.
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
SELECT DISTINCT t.id AS trackcode_id
FROM trackcode AS t
JOIN "order" AS o ON o.trackcode_id = t.id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
  AND o.start_time IS NULL
ORDER BY trackcode_id
