/*---
summary = "The services of the trackcodes created in a date range, most required first"
description = """
One row a service name: services of the same name are one. `counting` counts trackcodes; those without a service
are left out. Equal counts are in the order of the name.
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
    s.name,
    count(*) AS counting
FROM trackcode AS t
JOIN service AS s ON s.id = t.service_id
WHERE t.creation BETWEEN $start_datetime AND $end_datetime
GROUP BY s.name
ORDER BY counting DESC, s.name
